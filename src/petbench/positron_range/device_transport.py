"""The fast engine on tensors: all positrons take one step of their ladders at a time.

Rules and random numbers are those of `condensed_kernels`. The same positron ends at the same place here and there, up to rounding.
"""

from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from petbench.positron_range.condensed_kernels import (
    ANNIHILATIONS,
    BEND,
    ELECTRON_MASS_MEV,
    EVENTS,
    LENGTH,
    ROOT_3,
    SCATTERING,
    SHORTENING,
    SPREAD,
)

Doubles = NDArray[np.float64]

LOW = 0xFFFFFFFF
MULTIPLY = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
# So many positrons are in flight at a time, at some 400 bytes each.
TOGETHER = 1 << 20


def uniforms(seed: int, particle: Tensor, block: Tensor) -> tuple[Tensor, ...]:
    """Four random numbers in (0, 1), the `block`-th of each particle; both int64 tensors of one shape."""
    c0, c1, c2, c3 = particle & LOW, particle >> 32, block & LOW, block >> 32
    k0, k1 = seed & LOW, seed >> 32
    for _ in range(10):
        # products wrap at 64 bits; their upper half is what a shift leaves, less the sign it carries along
        first, second = MULTIPLY[0] * c0, MULTIPLY[1] * c2
        c0, c1, c2, c3 = ((second >> 32) & LOW) ^ c1 ^ k0, second & LOW, ((first >> 32) & LOW) ^ c3 ^ k1, first & LOW
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
    return tuple((word.double() + 0.5) * 2.0**-32 for word in (c0, c1, c2, c3))


@dataclass
class Flight:
    """Positrons in flight: which they are, where (n, 3), in which voxel and whither, on which rung with what share of it left."""

    particle: Tensor
    block: Tensor
    place: Tensor
    voxel: Tensor
    direction: Tensor
    to_face: Tensor
    own: Tensor
    energy: Tensor
    rung: Tensor
    left: Tensor

    def where(self, chosen: Tensor) -> "Flight":
        """Some of them."""
        return Flight(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


class DeviceTransport:
    """A volume and a ladder on a device, as `condensed_kernels.fly_all` takes them."""

    def __init__(
        self,
        labels: NDArray[np.uint8],
        surroundings: int,
        edges: Doubles,
        energies: Doubles,
        least_loss: Doubles,
        table: Doubles,
        widths: Doubles,
        per_width: float,
        device: str,
    ) -> None:
        self.labels, self.edges, self.energies, self.least_loss, self.table, self.widths = (
            torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in (labels, edges, energies, least_loss, table, widths)
        )
        self.surroundings, self.per_width = surroundings, per_width
        self.rungs, self.device = len(energies) - 1, torch.device(device)

    def fly_all(self, places: Doubles, energy: Doubles, seed: int, first: int) -> None:
        """Move positrons (n, 3) from their places, in mm from the volume's corner, to where they annihilate."""
        for start in range(0, len(energy), TOGETHER):
            part = slice(start, start + TOGETHER)
            ends = self._fly(places[part], energy[part], seed, first + start)
            places[part] = ends.cpu().numpy()

    def _fly(self, places: Doubles, energy: Doubles, seed: int, first: int) -> Tensor:
        place = torch.from_numpy(places).to(self.device, copy=True)
        ends, particle = place.clone(), torch.arange(first, first + len(energy), device=self.device)
        u0, u1, _, _ = uniforms(seed, particle, torch.ones_like(particle))
        z, phi = 2 * u0 - 1, 2 * torch.pi * u1
        sine = torch.sqrt(1 - z * z)
        direction = torch.stack([sine * torch.cos(phi), sine * torch.sin(phi), z], dim=1)
        voxel = torch.floor(place / self.edges).long()
        flight = Flight(
            particle,
            torch.full_like(particle, 2),
            place,
            voxel,
            direction,
            self._to_face(place, voxel, direction),
            self._material(voxel),
            torch.from_numpy(energy).to(self.device, copy=True),
            torch.zeros_like(particle),
            torch.zeros_like(u0),
        )
        flight = flight.where(flight.energy > self.energies[-1])
        flight.rung, flight.left = self._rung(flight.energy)
        while len(flight.particle):
            ended = self._step(flight, seed)
            ends[flight.particle[ended] - first] = flight.place[ended]
            flight = flight.where(~ended)
        return ends

    def _rung(self, energy: Tensor) -> tuple[Tensor, Tensor]:
        ratio = 1 / torch.log(self.energies[1] / self.energies[0])
        rung = (torch.log(energy / self.energies[0]) * ratio).long().clamp(0, self.rungs - 1)
        lower = self.energies[rung + 1]
        return rung, ((energy - lower) / (self.energies[rung] - lower)).clamp(max=1)

    def _material(self, voxel: Tensor) -> Tensor:
        shape = torch.tensor(self.labels.shape, device=self.device)
        inside = ((voxel >= 0) & (voxel < shape)).all(dim=1)
        i, j, k = torch.minimum(voxel.clamp(min=0), shape - 1).unbind(1)
        return torch.where(inside, self.labels[i, j, k].long(), self.surroundings)

    def _to_face(self, place: Tensor, voxel: Tensor, direction: Tensor) -> Tensor:
        ahead = torch.where(direction > 0, (voxel + 1) * self.edges, voxel * self.edges)
        return torch.where(direction == 0, torch.inf, ((ahead - place) / direction).clamp(min=0))

    def _row(self, flight: Flight, column: int) -> Tensor:
        return self.table[flight.own, flight.rung, column]

    def _walk(self, flight: Flight, share: Tensor, stretch: Tensor) -> None:
        """Go a share of the rung, through as many voxels as it takes; a share below zero stays."""
        walking = torch.nonzero(share >= 0)[:, 0]
        share = share.clone()
        while len(walking):
            some = flight.where(walking)
            way = self._row(some, LENGTH) * (1 - self._row(some, SHORTENING) * some.left**2) * stretch[walking]
            length, (step, axis) = share[walking] * way, some.to_face.min(dim=1)
            crosses = length > step
            moved = torch.where(crosses, step, length)
            flight.place[walking] = some.place + moved[:, None] * some.direction
            some.to_face = some.to_face - moved[:, None]
            flight.to_face[walking] = some.to_face
            walking, axis, step = walking[crosses], axis[crosses], step[crosses]
            share[walking] -= step / way[crosses]
            along = flight.direction[walking, axis]
            flight.voxel[walking, axis] += torch.where(along > 0, 1, -1)
            flight.to_face[walking, axis] = self.edges[axis] / along.abs()
            flight.own[walking] = self._material(flight.voxel[walking])

    def _deflection(self, scattering: Tensor, u: Tensor) -> Tensor:
        place = scattering * self.per_width
        index = place.long().clamp(max=len(self.widths) - 2)
        width = self.widths[index] + (place - index) * (self.widths[index + 1] - self.widths[index])
        turned = (1 + width * torch.log(u + (1 - u) * torch.exp(-2 / width))).clamp(min=-1)
        turned = torch.where(width < 1e-12, 1.0, turned)
        return torch.where(place.long() >= len(self.widths) - 1, 2 * u - 1, turned)

    def _step(self, flight: Flight, seed: int) -> Tensor:
        """One rung of each, or its part up to a large loss. Returns whose flight is over."""
        u0, u1, u2, u3 = uniforms(seed, flight.particle, flight.block)
        hinge = u0 + self._row(flight, BEND) * u0 * (1 - u0)
        flight.block = flight.block + 1
        high = torch.floor(u2 * 65536)
        spread = (ROOT_3 * self._row(flight, SPREAD) / torch.sqrt(flight.left)).clamp(max=1)
        stretch = 1 + spread * (2 * ((high + 0.5) / 65536) - 1)
        phi = 2 * torch.pi * (u2 * 65536 - high)
        self._walk(flight, flight.left * hinge, stretch)
        scattering = self._row(flight, SCATTERING) * flight.left
        events = self._row(flight, EVENTS) * flight.left
        happens = u3 < -torch.expm1(-events)
        v0, v1, v2, v3 = uniforms(seed, flight.particle, flight.block)
        flight.block = flight.block + happens
        annihilated = happens & (v0 * events < self._row(flight, ANNIHILATIONS) * flight.left)
        upper, lower = self.energies[flight.rung], self.energies[flight.rung + 1]
        now = lower + flight.left * (1 - hinge) * (upper - lower)
        least = self.least_loss[flight.rung] / now
        loss = least / (1 - v1 * (1 - least))
        tau = now / ELECTRON_MASS_MEV
        beta2, w = tau * (tau + 2) / (tau + 1) ** 2, 1 / (tau + 2)
        b4 = (1 - 2 * w) ** 3
        b1, b2, b3 = 2 - w * w, (1 - 2 * w) * (3 + w * w), (1 - 2 * w) ** 2 + b4
        real = v2 < 1 - beta2 * loss * (b1 - loss * (b2 - loss * (b3 - loss * b4)))
        lost = happens & ~annihilated & (least < 1) & real
        cosine = torch.where(lost, torch.sqrt(((1 - loss) * (tau + 2) / (tau * (1 - loss) + 2)).clamp(min=0)), 1.0)
        flight.direction = torch.where(lost[:, None], turned(flight.direction, cosine, 2 * torch.pi * v3), flight.direction)
        scattering = torch.where(lost, scattering * hinge, scattering)
        flight.direction = turned(flight.direction, self._deflection(scattering, u1), phi)
        flight.to_face = self._to_face(flight.place, flight.voxel, flight.direction)
        self._walk(flight, torch.where(lost | annihilated, -1.0, flight.left * (1 - hinge)), stretch)
        flight.energy = torch.where(lost, now * (1 - loss), flight.energy)
        rung, left = self._rung(flight.energy)
        flight.rung = torch.where(lost, rung, flight.rung + 1)
        flight.left = torch.where(lost, left, 1.0)
        return annihilated | (lost & (flight.energy <= self.energies[-1])) | (~lost & (flight.rung == self.rungs))


def turned(direction: Tensor, cosine: Tensor, phi: Tensor) -> Tensor:
    """Directions (n, 3) turned by an angle, `phi` round themselves; the frame is that of `condensed_kernels.turned`."""
    x, y, z = direction.unbind(1)
    sine = torch.sqrt((1 - cosine * cosine).clamp(min=0))
    u, v = sine * torch.cos(phi), sine * torch.sin(phi)
    sign = torch.where(z >= 0, 1.0, -1.0)
    a = -1 / (sign + z)
    b = x * y * a
    found = torch.stack(
        [
            u * (1 + sign * x * x * a) + v * b + cosine * x,
            u * sign * b + v * (sign + y * y * a) + cosine * y,
            -u * sign * x - v * y + cosine * z,
        ],
        dim=1,
    )
    length: Tensor = torch.linalg.vector_norm(found, dim=1, keepdim=True)
    return found / length

"""What lines meet, in torch: Joseph's samples of transaxial lines and the TOF bins along them. Lengths are in transaxial voxels."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from math import erf, sqrt
from typing import Self

import torch
from torch import Tensor

from petbench.physics.scanner import MM_PER_CM, TOF_SIGMAS, Scanner, field_of_view

ELEMENTS = 1 << 26  # of the largest temporary array; lines are worked on in pieces that need no more

# Share of a Gaussian within the sigmas at which it is cut.
WITHIN = erf(TOF_SIGMAS / sqrt(2))


@dataclass(frozen=True, eq=False)
class Lines:
    """Transaxial lines x cosine + y sine = radial, and half their chords between the detectors; every tensor has shape (lines,)."""

    radial: Tensor
    cosine: Tensor
    sine: Tensor
    chord: Tensor

    def pieces(self, elements: int) -> Iterator[tuple[slice, Self]]:
        """The lines in pieces, where one line takes so many elements of a temporary array."""
        size = max(1, ELEMENTS // elements)
        for start in range(0, self.radial.numel(), size):
            piece = slice(start, start + size)
            yield piece, type(self)(*(getattr(self, field.name)[piece] for field in fields(self)))


@dataclass(frozen=True, eq=False)
class Events(Lines):
    """Lines in space: slice of their middle, slices a voxel along them, length a transaxial length, and TOF bin."""

    middle: Tensor
    slope: Tensor
    secant: Tensor
    tof_bin: Tensor


@dataclass(frozen=True, eq=False)
class Samples:
    """Where lines meet pixels: two pixels a step, their weights in cm, shape (lines, steps, 2), and the distance from the middle."""

    pixel: Tensor
    weight: Tensor
    along: Tensor


@dataclass(frozen=True, eq=False)
class Grid:
    """Transaxial pixels and which of them can be seen, flat."""

    size_x: int
    size_y: int
    edge_mm: float
    inside: Tensor

    @classmethod
    def of(cls, scanner: Scanner, device: torch.device) -> "Grid":
        """The image grid of a scanner."""
        inside = torch.from_numpy(field_of_view(scanner).reshape(-1)).to(device)
        return cls(scanner.image_shape[0], scanner.image_shape[1], scanner.voxel_mm[0], inside)

    @property
    def steps(self) -> int:
        """Samples a line."""
        return max(self.size_x, self.size_y)

    def samples(self, lines: Lines) -> Samples:
        """Step along the axis that a line follows most and interpolate across it (Joseph, IEEE TMI 1982)."""
        radial, cosine, sine = (column[:, None] for column in (lines.radial, lines.cosine, lines.sine))
        along_y = cosine.abs() >= sine.abs()
        main, other = torch.where(along_y, cosine, sine), torch.where(along_y, sine, cosine)
        size, across = torch.where(along_y, self.size_y, self.size_x), torch.where(along_y, self.size_x, self.size_y)
        step = torch.arange(self.steps, device=radial.device)
        depth = step - (size - 1) / 2
        position = (radial - depth * other) / main + (across - 1) / 2
        tap = torch.floor(position)[..., None] + torch.arange(2, device=radial.device)
        exists = (tap >= 0) & (tap < across[..., None]) & (step < size)[..., None]
        tap_index, step = tap.clamp(min=0).long(), step[None, :, None]
        pixel = torch.where(along_y[..., None], tap_index * self.size_y + step, step * self.size_y + tap_index)
        pixel = torch.where(exists, pixel, 0)
        weight = (1.0 - (position[..., None] - tap).abs()) * (self.edge_mm / MM_PER_CM) / main.abs()[..., None]
        along = torch.where(along_y, depth - radial * sine, radial * cosine - depth) / main
        seen = exists & self.inside[pixel]
        # A sample that sees nothing may lie beyond the detectors; it is put to the middle, so that no run starts beyond its row.
        return Samples(pixel, torch.where(seen, weight, 0.0).float(), torch.where(seen.any(dim=2), along, 0.0))


@dataclass(frozen=True, eq=False)
class Timing:
    """Time of flight along a line: edges of the bins from its middle, their number, and standard deviation of the position."""

    edges: Tensor
    bins: int
    sigma: float

    @classmethod
    def of(cls, scanner: Scanner, device: torch.device) -> "Timing":
        """The time of flight of a scanner that has it."""
        assert scanner.tof is not None
        edge_mm = scanner.voxel_mm[0]
        return cls(torch.from_numpy(scanner.tof.edges_mm / edge_mm).to(device), scanner.tof.bins, scanner.tof.sigma_mm / edge_mm)

    def share(self, distance: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """Part of the Gaussian round a distance from the line's middle, cut at three sigma, that falls between two edges."""
        below, above = (((edge - distance) / self.sigma).clamp(-TOF_SIGMAS, TOF_SIGMAS) for edge in (lower, upper))
        return ((torch.special.ndtr(above) - torch.special.ndtr(below)) / WITHIN).float()

"""The compiled loop of the fast engine: one positron at a time, from its start to its end, by condensed histories.

A positron comes down a ladder of energies. On a rung it goes a random share of the way, is deflected by what the whole rung scatters, and
goes the rest (the random hinge of PENELOPE, Salvat et al.); because the hinge lies all but evenly on the way, the material met there
stands for those of the way. `condensed_history.hinges` places it so that long steps go as far as many short ones. Boundaries between
voxels are crossed without a stop: what is counted is the share of the rung that a length in a material takes. A single large loss or an
annihilation in flight happens at the hinge.

Random numbers are Philox4x32-10 (Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC11): a function of the seed, the
positron's number and how many it has used, so that it does not matter which thread takes it.
"""

import numba
import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Labels = NDArray[np.uint8]

LOW = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)
MULTIPLY = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
UNIT = 2.0**-32
# Columns of the table of what happens on a rung.
LENGTH, SPREAD, SCATTERING, EVENTS, ANNIHILATIONS, BEND, SHORTENING = range(7)
ELECTRON_MASS_MEV = 0.51099895
ROOT_3 = np.sqrt(3.0)  # an even distribution of this half-width has a standard deviation of 1


@numba.njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def uniforms(seed: np.uint64, particle: np.uint64, block: np.uint64) -> tuple[float, float, float, float]:
    """Four random numbers in (0, 1), the `block`-th of a particle."""
    c0, c1, c2, c3 = particle & LOW, particle >> SHIFT, block & LOW, block >> SHIFT
    k0, k1 = seed & LOW, seed >> SHIFT
    for _ in range(10):
        first, second = MULTIPLY[0] * c0, MULTIPLY[1] * c2
        c0, c1, c2, c3 = (second >> SHIFT) ^ c1 ^ k0, second & LOW, (first >> SHIFT) ^ c3 ^ k1, first & LOW
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
    return (c0 + 0.5) * UNIT, (c1 + 0.5) * UNIT, (c2 + 0.5) * UNIT, (c3 + 0.5) * UNIT


@numba.njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def turned(x: float, y: float, z: float, cosine: float, phi: float) -> tuple[float, float, float]:
    """A direction turned by an angle, `phi` round itself; the frame is that of Duff et al. (JCGT 6 (2017) 1), without singular places."""
    sine = np.sqrt(max(0.0, 1.0 - cosine * cosine))
    u, v = sine * np.cos(phi), sine * np.sin(phi)
    sign = 1.0 if z >= 0.0 else -1.0
    a = -1.0 / (sign + z)
    b = x * y * a
    tx = u * (1.0 + sign * x * x * a) + v * b + cosine * x
    ty = u * sign * b + v * (sign + y * y * a) + cosine * y
    tz = -u * sign * x - v * y + cosine * z
    norm = 1.0 / np.sqrt(tx * tx + ty * ty + tz * tz)
    return tx * norm, ty * norm, tz * norm


@numba.njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def deflection(scattering: float, widths: Doubles, per_width: float, u: float) -> float:
    """Cosine of an angle whose mean cosine is exp(-scattering), from the distribution of Fisher and von Mises (`fisher_widths`)."""
    place = scattering * per_width
    index = int(place)
    if index >= widths.size - 1:
        return 2.0 * u - 1.0
    width = widths[index] + (place - index) * (widths[index + 1] - widths[index])
    if width < 1e-12:
        return 1.0
    least = np.exp(-2.0 / width) if width > 0.05 else 0.0
    cosine: float = max(-1.0, 1.0 + width * np.log(u + (1.0 - u) * least))
    return cosine


@numba.njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def to_face(place: float, index: int, edge: float, direction: float) -> float:
    """Length to the face through which a positron leaves its voxel along one axis."""
    if direction > 0.0:
        return max(0.0, ((index + 1) * edge - place) / direction)
    if direction < 0.0:
        return max(0.0, (index * edge - place) / direction)
    return np.inf


@numba.njit(cache=True, inline="always")  # type: ignore[untyped-decorator]
def material_of(labels: Labels, surroundings: int, i: int, j: int, k: int) -> int:
    """The material at a voxel, which may lie outside the volume."""
    if 0 <= i < labels.shape[0] and 0 <= j < labels.shape[1] and 0 <= k < labels.shape[2]:
        return int(labels[i, j, k])
    return surroundings


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def fly(
    place: Doubles,
    energy: float,
    labels: Labels,
    surroundings: int,
    edges: Doubles,
    energies: Doubles,
    least_loss: Doubles,
    table: Doubles,
    widths: Doubles,
    per_width: float,
    seed: np.uint64,
    particle: np.uint64,
) -> None:
    """Move one positron from `place`, in mm from the volume's corner, to where it annihilates."""
    rungs = energies.size - 1
    ratio = 1.0 / np.log(energies[1] / energies[0])
    x, y, z = place[0], place[1], place[2]
    i, j, k = int(np.floor(x / edges[0])), int(np.floor(y / edges[1])), int(np.floor(z / edges[2]))
    own = material_of(labels, surroundings, i, j, k)
    u0, u1, _, _ = uniforms(seed, particle, np.uint64(1))
    dz, phi = 2.0 * u0 - 1.0, 2.0 * np.pi * u1
    dx, dy = np.sqrt(1.0 - dz * dz) * np.cos(phi), np.sqrt(1.0 - dz * dz) * np.sin(phi)
    fx, fy, fz = to_face(x, i, edges[0], dx), to_face(y, j, edges[1], dy), to_face(z, k, edges[2], dz)
    block = np.uint64(2)
    rung = 0
    left = 0.0
    at_energy = True  # whether rung and share are to be found from the energy
    while True:
        if at_energy:
            if energy <= energies[rungs]:
                break
            rung = min(max(int(np.log(energy / energies[0]) * ratio), 0), rungs - 1)
            left = min(1.0, (energy - energies[rung + 1]) / (energies[rung] - energies[rung + 1]))
            at_energy = False
        u0, u1, u2, u3 = uniforms(seed, particle, block)
        block += np.uint64(1)
        # 16 bits each say how long the way is and where the deflection points
        high = np.floor(u2 * 65536.0)
        stretch = (high + 0.5) / 65536.0
        phi = 2.0 * np.pi * (u2 * 65536.0 - high)
        stretch = 1.0 + min(1.0, ROOT_3 * table[own, rung, SPREAD] / np.sqrt(left)) * (2.0 * stretch - 1.0)
        hinge = u0 + table[own, rung, BEND] * u0 * (1.0 - u0)
        for leg in range(2):
            share = left * (hinge if leg == 0 else 1.0 - hinge)
            while True:
                way = table[own, rung, LENGTH] * (1.0 - table[own, rung, SHORTENING] * left * left) * stretch
                length = share * way
                step = min(fx, fy, fz)
                if length <= step:
                    x, y, z = x + length * dx, y + length * dy, z + length * dz
                    fx, fy, fz = fx - length, fy - length, fz - length
                    break
                x, y, z = x + step * dx, y + step * dy, z + step * dz
                share -= step / way
                if fx == step:
                    i += 1 if dx > 0.0 else -1
                    fx, fy, fz = edges[0] / abs(dx), fy - step, fz - step
                elif fy == step:
                    j += 1 if dy > 0.0 else -1
                    fx, fy, fz = fx - step, edges[1] / abs(dy), fz - step
                else:
                    k += 1 if dz > 0.0 else -1
                    fx, fy, fz = fx - step, fy - step, edges[2] / abs(dz)
                own = material_of(labels, surroundings, i, j, k)
            if leg == 1:
                break
            scattering = table[own, rung, SCATTERING] * left
            events = table[own, rung, EVENTS] * left
            if u3 < events and u3 < -np.expm1(-events):
                v0, v1, v2, v3 = uniforms(seed, particle, block)
                block += np.uint64(1)
                if v0 * events < table[own, rung, ANNIHILATIONS] * left:
                    place[0], place[1], place[2] = x, y, z
                    return
                now = energies[rung + 1] + left * (1.0 - hinge) * (energies[rung] - energies[rung + 1])
                least = least_loss[rung] / now
                loss = least / (1.0 - v1 * (1.0 - least))
                tau = now / ELECTRON_MASS_MEV
                beta2 = tau * (tau + 2.0) / (tau + 1.0) ** 2
                w = 1.0 / (tau + 2.0)
                b4 = (1.0 - 2.0 * w) ** 3
                b1, b2, b3 = 2.0 - w * w, (1.0 - 2.0 * w) * (3.0 + w * w), (1.0 - 2.0 * w) ** 2 + b4
                if least < 1.0 and v2 < 1.0 - beta2 * loss * (b1 - loss * (b2 - loss * (b3 - loss * b4))):
                    # so much of the rung as is behind has scattered, and the electron that is hit deflects by its own angle
                    energy = now * (1.0 - loss)
                    cosine = np.sqrt((1.0 - loss) * (tau + 2.0) / (tau * (1.0 - loss) + 2.0))
                    dx, dy, dz = turned(dx, dy, dz, cosine, 2.0 * np.pi * v3)
                    scattering *= hinge
                    at_energy = True
            dx, dy, dz = turned(dx, dy, dz, deflection(scattering, widths, per_width, u1), phi)
            fx, fy, fz = to_face(x, i, edges[0], dx), to_face(y, j, edges[1], dy), to_face(z, k, edges[2], dz)
            if at_energy:
                break
        if not at_energy:
            rung += 1
            left = 1.0
            if rung == rungs:
                break
    place[0], place[1], place[2] = x, y, z


@numba.njit(cache=True, parallel=True)  # type: ignore[untyped-decorator]
def fly_all(
    places: Doubles,
    energy: Doubles,
    labels: Labels,
    surroundings: int,
    edges: Doubles,
    energies: Doubles,
    least_loss: Doubles,
    table: Doubles,
    widths: Doubles,
    per_width: float,
    seed: np.uint64,
    first: np.uint64,
) -> None:
    """Move positrons (n, 3) from their places to where they annihilate; the number of the first one is `first`."""
    for number in numba.prange(energy.size):
        fly(
            places[number],
            energy[number],
            labels,
            surroundings,
            edges,
            energies,
            least_loss,
            table,
            widths,
            per_width,
            seed,
            first + np.uint64(number),
        )


@numba.njit(cache=True, parallel=True)  # type: ignore[untyped-decorator]
def first_numbers(count: int, seed: np.uint64, first: np.uint64) -> Doubles:
    """The random numbers (count, 5) that positrons start from: three of place, which voxel, and energy."""
    found = np.empty((count, 5))
    for number in numba.prange(count):
        particle = first + np.uint64(number)
        found[number, 0], found[number, 1], found[number, 2], found[number, 3] = uniforms(seed, particle, np.uint64(0))
        _, _, found[number, 4], _ = uniforms(seed, particle, np.uint64(1))
    return found

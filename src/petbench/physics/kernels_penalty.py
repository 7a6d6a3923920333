"""The compiled loops of the relative difference penalty: value, gradient and curvature in one sweep over an image and its neighbours."""

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Offsets = NDArray[np.int64]


@numba.njit(cache=True, fastmath={"contract", "reassoc", "nsz", "arcp"})  # type: ignore[untyped-decorator]
def _row(
    here: Floats,
    there: Floats,
    weight: Floats,
    gamma: np.float32,
    epsilon: np.float32,
    gradient: Floats,
    curvature: Floats,
) -> float:
    """Add what neighbours `there` of the voxels `here` of one row make of gradient and curvature; returns half of the pairs' value."""
    value = 0.0
    for z in range(here.size):
        difference = here[z] - there[z]
        distance = abs(difference)
        over = np.float32(1.0) / (here[z] + there[z] + gamma * distance + epsilon)
        slope = weight[z] * difference * over
        value += np.float32(0.5) * slope * difference
        gradient[z] += slope * over * (here[z] + 3 * there[z] + gamma * distance + 2 * epsilon)
        side = (2 * there[z] + epsilon) * over
        curvature[z] += 2 * weight[z] * side * side * over
    return value


@numba.njit(parallel=True, cache=True)  # type: ignore[untyped-decorator]
def relative_difference(
    image: Floats,
    kappa: Floats,
    offsets: Offsets,
    strengths: Floats,
    share: NDArray[np.uint8],
    gamma: np.float32,
    epsilon: np.float32,
    gradient: Floats,
    curvature: Floats,
) -> float:
    """Sum over all pairs of neighbours of w kappa kappa' (x - x')^2 / (x + x' + gamma |x - x'| + epsilon).

    Args:
        image: (x, y, z), not negative.
        kappa: Its weight a voxel, (x, y, z).
        offsets: To half of the neighbours, (n, 3); the other half are those whose neighbour one is.
        strengths: w of each offset, (n,).
        share: Halves of w that a voxel and its neighbour at an offset take, 0 to 2, (n, x, y, z); (n, 0, 0, 0) where all take both.
        gamma: Edge preservation.
        epsilon: Keeps the quotient finite, in the units of the image.
        gradient: (x, y, z), set.
        curvature: Diagonal of the second derivative, (x, y, z), set.

    Returns:
        The sum.
    """
    planes, rows, columns = image.shape
    values = np.zeros(planes)
    for x in numba.prange(planes):
        weight = np.empty(columns, dtype=np.float32)
        for y in range(rows):
            gradient[x, y] = 0.0
            curvature[x, y] = 0.0
            for n in range(offsets.shape[0]):
                for sign in (1, -1):
                    dx, dy, dz = sign * offsets[n, 0], sign * offsets[n, 1], sign * offsets[n, 2]
                    if x + dx < 0 or x + dx >= planes or y + dy < 0 or y + dy >= rows:
                        continue
                    low, high = max(0, -dz), min(columns, columns - dz)
                    there = kappa[x + dx, y + dy, low + dz : high + dz]
                    here = kappa[x, y, low:high]
                    for z in range(high - low):
                        weight[z] = strengths[n] * here[z] * there[z]
                    if share.shape[1] > 0:
                        # The pair's share is kept at the voxel from which the offset leads to the other.
                        held = share[n, x, y, low:high] if sign > 0 else share[n, x + dx, y + dy, low + dz : high + dz]
                        for z in range(high - low):
                            weight[z] *= np.float32(0.5) * held[z]
                    values[x] += _row(
                        image[x, y, low:high],
                        image[x + dx, y + dy, low + dz : high + dz],
                        weight[: high - low],
                        gamma,
                        epsilon,
                        gradient[x, y, low:high],
                        curvature[x, y, low:high],
                    )
    total: float = values.sum()
    return total


@numba.njit(parallel=True, cache=True)  # type: ignore[untyped-decorator]
def most_similar(anatomy: Floats, offsets: Offsets, keep: int) -> NDArray[np.bool_]:
    """Whether each of the neighbours at `offsets` is among the `keep` most similar of a voxel in an anatomical image, (n, x, y, z).

    Ties go to the earlier offset; beyond the image there is nothing similar.
    """
    planes, rows, columns = anatomy.shape
    chosen = np.zeros((offsets.shape[0], planes, rows, columns), dtype=np.bool_)
    for x in numba.prange(planes):
        distance = np.empty(offsets.shape[0], dtype=np.float32)
        for y in range(rows):
            for z in range(columns):
                for n in range(offsets.shape[0]):
                    i, j, k = x + offsets[n, 0], y + offsets[n, 1], z + offsets[n, 2]
                    inside = 0 <= i < planes and 0 <= j < rows and 0 <= k < columns
                    distance[n] = abs(anatomy[i, j, k] - anatomy[x, y, z]) if inside else np.inf
                for n in np.argsort(distance, kind="mergesort")[:keep]:
                    chosen[n, x, y, z] = distance[n] < np.inf
    return chosen

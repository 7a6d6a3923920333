"""The compiled loops that apply one stored kernel a voxel: scatter for the forward operator, gather for its transpose.

Images are padded by a margin at least the kernels' own, so that no loop asks where the image ends. Kernels are stored as square roots.
"""

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

SLAB = 8  # planes one thread owns at a time: a kernel is then met by few threads, and there is work for many
CHUNK = 256  # voxels one thread gathers at a time


# Loops of their own, for inside a parallel loop the compiler would not vectorise them.
@numba.njit(cache=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _add(out: Floats, roots: NDArray[np.generic], value: float, plane: int, row: int, column: int) -> None:
    """Add value * roots^2 to the part of `out` that begins at a plane, row and column."""
    planes, size, _ = roots.shape
    for x in range(planes):
        for y in range(size):
            line, part = out[plane + x, row + y, column : column + size], roots[x, y]
            for z in range(size):
                root = np.float32(part[z])
                line[z] += value * (root * root)


@numba.njit(cache=True, fastmath={"contract", "reassoc"})  # type: ignore[untyped-decorator]
def _sum(image: Floats, roots: NDArray[np.generic], plane: int, row: int, column: int, window: Floats) -> np.float32:
    """Sum of roots^2 * image over the part that begins at a plane, row and column; `window` is room for a copy of it."""
    size = roots.shape[0]
    for x in range(size):
        for y in range(size):
            line, part = image[plane + x, row + y, column : column + size], window[x, y]
            for z in range(size):
                part[z] = line[z]
    total = np.float32(0)
    values, weights = window.reshape(-1), roots.reshape(-1)
    for n in range(weights.size):
        root = np.float32(weights[n])
        total += (root * root) * values[n]
    return total


@numba.njit(parallel=True, cache=True)  # type: ignore[untyped-decorator]
def scatter(out: Floats, values: Floats, voxels: Indices, which: NDArray[np.int32], roots: NDArray[np.generic], scales: Floats) -> None:
    """Add value * kernel about each voxel to a padded image.

    A thread owns a slab of planes and takes from every voxel near it what falls there. So no two threads write to one place, and the
    order of summation, hence the result, does not depend on their number.

    Args:
        out: Padded image, changed.
        values: Of each voxel.
        voxels: Indices of the voxels in the flattened padded image, ascending.
        which: The kernel of each voxel.
        roots: Square roots of the kernels, to a scale, (kernels, K, K, K).
        scales: What the squares of `roots` are multiplied by, (kernels,).
    """
    planes, rows, columns = out.shape
    margin = roots.shape[1] // 2
    for slab in numba.prange((planes + SLAB - 1) // SLAB):
        first, last = slab * SLAB, min((slab + 1) * SLAB, planes)
        start = np.searchsorted(voxels, max(first - margin, 0) * rows * columns)
        stop = np.searchsorted(voxels, (last + margin) * rows * columns)
        for n in range(start, stop):
            value = values[n] * scales[which[n]]
            if value == 0:
                continue
            plane, within = divmod(voxels[n], rows * columns)
            row, column = divmod(within, columns)
            low, high = max(first, plane - margin), min(last, plane + margin + 1)
            _add(out, roots[which[n], low - plane + margin : high - plane + margin], value, low, row - margin, column - margin)


@numba.njit(parallel=True, cache=True)  # type: ignore[untyped-decorator]
def gather(image: Floats, voxels: Indices, which: NDArray[np.int32], roots: NDArray[np.generic], scales: Floats) -> Floats:
    """Sum of a padded image about each voxel, weighted by the voxel's kernel: the transpose of `scatter`; returns (voxels,)."""
    _, rows, columns = image.shape
    size = roots.shape[1]
    margin = size // 2
    out = np.empty(voxels.size, dtype=np.float32)
    for chunk in numba.prange((voxels.size + CHUNK - 1) // CHUNK):
        window = np.empty((size, size, size), dtype=np.float32)
        for n in range(chunk * CHUNK, min((chunk + 1) * CHUNK, voxels.size)):
            plane, within = divmod(voxels[n], rows * columns)
            row, column = divmod(within, columns)
            total = _sum(image, roots[which[n]], plane - margin, row - margin, column - margin, window)
            out[n] = total * scales[which[n]]
    return out

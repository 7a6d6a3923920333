"""The compiled loops of a separable convolution of an image, slab by slab so that a slab stays in the cache."""

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

ROW = 2048  # floats summed at a time along the first axis: few enough for the nearest cache
UNROLLED = 4  # taps added in one sweep, so that a row is read and written once for all of them


@numba.njit(cache=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _across(rows: Floats, at: int, kernel: Floats, out: Floats) -> None:
    """Set out to the sum of rows[at + t - middle] * kernel[t]; there is nothing beyond the rows."""
    first = at - kernel.size // 2
    low, high = max(0, -first), min(kernel.size, rows.shape[0] - first)
    out[:] = 0.0
    t = low
    while t + UNROLLED <= high:
        a, b, c, d = rows[first + t], rows[first + t + 1], rows[first + t + 2], rows[first + t + 3]
        wa, wb, wc, wd = kernel[t], kernel[t + 1], kernel[t + 2], kernel[t + 3]
        for n in range(out.size):
            out[n] += wa * a[n] + wb * b[n] + wc * c[n] + wd * d[n]
        t += UNROLLED
    while t < high:
        row, weight = rows[first + t], kernel[t]
        for n in range(out.size):
            out[n] += weight * row[n]
        t += 1


@numba.njit(cache=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _along(line: Floats, kernel: Floats, out: Floats) -> None:
    """Set out[n] to the sum of line[n + t] * kernel[t]; the line is longer than out by the kernel less one."""
    out[:] = 0.0
    t = 0
    while t + UNROLLED <= kernel.size:
        wa, wb, wc, wd = kernel[t], kernel[t + 1], kernel[t + 2], kernel[t + 3]
        for n in range(out.size):
            out[n] += wa * line[n + t] + wb * line[n + t + 1] + wc * line[n + t + 2] + wd * line[n + t + 3]
        t += UNROLLED
    while t < kernel.size:
        weight = kernel[t]
        for n in range(out.size):
            out[n] += weight * line[n + t]
        t += 1


@numba.njit(parallel=True, cache=True)  # type: ignore[untyped-decorator]
def separable(image: Floats, kernel_x: Floats, kernel_y: Floats, kernel_z: Floats) -> Floats:
    """Convolve an image of shape (x, y, z) along its axes with symmetric kernels of odd length; there is nothing beyond the image."""
    size_x, size_y, size_z = image.shape
    slabs = image.reshape(size_x, size_y * size_z)
    out = np.empty((size_x, size_y, size_z), dtype=np.float32)
    margin = kernel_z.size // 2
    for x in numba.prange(size_x):
        slab = np.empty(size_y * size_z, dtype=np.float32)
        for start in range(0, slab.size, ROW):
            stop = min(start + ROW, slab.size)
            _across(slabs[:, start:stop], x, kernel_x, slab[start:stop])
        lines = slab.reshape(size_y, size_z)
        line = np.zeros(size_z + 2 * margin, dtype=np.float32)
        for y in range(size_y):
            _across(lines, y, kernel_y, line[margin : margin + size_z])
            _along(line, kernel_z, out[x, y])
    return out

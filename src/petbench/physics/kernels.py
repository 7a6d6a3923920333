"""The compiled loops of the direct-plane projector: Joseph's line integrals and their exact transpose.

All planes share one two-dimensional geometry, so both operators are a sparse matrix times rows of axial values: the weights of a line
(forward) or of a pixel (back) are worked out once and applied to the whole axial row, which is contiguous in memory. A pixel at
perpendicular distance d (in voxels) from a line at angle phi has Joseph's weight max(0, 1 - |d| / m) / m times the voxel size, with
m = max(|cos phi|, |sin phi|) (Joseph, IEEE TMI 1982, written pixel by pixel), which is what lets the transpose gather too: no two
threads ever write to one place.
"""

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

BINS_PER_TASK = 32  # so that a subset of few views still feeds many threads
PIXELS_PER_BLOCK = 128


@numba.njit(cache=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _weighted_sum(out: Floats, rows: Floats, index: Integers, weight: Floats, count: int) -> None:
    """Set out[:] to the sum over t < count of weight[t] * rows[index[t], :]."""
    while count % 4:  # whole groups of four, so that out is read and written once a group
        index[count] = index[count - 1]
        weight[count] = 0.0
        count += 1
    out[:] = 0.0
    for t in range(0, count, 4):
        a, b, c, d = rows[index[t]], rows[index[t + 1]], rows[index[t + 2]], rows[index[t + 3]]
        wa, wb, wc, wd = weight[t], weight[t + 1], weight[t + 2], weight[t + 3]
        for z in range(out.size):
            out[z] += wa * a[z] + wb * b[z] + wc * c[z] + wd * d[z]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _line_taps(
    r: float, cosine: float, sine: float, size_x: int, size_y: int, fov: float, step: float, index: Integers, weight: Floats
) -> int:
    """List the pixels a line meets and their weights; lengths in voxels from the centre, `step` the voxel size.

    Pixels whose centre lies farther than `fov` from the axis are left out.
    """
    along_y = abs(cosine) >= abs(sine)
    main, other = (cosine, sine) if along_y else (sine, cosine)
    size, across = (size_y, size_x) if along_y else (size_x, size_y)
    middle, middle_across = (size - 1) / 2, (across - 1) / 2
    reach = (fov + 1.0) ** 2 - r**2
    if reach <= 0.0:
        return 0
    half = np.sqrt(reach) * abs(main)
    first = max(0, int(np.ceil(r * other - half + middle)))
    last = min(size - 1, int(np.floor(r * other + half + middle)))
    length = step / abs(main)
    count = 0
    for j in range(first, last + 1):
        y = j - middle
        position = (r - y * other) / main + middle_across
        left = int(np.floor(position))
        for i in range(left, left + 2):
            w = 1.0 - abs(position - i)
            if 0 <= i < across and w > 0.0 and (i - middle_across) ** 2 + y**2 <= fov**2:
                index[count] = i * size_y + j if along_y else j * size_y + i
                weight[count] = w * length
                count += 1
    return count


@numba.njit(parallel=True, cache=True)  # type: ignore[untyped-decorator]
def forward(image: Floats, radial: Doubles, cosines: Doubles, sines: Doubles, size_x: int, size_y: int, fov: float, step: float) -> Floats:
    """Line integrals of an image of shape (size_x * size_y, planes) as (views, radial bins, planes)."""
    sinogram = np.empty((cosines.size, radial.size, image.shape[1]), dtype=np.float32)
    tasks = (radial.size + BINS_PER_TASK - 1) // BINS_PER_TASK
    for task in numba.prange(cosines.size * tasks):
        view, begin = task // tasks, task % tasks * BINS_PER_TASK
        taps = 2 * max(size_x, size_y) + 4
        index, weight = np.empty(taps, dtype=np.int64), np.empty(taps, dtype=np.float32)
        for k in range(begin, min(radial.size, begin + BINS_PER_TASK)):
            count = _line_taps(radial[k], cosines[view], sines[view], size_x, size_y, fov, step, index, weight)
            _weighted_sum(sinogram[view, k], image, index, weight, count)
    return sinogram


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _pixel_taps(
    x: float,
    y: float,
    radial: Doubles,
    cosines: Doubles,
    sines: Doubles,
    first_bin: Integers,
    per_voxel: float,
    step: float,
    index: Integers,
    weight: Floats,
) -> int:
    """List the sinogram rows a pixel feeds and their weights; `first_bin` says where to start looking for a radial position."""
    count = 0
    for view in range(cosines.size):
        m = max(abs(cosines[view]), abs(sines[view]))
        position = x * cosines[view] + y * sines[view]
        cell = int((position - m - radial[0]) * per_voxel)
        k = first_bin[min(max(cell, 0), first_bin.size - 1)]
        while k < radial.size and radial[k] < position + m:
            w = 1.0 - abs(position - radial[k]) / m
            if w > 0.0:
                index[count] = view * radial.size + k
                weight[count] = w * step / m
                count += 1
            k += 1
    return count


@numba.njit(parallel=True, cache=True)  # type: ignore[untyped-decorator]
def back(
    sinogram: Floats,
    radial: Doubles,
    cosines: Doubles,
    sines: Doubles,
    pixels: Integers,
    first_bin: Integers,
    per_voxel: float,
    most_taps: int,
    size_x: int,
    size_y: int,
    step: float,
) -> Floats:
    """Transpose of `forward`: a sinogram of shape (views * radial bins, planes) as an image of shape (size_x * size_y, planes).

    Only `pixels` (flat indices) are filled; the others are zero.
    """
    image = np.zeros((size_x * size_y, sinogram.shape[1]), dtype=np.float32)
    blocks = (pixels.size + PIXELS_PER_BLOCK - 1) // PIXELS_PER_BLOCK
    for block in numba.prange(blocks):
        index, weight = np.empty(most_taps + 4, dtype=np.int64), np.empty(most_taps + 4, dtype=np.float32)
        for n in range(block * PIXELS_PER_BLOCK, min(pixels.size, (block + 1) * PIXELS_PER_BLOCK)):
            x, y = pixels[n] // size_y - (size_x - 1) / 2, pixels[n] % size_y - (size_y - 1) / 2
            count = _pixel_taps(x, y, radial, cosines, sines, first_bin, per_voxel, step, index, weight)
            _weighted_sum(image[pixels[n]], sinogram, index, weight, count)
    return image

"""The compiled loops of the list-mode projector: Joseph's line integral of every event, and the transpose.

Each event walks along its own line and visits only samples that lie in the image and, with TOF, in reach of its bin. The image has a
border of zeros, so that no sample asks whether its four voxels exist. Waiting for memory, not arithmetic, is what limits the speed; so
events come in an order in which neighbours run side by side through the image. In the transpose events meet in voxels; so every
thread adds its share of the events to an image of its own, and these are summed in a fixed order: results repeat for a number of
threads. Lengths are in transaxial voxels, heights in slices.
"""

from math import ceil, floor, sqrt
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from petbench.physics.kernels_oblique import Grid, Lines, Timing

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Indices = NDArray[np.uint16]

BORDER = 2


class Heights(NamedTuple):
    """Planes: slice of the middle and half the ring difference in slices; slice thickness in transaxial voxels."""

    middle: Doubles
    rise: Doubles
    thickness: float


class Events(NamedTuple):
    """Radial bin, view, plane and TOF bin of every event (without TOF no TOF bins), and its index in the data."""

    radial_bins: Indices
    views: Indices
    planes: NDArray[np.uint32]
    tof_bins: Indices
    indices: NDArray[np.uint32]


class Walk(NamedTuple):
    """A line's samples: `first` to `last` along the main axis; place there is start + sample number times advance."""

    first: int
    last: int
    along_y: bool
    across: float
    across_advance: float
    height: float
    height_advance: float
    distance: float
    distance_advance: float
    length: float


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _tof_share(distance: float, timing: Timing) -> float:
    """The same as in `kernels_oblique`, once more: numba's cache of compiled code would not see a change of another file."""
    position = (distance + timing.reach) * timing.per_voxel
    i = np.uint64(max(position, 0.0))
    share: float = timing.share[i] + (position - i) * (timing.share[i + np.uint64(1)] - timing.share[i])
    return share


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _clip(first: int, last: int, start: float, advance: float, low: float, high: float) -> tuple[int, int]:
    """Narrow samples down to those with start + sample * advance in [low, high], which may be empty."""
    if low > high:
        return 0, -1
    if abs(advance) < 1e-12:
        return (first, last) if low <= start <= high else (0, -1)
    a, b = (low - start) / advance, (high - start) / advance
    if a > b:
        a, b = b, a
    if b < first or a > last:  # before rounding, as far ends need not fit an integer
        return 0, -1
    return max(first, ceil(a)), min(last, floor(b))


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _walk(n: int, events: Events, lines: Lines, heights: Heights, grid: Grid, timing: Timing) -> Walk:
    k, view, plane = events.radial_bins[n], events.views[n], events.planes[n]
    r, half = lines.radial[k], lines.half_chord[k]
    cosine, sine = lines.cosines[view], lines.sines[view]
    along_y = abs(cosine) >= abs(sine)
    if along_y:
        size, width, advance = grid.size_y, grid.size_x, 1.0 / cosine
        across, distance, slope = r / cosine, -r * sine / cosine, -sine / cosine
    else:
        size, width, advance = grid.size_x, grid.size_y, -1.0 / sine
        across, distance, slope = r / sine, r * cosine / sine, -cosine / sine
    begin = -(size - 1) / 2
    across += begin * slope + (width - 1) / 2
    distance += begin * advance
    rise = heights.rise[plane] / half
    height, climb = heights.middle[plane] + distance * rise, advance * rise
    secant = sqrt(1.0 + (rise * heights.thickness) ** 2)
    first, last, middle = 0, size - 1, 0.0
    reach = (grid.fov + 1.0) ** 2 - r**2
    if reach <= 0.0:
        last = -1
    else:
        farthest = sqrt(reach)
        low, high = -farthest, farthest
        if timing.bins > 0:
            middle = timing.first + events.tof_bins[n] * timing.width
            low, high = max(low, (middle - timing.reach) / secant), min(high, (middle + timing.reach) / secant)
        first, last = _clip(first, last, distance, advance, low, high)
        first, last = _clip(first, last, across, slope, -1.0, float(width))
        first, last = _clip(first, last, height, climb, -1.0, float(grid.slices))
    return Walk(
        first, last, along_y, across, slope, height, climb, distance * secant - middle, advance * secant, grid.step * abs(advance) * secant
    )


@numba.njit(parallel=True, cache=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def forward(image: Floats, events: Events, lines: Lines, heights: Heights, grid: Grid, timing: Timing) -> Floats:
    """Line integrals of the events through an image with a border, shape (size_x + 4, size_y + 4, slices + 4)."""
    _, size_y, size_z = image.shape
    flat = image.reshape(image.size)
    integrals = np.empty(events.radial_bins.size, dtype=np.float32)
    for n in numba.prange(events.indices.size):
        walk = _walk(n, events, lines, heights, grid, timing)
        sample_stride, across_stride = (size_z, size_y * size_z) if walk.along_y else (size_y * size_z, size_z)
        total = 0.0
        for j in range(walk.first, walk.last + 1):
            across, height = walk.across + j * walk.across_advance, walk.height + j * walk.height_advance
            left, below = floor(across), floor(height)
            u, v = np.float32(across - left), np.float32(height - below)
            at = np.uint64((j + BORDER) * sample_stride + (left + BORDER) * across_stride + below + BORDER)
            beside = at + np.uint64(across_stride)
            one = flat[at] + v * (flat[at + np.uint64(1)] - flat[at])
            other = flat[beside] + v * (flat[beside + np.uint64(1)] - flat[beside])
            value = one + u * (other - one)
            if timing.bins > 0:
                value *= _tof_share(walk.distance + j * walk.distance_advance, timing)
            total += value
        integrals[events.indices[n]] = total * walk.length
    return integrals


@numba.njit(parallel=True, cache=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def back(values: Floats, events: Events, lines: Lines, heights: Heights, grid: Grid, timing: Timing, images: Floats) -> None:
    """Transpose of `forward`: add to images with a border, shape (parts, size_x + 4, size_y + 4, slices + 4), a part of the events each."""
    parts, _, size_y, size_z = images.shape
    flat = images.reshape(parts, images[0].size)
    for part in numba.prange(parts):
        image = flat[part]
        for n in range(part * values.size // parts, (part + 1) * values.size // parts):
            datum = values[events.indices[n]]
            if datum == 0.0:
                continue
            walk = _walk(n, events, lines, heights, grid, timing)
            sample_stride, across_stride = (size_z, size_y * size_z) if walk.along_y else (size_y * size_z, size_z)
            scaled = np.float32(datum * walk.length)
            for j in range(walk.first, walk.last + 1):
                across, height = walk.across + j * walk.across_advance, walk.height + j * walk.height_advance
                left, below = floor(across), floor(height)
                u, v = np.float32(across - left), np.float32(height - below)
                at = np.uint64((j + BORDER) * sample_stride + (left + BORDER) * across_stride + below + BORDER)
                beside = at + np.uint64(across_stride)
                value = scaled
                if timing.bins > 0:
                    value *= np.float32(_tof_share(walk.distance + j * walk.distance_advance, timing))
                other = u * value
                one = value - other
                image[at] += one - v * one
                image[at + np.uint64(1)] += v * one
                image[beside] += other - v * other
                image[beside + np.uint64(1)] += v * other

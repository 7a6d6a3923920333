"""The compiled loops of the oblique projector: Joseph's line integrals in three dimensions and their exact transpose.

All planes of a segment run parallel, a whole number of slices apart. So at one sample of a transaxial line they all meet the image
between the same two transaxial pixels and at the same fraction of a slice: the two pixels' axial rows are blended once, and every
segment takes a run of that row, shifted, with two axial weights (and TOF weights, which depend on the sample alone). Time goes into long
runs of contiguous numbers. The transpose gathers as that of the direct planes does (see `kernels`): a pixel looks up its lines, and
no two threads write to one place.

Rows are kept in a padded layout: slice z lies at [(z + pad) % stride, (z + pad) // stride], so that a run is contiguous whether planes
lie one slice apart or two; as a division takes longer than a short run, the loops write that as [(z + pad) & odd, (z + pad) >> odd]
with odd = stride - 1. Lengths are in transaxial voxels unless said otherwise.
"""

from math import ceil, floor
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from petbench.physics.kernels import BINS_PER_TASK

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

PIXELS_PER_BLOCK = 64
SAMPLES = 4  # of a line that are added in one sweep, so that the sum is read and written once for all


class Lines(NamedTuple):
    """Transaxial geometry: radial position and half the chord a bin, cosine and sine a view."""

    radial: Doubles
    half_chord: Doubles
    cosines: Doubles
    sines: Doubles


class Grid(NamedTuple):
    """Image grid: pixels, slices, radius of the field of view, transaxial voxel edge in cm."""

    size_x: int
    size_y: int
    slices: int
    fov: float
    step: float


class Runs(NamedTuple):
    """Segments: first plane in the sinogram, planes, padded slice of the first, slices climbed a voxel and secant by bin."""

    first_plane: Integers
    planes: Integers
    start: Integers
    rise: Doubles
    secant: Doubles
    stride: int
    pad: int


class Timing(NamedTuple):
    """TOF: number of bins (0 without TOF), middle of the first, their width, and a table of what a bin takes of a sample.

    The table goes by distance from the bin's middle in steps of 1 / `per_voxel`, from -`reach`, as far as a bin reaches, to `reach`.
    """

    bins: int
    first: float
    width: float
    reach: float
    per_voxel: float
    share: Floats


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _tof_share(distance: float, timing: Timing) -> float:
    """Share of a sample, `distance` from the middle of a TOF bin and within its reach, that the bin takes."""
    position = (distance + timing.reach) * timing.per_voxel
    i = np.uint64(max(position, 0.0))
    share: float = timing.share[i] + (position - i) * (timing.share[i + np.uint64(1)] - timing.share[i])
    return share


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _tof_shares(distance: float, timing: Timing, share: Floats) -> tuple[int, int]:
    """Fill in the bins' shares of a sample `distance` from the line's middle; returns first and last bin that reach it."""
    first = max(0, ceil((distance - timing.reach - timing.first) / timing.width))
    last = min(timing.bins - 1, floor((distance + timing.reach - timing.first) / timing.width))
    for b in range(first, last + 1):
        share[b] = _tof_share(distance - timing.first - b * timing.width, timing)
    return first, last


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _line_samples(r: float, cosine: float, sine: float, grid: Grid, pixel: Integers, weight: Floats, along: Doubles) -> int:
    """List a transaxial line's samples: their two pixels, weights in cm, and distance from the line's middle.

    Pixels centred outside the field of view get no weight. The list is filled up to whole groups with samples without weight.
    """
    along_y = abs(cosine) >= abs(sine)
    main, other = (cosine, sine) if along_y else (sine, cosine)
    size, across = (grid.size_y, grid.size_x) if along_y else (grid.size_x, grid.size_y)
    middle, middle_across = (size - 1) / 2, (across - 1) / 2
    reach = (grid.fov + 1.0) ** 2 - r**2
    if reach <= 0.0:
        return 0
    half = np.sqrt(reach) * abs(main)
    count = 0
    for j in range(max(0, ceil(r * other - half + middle)), min(size - 1, floor(r * other + half + middle)) + 1):
        y = j - middle
        position = (r - y * other) / main + middle_across
        left = floor(position)
        used = False
        for side in range(2):
            i = left + side
            w = 1.0 - abs(position - i)
            inside = 0 <= i < across and (i - middle_across) ** 2 + y**2 <= grid.fov**2
            pixel[count, side] = (i * grid.size_y + j if along_y else j * grid.size_y + i) if inside else 0
            weight[count, side] = w * grid.step / abs(main) if inside else 0.0
            used = used or inside
        if used:
            along[count] = (y - r * sine) / cosine if along_y else (r * cosine - y) / sine
            count += 1
    while count % SAMPLES:
        pixel[count], weight[count], along[count] = pixel[count - 1], 0.0, along[count - 1]
        count += 1
    return count


@numba.njit(cache=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _blend(out: Floats, a: Floats, b: Floats, wa: float, wb: float) -> None:
    for z in range(out.size):
        out[z] = wa * a[z] + wb * b[z]


@numba.njit(cache=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _add_four(out: Floats, a: Floats, b: Floats, c: Floats, d: Floats, wa: float, wb: float, wc: float, wd: float) -> None:
    for p in range(out.size):
        out[p] += wa * a[p] + wb * b[p] + wc * c[p] + wd * d[p]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _run(row: Floats, at: int, odd: int) -> Floats:
    """The part of a row in the padded layout that starts at padded slice `at`."""
    run: Floats = row[at & odd, at >> odd :]
    return run


@numba.njit(parallel=True, cache=True)  # type: ignore[untyped-decorator]
def forward(image: Floats, lines: Lines, grid: Grid, runs: Runs, timing: Timing, sinogram: Floats) -> None:
    """Fill the planes of `runs` in a sinogram of shape (views, radial bins, TOF bins or 1, planes).

    The image, of shape (size_x * size_y, stride, padded slices / stride), is in the padded layout.
    """
    bins = lines.radial.size
    tasks = (bins + BINS_PER_TASK - 1) // BINS_PER_TASK
    most = max(grid.size_x, grid.size_y) + SAMPLES
    width = image.shape[1] * image.shape[2]
    flat = image.reshape(image.shape[0], width)
    longest, odd = runs.planes.max(), runs.stride - 1
    for task in numba.prange(lines.cosines.size * tasks):
        view, start = task // tasks, task % tasks * BINS_PER_TASK
        pixel, weight = np.zeros((most, 2), dtype=np.int64), np.zeros((most, 2), dtype=np.float32)
        along = np.zeros(most, dtype=np.float64)
        rows = np.zeros((SAMPLES, image.shape[1], image.shape[2]), dtype=np.float32)
        shifted = np.zeros((SAMPLES, longest), dtype=np.float32)
        low, high = np.zeros(SAMPLES, dtype=np.float32), np.zeros(SAMPLES, dtype=np.float32)
        at = np.zeros(SAMPLES, dtype=np.int64)
        share = np.zeros((SAMPLES, max(1, timing.bins)), dtype=np.float32)
        for k in range(start, min(bins, start + BINS_PER_TASK)):
            out = sinogram[view, k]
            for g in range(runs.planes.size):
                out[:, runs.first_plane[g] : runs.first_plane[g] + runs.planes[g]] = 0.0
            count = _line_samples(lines.radial[k], lines.cosines[view], lines.sines[view], grid, pixel, weight, along)
            for s in range(0, count, SAMPLES):
                for i in range(SAMPLES):
                    _blend(rows[i].reshape(width), flat[pixel[s + i, 0]], flat[pixel[s + i, 1]], weight[s + i, 0], weight[s + i, 1])
                for g in range(runs.planes.size):
                    planes, begin, secant = runs.planes[g], runs.first_plane[g], runs.secant[g, k]
                    first, last = timing.bins, -1
                    share[:] = 0.0
                    for i in range(SAMPLES):
                        shift = runs.rise[g, k] * along[s + i]
                        slices = floor(shift)
                        at[i] = runs.start[g] + slices
                        high[i] = secant * (shift - slices)
                        low[i] = secant - high[i]
                        if timing.bins > 0:
                            earliest, latest = _tof_shares(along[s + i] * secant, timing, share[i])
                            first, last = min(first, earliest), max(last, latest)
                    if timing.bins == 0:
                        total = out[0, begin : begin + planes]
                        for i in range(0, SAMPLES, 2):
                            a, b = _run(rows[i], at[i], odd), _run(rows[i], at[i] + 1, odd)
                            c, d = _run(rows[i + 1], at[i + 1], odd), _run(rows[i + 1], at[i + 1] + 1, odd)
                            _add_four(total, a, b, c, d, low[i], high[i], low[i + 1], high[i + 1])
                        continue
                    for i in range(SAMPLES):
                        _blend(shifted[i, :planes], _run(rows[i], at[i], odd), _run(rows[i], at[i] + 1, odd), low[i], high[i])
                    for t in range(first, last + 1):
                        total = out[t, begin : begin + planes]
                        _add_four(total, shifted[0], shifted[1], shifted[2], shifted[3], share[0, t], share[1, t], share[2, t], share[3, t])


@numba.njit(cache=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _add_both(a: Floats, b: Floats, row: Floats, wa: float, wb: float) -> None:
    for p in range(row.size):
        a[p] += wa * row[p]
        b[p] += wb * row[p]


@numba.njit(cache=True, fastmath={"contract"})  # type: ignore[untyped-decorator]
def _weigh(out: Floats, rows: Floats, share: Floats, first: int, last: int) -> None:
    """Set out[:] to the sum of share[b] * rows[b, :] over the bins first to last."""
    out[:] = 0.0
    for b in range(first, last + 1):
        row, weight = rows[b], share[b]
        for p in range(out.size):
            out[p] += weight * row[p]


@numba.njit(parallel=True, cache=True)  # type: ignore[untyped-decorator]
def back(
    sinogram: Floats,
    lines: Lines,
    grid: Grid,
    runs: Runs,
    timing: Timing,
    pixels: Integers,
    first_bin: Integers,
    per_voxel: float,
    image: Floats,
) -> None:
    """Transpose of `forward`: add to `pixels` (flat indices) of an image of shape (size_x * size_y, slices)."""
    bins = lines.radial.size
    width = (grid.slices + 2 * runs.pad) // runs.stride + 1
    blocks = (pixels.size + PIXELS_PER_BLOCK - 1) // PIXELS_PER_BLOCK
    longest, odd = runs.planes.max(), runs.stride - 1
    for block in numba.prange(blocks):
        begin, end = block * PIXELS_PER_BLOCK, min(pixels.size, (block + 1) * PIXELS_PER_BLOCK)
        # What goes to a run's own slices and what goes to those above, added up apart; so one sweep feeds both.
        lower = np.zeros((end - begin, runs.stride, width), dtype=np.float32)
        upper = np.zeros((end - begin, runs.stride, width), dtype=np.float32)
        row, share = np.zeros(longest, dtype=np.float32), np.zeros(max(1, timing.bins), dtype=np.float32)
        for view in range(lines.cosines.size):  # outermost, as neighbouring pixels share their lines
            cosine, sine = lines.cosines[view], lines.sines[view]
            m = max(abs(cosine), abs(sine))
            for n in range(end - begin):
                x = pixels[begin + n] // grid.size_y - (grid.size_x - 1) / 2
                y = pixels[begin + n] % grid.size_y - (grid.size_y - 1) / 2
                position = x * cosine + y * sine
                k = first_bin[min(max(int((position - m - lines.radial[0]) * per_voxel), 0), first_bin.size - 1)]
                while k < bins and lines.radial[k] < position + m:
                    r = lines.radial[k]
                    weight = (1.0 - abs(position - r) / m) * grid.step / m
                    if weight > 0.0:
                        along = (y - r * sine) / cosine if abs(cosine) >= abs(sine) else (r * cosine - x) / sine
                        for g in range(runs.planes.size):
                            planes, plane = runs.planes[g], runs.first_plane[g]
                            shift = runs.rise[g, k] * along
                            slices = floor(shift)
                            at = runs.start[g] + slices
                            scaled = weight * runs.secant[g, k]
                            high = scaled * (shift - slices)
                            a, b = _run(lower[n], at, odd), _run(upper[n], at, odd)
                            if timing.bins == 0:
                                _add_both(a, b, sinogram[view, k, 0, plane : plane + planes], np.float32(scaled - high), np.float32(high))
                            else:
                                first, last = _tof_shares(along * runs.secant[g, k], timing, share)
                                _weigh(row[:planes], sinogram[view, k, :, plane : plane + planes], share, first, last)
                                _add_both(a, b, row[:planes], np.float32(scaled - high), np.float32(high))
                    k += 1
        for n in range(end - begin):
            out = image[pixels[begin + n]]
            for z in range(grid.slices):
                at = z + runs.pad
                out[z] += lower[n, at & odd, at >> odd] + upper[n, (at - 1) & odd, (at - 1) >> odd]

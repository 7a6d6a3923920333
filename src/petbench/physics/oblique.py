"""Fully three-dimensional line integrals and their exact transpose, for sinograms of oblique planes and of TOF bins."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.lines import half_chords
from petbench.physics.planes import Segment, planes_of
from petbench.physics.projector import CELLS_PER_VOXEL, SinogramProjector, bin_table, check_shape, numba_threads
from petbench.physics.scanner import MM_PER_CM, TOF_SIGMAS, Scanner, TimeOfFlight, field_of_view, radial_positions, view_angles

if TYPE_CHECKING:
    from petbench.physics.kernels_oblique import Grid, Lines, Runs, Timing

Array = NDArray[np.float32]

TABLE_PER_SIGMA = 256  # steps of the table of TOF weights; interpolation errs by 5e-7
TILE = 8  # pixels; the loops work through the image tile by tile, so that neighbours share the lines that are in the cache


@dataclass(frozen=True, eq=False)
class ObliqueProjector(SinogramProjector):
    """Joseph projector P in three dimensions, with or without TOF.

    At every sample along the transaxial axis that a line follows most, the image is interpolated linearly across it and along z. A TOF
    bin weighs the samples by the Gaussian of the timing resolution about their place on the line, cut at three sigma and divided by what
    is left, integrated over the bin: the bins' weights of a sample have the sum one. TOF bins rise towards line end 2.

    Attributes:
        scanner: The geometry.
        tof: Whether sinograms have a fourth axis of TOF bins.
        view_indices: Which of the scanner's views are projected; None for all.
        threads: Threads to run on, None for numba's own number (NUMBA_NUM_THREADS).
        geometry: `oblique`, all planes; `direct`, the direct ones, which makes sense with TOF.

    Raises:
        InputError: the scanner has no oblique planes or no time of flight.
    """

    scanner: Scanner
    tof: bool = False
    view_indices: tuple[int, ...] | None = None
    threads: int | None = None
    geometry: str = "oblique"

    def __post_init__(self) -> None:
        planes_of(self.scanner, self.geometry)
        if self.tof:
            time_of_flight(self.scanner)

    @property
    def sinogram_shape(self) -> tuple[int, ...]:
        """Radial bins, views of this projector, planes, and with TOF its bins."""
        shape = (self.scanner.radial_bins, self.views.size, planes_of(self.scanner, self.geometry).size)
        return (*shape, time_of_flight(self.scanner).bins) if self.tof else shape

    def on_device(self, device: Any, /) -> Any:
        """See `LinearOperator`."""
        from petbench.physics.device_projectors import DeviceObliqueProjector

        return DeviceObliqueProjector(self.scanner, self.geometry, self.views, self.sinogram_shape, device)

    def _forward(self, image: NDArray[np.floating], /) -> Array:
        from petbench.physics import kernels_oblique

        check_shape(image, self.scanner.image_shape)
        bins, views, planes, *tof = self.sinogram_shape
        sinogram = np.empty((views, bins, *(tof or (1,)), planes), dtype=np.float32)
        lines, grid, timing = transaxial_lines(self.scanner, self.views), image_grid(self.scanner), tof_timing(self.scanner, self.tof)
        with numba_threads(self.threads):
            for runs in self._runs():
                kernels_oblique.forward(_padded(image, runs.stride, runs.pad), lines, grid, runs, timing, sinogram)
        return sinogram.transpose(1, 0, 3, 2) if self.tof else sinogram[:, :, 0].transpose(1, 0, 2)

    def _transpose(self, sinogram: NDArray[np.floating], /) -> Array:
        from petbench.physics import kernels_oblique

        check_shape(sinogram, self.sinogram_shape)
        rows = sinogram.transpose(1, 0, 3, 2) if self.tof else sinogram.transpose(1, 0, 2)[:, :, None]
        rows = np.ascontiguousarray(rows, dtype=np.float32)
        size_x, size_y, slices = self.scanner.image_shape
        image = np.zeros((size_x * size_y, slices), dtype=np.float32)
        lines, grid, timing = transaxial_lines(self.scanner, self.views), image_grid(self.scanner), tof_timing(self.scanner, self.tof)
        pixels, table = _tiled(field_of_view(self.scanner)), bin_table(lines.radial)
        with numba_threads(self.threads):
            for runs in self._runs():
                kernels_oblique.back(rows, lines, grid, runs, timing, pixels, table, CELLS_PER_VOXEL, image)
        return image.reshape(self.scanner.image_shape)

    def _runs(self) -> list["Runs"]:
        """The segments, those one slice from plane to plane apart from those of two."""
        segments = planes_of(self.scanner, self.geometry).segments
        alike = [[segment for segment in segments if segment.stride == stride] for stride in (1, 2)]
        return [_runs_of(self.scanner, group) for group in alike if group]


def time_of_flight(scanner: Scanner) -> TimeOfFlight:
    """A scanner's time of flight.

    Raises:
        InputError: it has none.
    """
    if scanner.tof is None:
        raise InputError(f"scanner/tof: {scanner.name} has no time of flight; add resolution_ps, bins and bin_ps or turn TOF off.")
    return scanner.tof


def transaxial_lines(scanner: Scanner, views: NDArray[np.int64]) -> "Lines":
    """Radial positions and half chords in voxels, cosines and sines of the views."""
    from petbench.physics.kernels_oblique import Lines

    voxel_mm = scanner.voxel_mm[0]
    angles = view_angles(scanner)[views]
    return Lines(radial_positions(scanner) / voxel_mm, half_chords(scanner) / voxel_mm, np.cos(angles), np.sin(angles))


def image_grid(scanner: Scanner) -> "Grid":
    """The image grid in voxels, and the voxel edge in cm."""
    from petbench.physics.kernels_oblique import Grid

    voxel_mm = scanner.voxel_mm[0]
    return Grid(*scanner.image_shape, scanner.fov_mm / 2 / voxel_mm, voxel_mm / MM_PER_CM)


def tof_timing(scanner: Scanner, tof: bool) -> "Timing":
    """TOF bins in voxels, and the share of a sample that a bin takes by their distance; no bins without TOF."""
    from scipy.special import ndtr

    from petbench.physics.kernels_oblique import Timing

    if not tof:
        return Timing(0, 0.0, 1.0, 0.0, 1.0, np.zeros(2, dtype=np.float32))
    timing, voxel_mm = time_of_flight(scanner), scanner.voxel_mm[0]
    bin_mm, sigma_mm = timing.bin_mm, timing.sigma_mm
    reach_mm, step_mm = bin_mm / 2 + TOF_SIGMAS * sigma_mm, sigma_mm / TABLE_PER_SIGMA
    distance_mm = np.arange(int(2 * reach_mm / step_mm) + 3) * step_mm - reach_mm
    upper, lower = (ndtr(np.clip((distance_mm + side * bin_mm / 2) / sigma_mm, -TOF_SIGMAS, TOF_SIGMAS)) for side in (1, -1))
    share = ((upper - lower) / (ndtr(TOF_SIGMAS) - ndtr(-TOF_SIGMAS))).astype(np.float32)
    first_mm = float(timing.edges_mm[:2].mean())
    return Timing(timing.bins, first_mm / voxel_mm, bin_mm / voxel_mm, reach_mm / voxel_mm, voxel_mm / step_mm, share)


def _runs_of(scanner: Scanner, segments: list[Segment]) -> "Runs":
    from petbench.physics.kernels_oblique import Runs

    rise = np.array([segment.difference_mm for segment in segments]) / 2 / scanner.plane_spacing_mm
    chords = half_chords(scanner) / scanner.voxel_mm[0]
    first_slice = np.array([segment.first_slice for segment in segments])
    # How far a segment's first plane, whose rings may differ by less than the mean, reaches beyond the image, and one slice to interpolate.
    pad = max(0, int(np.ceil((np.abs(rise) - first_slice).max()))) + 2
    return Runs(
        np.array([segment.first_plane for segment in segments]),
        np.array([segment.planes for segment in segments]),
        first_slice + pad,
        rise[:, None] / chords,
        np.hypot(1.0, 0.5 * np.array([segment.difference_mm for segment in segments])[:, None] / scanner.voxel_mm[0] / chords),
        segments[0].stride,
        pad,
    )


def _padded(image: NDArray[np.floating], stride: int, pad: int) -> Array:
    """Image rows with zeros on both sides, every `stride`-th slice side by side: shape (x * y, stride, slices)."""
    size_x, size_y, slices = image.shape
    width = (slices + 2 * pad) // stride + 1
    rows = np.zeros((size_x * size_y, width * stride), dtype=np.float32)
    rows[:, pad : pad + slices] = image.reshape(size_x * size_y, slices)
    return np.ascontiguousarray(rows.reshape(-1, width, stride).transpose(0, 2, 1))


def _tiled(inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Flat indices of the pixels inside, tile by tile."""
    x, y = np.nonzero(inside)
    order = np.lexsort((y, x, y // TILE, x // TILE))
    return np.asarray((x * inside.shape[1] + y)[order], dtype=np.int64)

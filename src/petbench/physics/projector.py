"""Line integrals through an image and their exact transpose, for sinograms; the direct planes."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from petbench.physics.linear import LinearOperator
from petbench.physics.scanner import MM_PER_CM, Scanner, field_of_view, radial_positions, view_angles

Array = NDArray[np.float32]

CELLS_PER_VOXEL = 8  # of the table that finds a pixel's bins; finer costs memory, coarser a few more comparisons


class SinogramProjector(LinearOperator):
    """A projector whose views can be restricted; what direct and oblique planes have in common.

    Images have shape (x, y, z), sinograms (radial bins, views, planes[, TOF bins]), both float32. Lengths are in cm, so that attenuation
    per cm integrates to a pure number and activity in Bq/ml to Bq/ml cm. Voxels centred outside the circular field of view count as zero
    and stay zero.

    Sinograms come as a transposed view of memory in the order (views, radial bins, [TOF bins,] planes), which is what the loops want;
    arithmetic keeps that order, and sinograms in any other are copied once.
    """

    scanner: Scanner
    view_indices: tuple[int, ...] | None
    threads: int | None

    @property
    def views(self) -> NDArray[np.int64]:
        """Indices of the views projected, in the scanner's numbering."""
        chosen = range(self.scanner.views) if self.view_indices is None else self.view_indices
        return np.asarray(chosen, dtype=np.int64)

    @property
    @abstractmethod
    def tof(self) -> bool:
        """Whether its sinograms have TOF bins."""

    @property
    @abstractmethod
    def sinogram_shape(self) -> tuple[int, ...]:
        """Radial bins, views of this projector, planes, and TOF bins where there are any."""

    @property
    def field_of_view(self) -> NDArray[np.bool_]:
        """Whether a voxel can be seen, shape (x, y, 1)."""
        return field_of_view(self.scanner)[:, :, None]

    def subset(self, index: int, count: int) -> Self:
        """The projector of every `count`-th view from `index` on; its sinogram is `sinogram[:, index::count]`."""
        changes: dict[str, Any] = {"view_indices": tuple(int(view) for view in self.views[index::count])}
        return replace(self, **changes)  # type: ignore[type-var]


@dataclass(frozen=True, eq=False)
class DirectProjector(SinogramProjector):
    """Joseph projector P of the direct planes, which all share one two-dimensional geometry.

    Attributes:
        scanner: The geometry.
        view_indices: Which of the scanner's views are projected; None for all.
        threads: Threads to run on, None for numba's own number (NUMBA_NUM_THREADS).
    """

    scanner: Scanner
    view_indices: tuple[int, ...] | None = None
    threads: int | None = None

    @property
    def tof(self) -> bool:
        """Whether its sinograms have TOF bins: they have none."""
        return False

    @property
    def sinogram_shape(self) -> tuple[int, int, int]:
        """Radial bins, views of this projector, planes."""
        return (self.scanner.radial_bins, self.views.size, self.scanner.planes)

    def on_device(self, device: Any, /) -> Any:
        """See `LinearOperator`."""
        from petbench.physics.device_projectors import DeviceDirectProjector, ShapesOnly

        if device.type == "meta":
            return ShapesOnly(self.scanner.image_shape, self.sinogram_shape)
        return DeviceDirectProjector(self.scanner, self.views, device)

    def _forward(self, image: NDArray[np.floating], /) -> Array:
        from petbench.physics import kernels

        check_shape(image, self.scanner.image_shape)
        size_x, size_y, planes = image.shape
        rows = np.ascontiguousarray(image, dtype=np.float32).reshape(size_x * size_y, planes)
        radial, cosines, sines, fov, step = self._geometry()
        with numba_threads(self.threads):
            sinogram: Array = kernels.forward(rows, radial, cosines, sines, size_x, size_y, fov, step)
        return sinogram.transpose(1, 0, 2)

    def _transpose(self, sinogram: NDArray[np.floating], /) -> Array:
        from petbench.physics import kernels

        check_shape(sinogram, self.sinogram_shape)
        bins, views, planes = sinogram.shape
        rows = np.ascontiguousarray(sinogram.transpose(1, 0, 2), dtype=np.float32).reshape(views * bins, planes)
        size_x, size_y, _ = self.scanner.image_shape
        radial, cosines, sines, _, step = self._geometry()
        pixels = np.flatnonzero(field_of_view(self.scanner))
        with numba_threads(self.threads):
            image: Array = kernels.back(
                rows, radial, cosines, sines, pixels, bin_table(radial), CELLS_PER_VOXEL, self._most_taps(radial), size_x, size_y, step
            )
        return image.reshape(self.scanner.image_shape)

    def _geometry(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], float, float]:
        """Radial positions in voxels, cosine and sine a view, radius of the field of view in voxels, voxel size in cm."""
        voxel_mm = self.scanner.voxel_mm[0]
        angles = view_angles(self.scanner)[self.views]
        return (
            radial_positions(self.scanner) / voxel_mm,
            np.cos(angles),
            np.sin(angles),
            self.scanner.fov_mm / 2 / voxel_mm,
            voxel_mm / MM_PER_CM,
        )

    def _most_taps(self, radial: NDArray[np.float64]) -> int:
        """Bins that feed one pixel over all views, at most: those closer than a voxel on either side."""
        beyond = np.searchsorted(radial, radial + 2.0, side="right")
        return int((beyond - np.arange(radial.size)).max() + 1) * self.views.size


def bin_table(radial: NDArray[np.float64]) -> NDArray[np.int64]:
    """First radial bin at or above every cell's start; cells are 1 / CELLS_PER_VOXEL wide and begin at the first bin."""
    cells = int((radial[-1] - radial[0]) * CELLS_PER_VOXEL) + 2
    return np.asarray(np.searchsorted(radial, radial[0] + np.arange(cells) / CELLS_PER_VOXEL), dtype=np.int64)


def check_shape(array: NDArray[np.floating], shape: tuple[int, ...]) -> None:
    """Check the shape of what an operator is given.

    Raises:
        ValueError: it is another.
    """
    if array.shape != shape:
        raise ValueError(f"expected an array of shape {shape}, got {array.shape}")


@contextmanager
def numba_threads(count: int | None) -> Iterator[None]:
    """Run compiled loops on `count` threads, at most as many as numba was started with; None leaves the number alone."""
    import numba

    before = numba.get_num_threads()
    numba.set_num_threads(before if count is None else max(1, min(count, numba.config.NUMBA_NUM_THREADS)))
    try:
        yield
    finally:
        numba.set_num_threads(before)

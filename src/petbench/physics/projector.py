"""Line integrals through an image and their exact transpose, for sinograms of direct planes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from petbench.physics.scanner import Scanner, field_of_view, radial_positions, view_angles

Array = NDArray[np.float32]

MM_PER_CM = 10.0
CELLS_PER_VOXEL = 8  # of the table that finds a pixel's bins; finer costs memory, coarser a few more comparisons


@dataclass(frozen=True, eq=False)
class DirectProjector:
    """Joseph projector P of the direct planes, which all share one two-dimensional geometry.

    Images have shape (x, y, z), sinograms (radial bins, views, planes), both float32.  Lengths are in cm, so that attenuation per cm
    integrates to a pure number and activity in Bq/ml to Bq/ml cm. Voxels centred outside the circular field of view count as zero
    and stay zero.

    Sinograms come as a transposed view of memory in the order (views, radial bins, planes), which is what the loops want; arithmetic
    keeps that order, and sinograms in any other are copied once.

    Attributes:
        scanner: The geometry.
        view_indices: Which of the scanner's views are projected; None for all.
        threads: Threads to run on, None for numba's own number (NUMBA_NUM_THREADS).
    """

    scanner: Scanner
    view_indices: tuple[int, ...] | None = None
    threads: int | None = None

    @property
    def views(self) -> NDArray[np.int64]:
        """Indices of the views projected, in the scanner's numbering."""
        chosen = range(self.scanner.views) if self.view_indices is None else self.view_indices
        return np.asarray(chosen, dtype=np.int64)

    @property
    def sinogram_shape(self) -> tuple[int, int, int]:
        """Radial bins, views of this projector, planes."""
        return (self.scanner.radial_bins, self.views.size, self.scanner.planes)

    @property
    def field_of_view(self) -> NDArray[np.bool_]:
        """Whether a voxel can be seen, shape (x, y, 1)."""
        return field_of_view(self.scanner)[:, :, None]

    def subset(self, index: int, count: int) -> "DirectProjector":
        """The projector of every `count`-th view from `index` on; its sinogram is `sinogram[:, index::count]`."""
        return replace(self, view_indices=tuple(int(view) for view in self.views[index::count]))

    def __call__(self, image: NDArray[np.floating]) -> Array:
        """Project an image of shape (x, y, z) to a sinogram of shape (radial bins, views, planes)."""
        from petbench.physics import kernels

        size_x, size_y, planes = self._checked(image, self.scanner.image_shape)
        rows = np.ascontiguousarray(image, dtype=np.float32).reshape(size_x * size_y, planes)
        radial, cosines, sines, fov, step = self._geometry()
        with numba_threads(self.threads):
            sinogram: Array = kernels.forward(rows, radial, cosines, sines, size_x, size_y, fov, step)
        return sinogram.transpose(1, 0, 2)

    def adjoint(self, sinogram: NDArray[np.floating]) -> Array:
        """Back-project a sinogram of shape (radial bins, views, planes) to an image of shape (x, y, z): the exact transpose."""
        from petbench.physics import kernels

        bins, views, planes = self._checked(sinogram, self.sinogram_shape)
        rows = np.ascontiguousarray(sinogram.transpose(1, 0, 2), dtype=np.float32).reshape(views * bins, planes)
        size_x, size_y, _ = self.scanner.image_shape
        radial, cosines, sines, _, step = self._geometry()
        pixels = np.flatnonzero(field_of_view(self.scanner))
        cells = int((radial[-1] - radial[0]) * CELLS_PER_VOXEL) + 2
        first_bin = np.searchsorted(radial, radial[0] + np.arange(cells) / CELLS_PER_VOXEL)
        with numba_threads(self.threads):
            image: Array = kernels.back(
                rows, radial, cosines, sines, pixels, first_bin, CELLS_PER_VOXEL, self._most_taps(radial), size_x, size_y, step
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

    @staticmethod
    def _checked(array: NDArray[np.floating], shape: tuple[int, int, int]) -> tuple[int, int, int]:
        if array.shape != shape:
            raise ValueError(f"expected an array of shape {shape}, got {array.shape}")
        return shape


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

"""Line integrals of single events and their exact transpose, for list-mode data."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.linear import LinearOperator
from petbench.physics.lines import check_bins, check_range
from petbench.physics.oblique import image_grid, time_of_flight, tof_timing, transaxial_lines
from petbench.physics.planes import planes_of
from petbench.physics.projector import check_shape, numba_threads
from petbench.physics.scanner import Scanner, field_of_view

if TYPE_CHECKING:
    from petbench.physics.kernels_listmode import Events, Heights
    from petbench.physics.kernels_oblique import Grid, Lines, Timing

Array = NDArray[np.float32]
Indices = NDArray[np.integer]

PRIVATE_BYTES = 4 << 30  # that the threads' own images may take; beyond it fewer threads back-project
BINS_SIDE_BY_SIDE = 4  # whose events are visited together
KEYS = 60_000  # of the sorting, within 16 bits


@dataclass(frozen=True, eq=False)
class ListModeProjector(LinearOperator):
    """Joseph projector P of events: the rows of a sinogram projector's matrix that belong to the events' bins, in their order.

    Images have shape (x, y, z), data (events,), both float32; lengths are in cm. The transpose adds events up in an image a thread and
    repeats bit for bit for a number of threads.

    Attributes:
        scanner: The geometry.
        geometry: `direct` or `oblique`, which says what `plane` counts.
        radial: Radial bin of every event, shape (events,).
        view: View of every event.
        plane: Plane of every event.
        tof_bin: TOF bin of every event; None for a projection without TOF.
        threads: Threads to run on, None for numba's own number (NUMBA_NUM_THREADS).

    Raises:
        InputError: an event's bin does not exist in the geometry.
    """

    scanner: Scanner
    geometry: str
    radial: Indices
    view: Indices
    plane: Indices
    tof_bin: Indices | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        shape = (self.scanner.radial_bins, self.scanner.views, planes_of(self.scanner, self.geometry).size)
        check_bins(self.radial, self.view, self.plane, shape)
        if self.tof_bin is not None:
            bins = time_of_flight(self.scanner).bins
            if self.tof_bin.shape != self.radial.shape:
                raise InputError(f"events/tof_bin: has shape {self.tof_bin.shape} for events {self.radial.shape}; give one a line.")
            check_range("tof_bin", self.tof_bin, bins)
        for name in ("radial", "view", "tof_bin"):
            if (index := getattr(self, name)) is not None:
                object.__setattr__(self, name, np.ascontiguousarray(index, dtype=np.uint16))
        object.__setattr__(self, "plane", np.ascontiguousarray(self.plane, dtype=np.uint32))

    @property
    def tof(self) -> bool:
        """Whether events have a TOF bin."""
        return self.tof_bin is not None

    @property
    def sinogram_shape(self) -> tuple[int]:
        """Number of events."""
        return (self.radial.size,)

    @property
    def field_of_view(self) -> NDArray[np.bool_]:
        """Whether a voxel can be seen, shape (x, y, 1)."""
        return field_of_view(self.scanner)[:, :, None]

    def subset(self, index: int, count: int) -> "ListModeProjector":
        """The projector of every `count`-th event from `index` on; its data are `data[index::count]`."""
        chosen = {
            name: getattr(self, name)[index::count] for name in ("radial", "view", "plane", "tof_bin") if getattr(self, name) is not None
        }
        return replace(self, **chosen)

    def on_device(self, device: Any, /) -> Any:
        """See `LinearOperator`."""
        from petbench.physics.device_projectors import DeviceListModeProjector

        return DeviceListModeProjector(self.scanner, self.geometry, (self.radial, self.view, self.plane), self.tof_bin, device)

    def _forward(self, image: NDArray[np.floating], /) -> Array:
        from petbench.physics import kernels_listmode

        check_shape(image, self.scanner.image_shape)
        bordered = np.zeros([n + 2 * kernels_listmode.BORDER for n in image.shape], dtype=np.float32)
        np.multiply(image, self.field_of_view, out=_inner(bordered, kernels_listmode.BORDER), casting="same_kind")
        with numba_threads(self.threads):
            integrals: Array = kernels_listmode.forward(bordered, *self._geometry())
        return integrals

    def _transpose(self, data: NDArray[np.floating], /) -> Array:
        import numba

        from petbench.physics import kernels_listmode

        check_shape(data, self.sinogram_shape)
        border = kernels_listmode.BORDER
        shape = [n + 2 * border for n in self.scanner.image_shape]
        with numba_threads(self.threads):
            parts = max(1, min(numba.get_num_threads(), PRIVATE_BYTES // (4 * int(np.prod(shape)))))
            images = np.zeros((parts, *shape), dtype=np.float32)
            kernels_listmode.back(np.ascontiguousarray(data, dtype=np.float32), *self._geometry(), images)
        for part in images[1:]:
            images[0] += part
        return np.asarray(_inner(images[0], border) * self.field_of_view)

    @cached_property
    def _events(self) -> "Events":
        """The events by view and, roughly, radial bin: sorted once by a key of 16 bits, which NumPy does in linear time."""
        from petbench.physics.kernels_listmode import Events

        width = max(BINS_SIDE_BY_SIDE, self.scanner.radial_bins * self.scanner.views // KEYS + 1)
        groups = self.scanner.radial_bins // width + 1
        key = self.view.astype(np.uint32) * groups + self.radial // width
        order = np.argsort(key.astype(np.uint16), kind="stable").astype(np.uint32)
        radial, view = self.radial[order].astype(np.uint16), self.view[order].astype(np.uint16)
        tof_bin = np.empty(0) if self.tof_bin is None else self.tof_bin[order]
        return Events(radial, view, self.plane[order].astype(np.uint32), tof_bin.astype(np.uint16), order)

    def _geometry(self) -> tuple["Events", "Lines", "Heights", "Grid", "Timing"]:
        from petbench.physics.kernels_listmode import Heights

        planes, spacing = planes_of(self.scanner, self.geometry), self.scanner.plane_spacing_mm
        middle = planes.middle_mm / spacing + (self.scanner.image_shape[2] - 1) / 2
        heights = Heights(middle, planes.difference_mm / 2 / spacing, spacing / self.scanner.voxel_mm[0])
        lines = transaxial_lines(self.scanner, np.arange(self.scanner.views))
        return self._events, lines, heights, image_grid(self.scanner), tof_timing(self.scanner, self.tof)


def _inner(bordered: Array, border: int) -> Array:
    return bordered[border:-border, border:-border, border:-border]

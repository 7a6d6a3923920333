"""The projectors in torch, for accelerators: Joseph's line integrals and their exact transposes, weight for weight the compiled loops'.

Every constant moves to the device once. The code runs on any device, the CPU included, and records no gradients: `tensors.apply` pairs
each direction with the other.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor
from torch.nn import functional

from petbench.physics.device_samples import Events, Grid, Lines, Samples, Timing
from petbench.physics.lines import half_chords
from petbench.physics.planes import Segment, planes_of
from petbench.physics.scanner import Scanner, radial_positions, view_angles


class ShapesOnly:
    """A projector on the device `meta`, which knows shapes and holds nothing."""

    def __init__(self, image_shape: tuple[int, ...], sinogram_shape: tuple[int, ...]) -> None:
        self._image_shape, self._sinogram_shape = image_shape, sinogram_shape

    def __call__(self, image: Tensor) -> Tensor:
        """A sinogram."""
        _check(image, self._image_shape)
        return image.new_empty(self._sinogram_shape)

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """An image."""
        _check(sinogram, self._sinogram_shape)
        return sinogram.new_empty(self._image_shape)


class DeviceDirectProjector:
    """The direct planes: one sparse matrix of lines by pixels for all planes, and its transpose, times rows of axial values."""

    def __init__(self, scanner: Scanner, views: NDArray[np.int64], device: torch.device) -> None:
        matrix = _joseph_matrix(scanner, views)
        self._image_shape, self._sinogram_shape = scanner.image_shape, (scanner.radial_bins, views.size, scanner.planes)
        self._forward, self._back = _sparse(matrix, device), _sparse(matrix.T.tocsr(), device)

    def __call__(self, image: Tensor) -> Tensor:
        """Project an image of shape (x, y, z) to a sinogram (radial bins, views, planes), views first in memory."""
        _check(image, self._image_shape)
        size_x, size_y, planes = self._image_shape
        bins, views, _ = self._sinogram_shape
        return (self._forward @ image.reshape(size_x * size_y, planes)).reshape(views, bins, planes).permute(1, 0, 2)

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """Back-project a sinogram to an image: the exact transpose."""
        _check(sinogram, self._sinogram_shape)
        bins, views, planes = self._sinogram_shape
        return (self._back @ sinogram.permute(1, 0, 2).reshape(views * bins, planes)).reshape(self._image_shape)


class DeviceObliqueProjector:
    """Oblique planes, TOF or not.

    All planes of a segment run parallel, a whole number of slices apart. So at one sample of a transaxial line they read one run of the
    axial row there, with two weights; the transpose reads runs of the sinogram in the same way. A fourth axis of the sinogram is TOF.
    """

    def __init__(
        self, scanner: Scanner, geometry: str, views: NDArray[np.int64], sinogram_shape: tuple[int, ...], device: torch.device
    ) -> None:
        self._image_shape, self._sinogram_shape = scanner.image_shape, sinogram_shape
        self._segments = planes_of(scanner, geometry).segments
        self._slice_mm = scanner.voxel_mm[2]
        self._grid = Grid.of(scanner, device)
        self._timing = Timing.of(scanner, device) if len(sinogram_shape) > 3 else None
        angles = view_angles(scanner)[views]
        radial, chord = radial_positions(scanner) / scanner.voxel_mm[0], half_chords(scanner) / scanner.voxel_mm[0]
        columns = np.broadcast_arrays(radial, np.cos(angles)[:, None], np.sin(angles)[:, None], chord)
        self._lines = Lines(*(torch.tensor(column, device=device).reshape(-1) for column in columns))

    def __call__(self, image: Tensor) -> Tensor:
        """Project an image (x, y, z) to a sinogram (radial bins, views, planes[, TOF bins]), views first in memory."""
        _check(image, self._image_shape)
        slices = self._image_shape[2]
        rows = image.reshape(-1, slices)
        bins, views, planes = self._sinogram_shape[:3]
        sinogram = image.new_empty(views * bins, 1 if self._timing is None else self._timing.bins, planes)
        for piece, lines in self._lines.pieces(self._grid.steps * slices):
            samples = self._grid.samples(lines)
            blended = (samples.weight[..., None] * rows[samples.pixel]).sum(dim=2).reshape(-1, slices)
            each = torch.arange(blended.shape[0], device=image.device).reshape(samples.along.shape)
            for segment in self._segments:
                run = self._run(segment, lines, samples)
                low, high = (_runs(blended, each, run.slice + side, segment.planes, segment.stride, run.reach + 1) for side in range(2))
                values = run.low[..., None] * low + run.high[..., None] * high
                for tof_bin, share in enumerate(self._shares(samples, run)):
                    sinogram[piece, tof_bin, _planes(segment)] = (share[..., None] * values).sum(dim=1)
        shaped = sinogram.reshape(views, bins, -1, planes).permute(1, 0, 3, 2)
        return shaped[..., 0] if self._timing is None else shaped

    def adjoint(self, sinogram: Tensor) -> Tensor:
        """Back-project a sinogram to an image: the exact transpose."""
        _check(sinogram, self._sinogram_shape)
        slices = self._image_shape[2]
        bins, views, planes = self._sinogram_shape[:3]
        data = sinogram.reshape(bins, views, planes, -1).permute(1, 0, 3, 2).reshape(views * bins, -1, planes)
        image = sinogram.new_zeros(self._image_shape[0] * self._image_shape[1], slices)
        for piece, lines in self._lines.pieces(self._grid.steps * slices):
            samples = self._grid.samples(lines)
            blended = sinogram.new_zeros(*samples.along.shape, slices)
            each = torch.arange(samples.along.numel(), device=image.device).reshape(samples.along.shape)
            for segment in self._segments:
                run = self._run(segment, lines, samples)
                measured = data[piece, :, _planes(segment)]
                spread = measured.new_zeros(*measured.shape[:2], (segment.planes - 1) * segment.stride + 1)
                spread[..., :: segment.stride] = measured
                if self._timing is None:
                    rows, at = spread[:, 0], torch.arange(len(measured), device=image.device)[:, None]
                else:
                    weighed = spread.new_zeros(*each.shape, spread.shape[2])
                    for tof_bin, share in enumerate(self._shares(samples, run)):
                        weighed += share[..., None] * spread[:, None, tof_bin]
                    rows, at = weighed.reshape(each.numel(), -1), each
                for side, weight in enumerate((run.low, run.high)):
                    reach = run.reach + segment.first_slice + 1
                    blended += weight[..., None] * _runs(rows, at, -run.slice - side, slices, 1, reach)
            image.index_add_(0, samples.pixel.reshape(-1), (samples.weight[..., None] * blended[:, :, None]).reshape(-1, slices))
        return image.reshape(self._image_shape)

    def _run(self, segment: Segment, lines: Lines, samples: Samples) -> "_Run":
        half_mm = segment.difference_mm / 2
        rise = samples.along * (half_mm / self._slice_mm / lines.chord)[:, None]
        secant = torch.sqrt(1.0 + (half_mm / self._grid.edge_mm / lines.chord) ** 2)[:, None]
        shift = torch.floor(rise)
        high = (rise - shift) * secant
        reach = int(np.ceil(abs(half_mm) / self._slice_mm)) + 1
        return _Run(shift.long() + segment.first_slice, (secant - high).float(), high.float(), secant, reach)

    def _shares(self, samples: Samples, run: "_Run") -> Iterator[Tensor]:
        """What each TOF bin gets of a sample; all of it without TOF."""
        if self._timing is None:
            yield torch.ones_like(run.low)
            return
        for tof_bin in range(self._timing.bins):
            yield self._timing.share(samples.along * run.secant, *self._timing.edges[tof_bin : tof_bin + 2])


class DeviceListModeProjector:
    """Single lines, TOF or not: four voxels a sample, gathered, and scattered by the transpose.

    Args:
        scanner: The geometry.
        geometry: `direct` or `oblique`, which says what planes are counted.
        bins: Radial bin, view and plane of every event, each of shape (events,).
        tof_bin: TOF bin of every event; None for a projection without TOF.
        device: Where tensors will be.
    """

    def __init__(
        self,
        scanner: Scanner,
        geometry: str,
        bins: tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.integer]],
        tof_bin: NDArray[np.integer] | None,
        device: torch.device,
    ) -> None:
        planes, (radial, view, plane) = planes_of(scanner, geometry), bins
        self._image_shape, self._events = scanner.image_shape, radial.shape
        self._grid = Grid.of(scanner, device)
        self._timing = None if tof_bin is None else Timing.of(scanner, device)
        edge_mm, slice_mm = scanner.voxel_mm[0], scanner.voxel_mm[2]
        angle, chord_mm = view_angles(scanner)[view], half_chords(scanner)[radial]
        half_mm = planes.difference_mm[plane] / 2
        columns = (
            radial_positions(scanner)[radial] / edge_mm,
            np.cos(angle),
            np.sin(angle),
            chord_mm / edge_mm,
            planes.middle_mm[plane] / slice_mm + (scanner.planes - 1) / 2,
            half_mm / slice_mm / (chord_mm / edge_mm),
            np.sqrt(1.0 + (half_mm / chord_mm) ** 2),
            np.zeros(angle.size, dtype=np.int64) if tof_bin is None else tof_bin.astype(np.int64),
        )
        self._lines = Events(*(torch.from_numpy(column).to(device) for column in columns))

    def __call__(self, image: Tensor) -> Tensor:
        """Line integrals of an image (x, y, z), shape (events,)."""
        _check(image, self._image_shape)
        voxels = image.reshape(-1)
        integrals = image.new_empty(self._events)
        for piece, lines in self._lines.pieces(4 * self._grid.steps):
            voxel, weight = self._taps(lines)
            integrals[piece] = (weight * voxels[voxel]).sum(dim=(1, 2, 3))
        return integrals

    def adjoint(self, data: Tensor) -> Tensor:
        """Back-project one value an event to an image (x, y, z): the exact transpose."""
        _check(data, self._events)
        image = data.new_zeros(self._image_shape).reshape(-1)
        for piece, lines in self._lines.pieces(4 * self._grid.steps):
            voxel, weight = self._taps(lines)
            image.index_add_(0, voxel.reshape(-1), (weight * data[piece, None, None, None]).reshape(-1))
        return image.reshape(self._image_shape)

    def _taps(self, lines: Events) -> tuple[Tensor, Tensor]:
        """Voxels and weights of every sample, shape (lines, samples, 2 pixels, 2 slices)."""
        samples = self._grid.samples(lines)
        slices = self._image_shape[2]
        height = lines.middle[:, None] + lines.slope[:, None] * samples.along
        axial = torch.floor(height)[..., None] + torch.arange(2, device=height.device)
        axial_weight = (1.0 - (height[..., None] - axial).abs()) * lines.secant[:, None, None]
        axial_weight = torch.where((axial >= 0) & (axial < slices), axial_weight, 0.0).float()
        if self._timing is not None:
            lower, upper = self._timing.edges[lines.tof_bin, None], self._timing.edges[lines.tof_bin + 1, None]
            axial_weight *= self._timing.share(samples.along * lines.secant[:, None], lower, upper)[..., None]
        voxel = samples.pixel[..., None] * slices + axial.clamp(0, slices - 1).long()[:, :, None]
        return voxel, samples.weight[..., None] * axial_weight[:, :, None]


@dataclass(frozen=True, eq=False)
class _Run:
    """First slice of a segment's planes at every sample, the weights of it and of the slice above, and bounds of the shift."""

    slice: Tensor
    low: Tensor
    high: Tensor
    secant: Tensor
    reach: int


def _runs(rows: Tensor, row: Tensor, first: Tensor, count: int, stride: int, reach: int) -> Tensor:
    """Values rows[row, first + stride * n] for n < count, zero beyond a row's ends, which no run passes by more than `reach`.

    Shape: that of `first` (and `row`, which broadcasts against it) and `count`.
    """
    padded = functional.pad(rows, (reach, reach))
    runs: Tensor = padded.unfold(1, (count - 1) * stride + 1, 1)[:, :, ::stride][row, first + reach]
    return runs


def _planes(segment: Segment) -> slice:
    return slice(segment.first_plane, segment.first_plane + segment.planes)


def _joseph_matrix(scanner: Scanner, views: NDArray[np.int64]) -> sparse.csr_matrix:
    """Weights in cm of the in-plane lines, shape (views * radial bins, x * y), rows in the order of the sinogram's memory."""
    grid = Grid.of(scanner, torch.device("cpu"))
    radial = torch.from_numpy(radial_positions(scanner) / scanner.voxel_mm[0])
    blocks = []
    for angle in view_angles(scanner)[views]:
        cosine, sine = torch.full_like(radial, np.cos(angle)), torch.full_like(radial, np.sin(angle))
        samples = grid.samples(Lines(radial, cosine, sine, radial))
        line, step, side = torch.nonzero(samples.weight, as_tuple=True)
        entries = (samples.weight[line, step, side].numpy(), (line.numpy(), samples.pixel[line, step, side].numpy()))
        blocks.append(sparse.csr_matrix(entries, shape=(radial.numel(), grid.size_x * grid.size_y)))
    return sparse.vstack(blocks, format="csr")


def _sparse(matrix: sparse.csr_matrix, device: torch.device) -> Tensor:
    matrix.sort_indices()
    rows, columns, weights = (torch.from_numpy(part).to(device) for part in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(rows, columns, weights, tuple(matrix.shape), check_invariants=True)


def _check(tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(f"expected a tensor of shape {tuple(shape)}, got {tuple(tensor.shape)}")

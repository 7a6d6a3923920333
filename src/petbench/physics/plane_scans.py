"""Scans plane by plane, as methods that reconstruct take them: counts with their model, on a subject's working grid and in its scale."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from petbench.errors import InputError
from petbench.files import open_array, read_json
from petbench.physics.operators import ForwardModel, GaussianBlur, Operator, subset_of
from petbench.physics.projector import DirectProjector
from petbench.physics.reconstruction import LEAST_TRUES, em_step, subset_order
from petbench.physics.scanner import Scanner

PARTS = ("counts", "background", "factors")


@dataclass(frozen=True, eq=False)
class PlaneScans:
    """Direct planes: a batch that a method takes beside windows' images, each window a slice with its scan by itself, or a stack of them.

    A slice x, scaled as its low dose is, has the expected counts `factors * P G x + background`, with P the line integrals of one plane
    and G the resolution in the plane; what blurs across planes is left out. In a stack, G blurs across its planes, too.

    Attributes:
        data: `PARTS`, (B, 3, views, radial bins), of stacks (B, planes, 3, views, radial bins): counts, expected randoms and scatter with
            what lies beside the working grid, and what multiplies line integrals: attenuation factors times counts per unit of the scaled
            image and cm.
        scanner: The geometry of one plane on the working grid.
        psf_mm: Resolution that is modelled, the full width at half maximum; 0 for none.
    """

    data: Tensor
    scanner: Scanner
    psf_mm: float

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, some: slice | Tensor) -> Self:
        return replace(self, data=self.data[some])

    def __rmul__(self, factor: float) -> Self:
        """Scans of so many times the activity: as many times the counts and the background."""
        return replace(self, data=torch.cat([factor * self.data[..., :2, :, :], self.data[..., 2:, :, :]], dim=-3))

    def to(self, device: Any, non_blocking: bool = False) -> Self:
        """The same on a torch device."""
        return replace(self, data=self.data.to(device, non_blocking=non_blocking))

    def chunk(self, parts: int) -> list[Self]:
        """As many parts of the batch, as `Tensor.chunk` cuts it."""
        return [replace(self, data=data) for data in self.data.chunk(parts)]

    @classmethod
    def cat(cls, scans: Sequence["PlaneScans"]) -> "PlaneScans":
        """Scans of one geometry as one batch."""
        return replace(scans[0], data=torch.cat([one.data for one in scans]))

    def subsets(self, count: int) -> list["PlaneSubset"]:
        """Ordered subsets of interleaved views of slices, in the order in which they are visited (see `subset_order`).

        Raises:
            InputError: there are more subsets than views.
        """
        if count > self.scanner.views:
            raise InputError(f"train/subsets: {count} subsets exceed the scanner's {self.scanner.views} views; lower it.")
        planes = len(self)
        # The batch takes the place of the axial axis: all planes share the weights of their lines.
        geometry = replace(self.scanner, planes=planes, image_shape=(*self.scanner.image_shape[:2], planes))
        projectors = _projectors(geometry, count, torch.get_num_threads())
        blur = () if self.psf_mm == 0 else (_in_plane(self.psf_mm, geometry, torch.get_num_threads()),)
        counts, background, factors = self.data.permute(1, 2, 3, 0).contiguous().transpose(1, 2).unbind()
        made = []
        for index in subset_order(count):
            part = (subset_of(sinogram, index, count) for sinogram in (counts, background, factors))
            own, beyond, weights = part
            model = ForwardModel(projectors[index], weights, image_operators=blur, background=beyond, device=self.data.device)
            made.append(PlaneSubset(model, own, model.sensitivity()))
        return made

    def stacks(self) -> Iterator[tuple[ForwardModel, Any]]:
        """Forward model and counts (radial bins, views, planes) of each window by itself: NumPy arrays on a CPU, else tensors."""
        blur = () if self.psf_mm == 0 else (GaussianBlur(self.psf_mm, self.scanner.voxel_mm, torch.get_num_threads()),)
        on_cpu = self.data.device.type == "cpu"
        for planes in self.data if self.data.ndim == 5 else self.data[:, None]:
            geometry = replace(self.scanner, planes=len(planes), image_shape=(*self.scanner.image_shape[:2], len(planes)))
            parts = planes.permute(1, 3, 2, 0).contiguous()
            counts, background, factors = parts.numpy() if on_cpu else parts
            projector = DirectProjector(geometry, threads=torch.get_num_threads())
            device = None if on_cpu else self.data.device
            yield ForwardModel(projector, factors, image_operators=blur, background=background, device=device), counts


@dataclass(frozen=True, eq=False)
class PlaneSubset:
    """One subset of a batch of planes.

    Attributes:
        model: Its forward model; images are (x, y, B), sinograms (radial bins, views, B).
        counts: What was counted.
        sensitivity: Expected counts of each voxel, (x, y, B).
    """

    model: ForwardModel
    counts: Tensor
    sensitivity: Tensor

    def step(self, image: Tensor) -> Tensor:
        """One step of expectation maximisation on an image (x, y, B), through which gradients flow."""
        updated: Tensor = em_step(self.model, self.counts, self.sensitivity, image)
        return updated


def start(subsets: Sequence[PlaneSubset]) -> Tensor:
    """The uniform images that have as many trues as each plane counted, (x, y, B), zero where nothing is seen."""
    seen = torch.stack([subset.sensitivity for subset in subsets]).sum(0)
    prompts = torch.stack([subset.counts.sum((0, 1)) for subset in subsets]).sum(0)
    background = torch.stack([subset.model.background.sum((0, 1)) for subset in subsets]).sum(0)
    trues = torch.maximum(prompts - background, LEAST_TRUES * prompts)
    return (seen > 0) * (trues / seen.sum((0, 1)).clamp(min=1e-30))


@lru_cache(maxsize=4)
def _projectors(scanner: Scanner, subsets: int, threads: int) -> tuple[DirectProjector, ...]:
    """The projector of each subset, kept: on a GPU each holds its lines as a matrix."""
    whole = DirectProjector(scanner, threads=threads)
    return tuple(whole.subset(index, subsets) for index in range(subsets))


@lru_cache(maxsize=4)
def _in_plane(psf_mm: float, scanner: Scanner, threads: int) -> Operator:
    edge = scanner.voxel_mm[0]
    return GaussianBlur(psf_mm, (edge, edge, np.inf), threads)


@dataclass(frozen=True)
class ScanFile:
    """The planes of one subject's scan, memory-mapped.

    Attributes:
        data: As in `PlaneScans`, (planes, 3, views, radial bins).
        scanner: As there.
        psf_mm: As there.
    """

    data: NDArray[np.float32]
    scanner: Scanner
    psf_mm: float

    def windows(self, first: Sequence[int] | NDArray[np.integer], depth: int) -> PlaneScans:
        """The scans of windows of so many planes, by the first slice of the working grid that each is of; slices where it is one."""
        numbers = np.asarray(first)
        numbers = numbers if depth == 1 else numbers[:, None] + np.arange(depth)
        return PlaneScans(torch.from_numpy(self.data[numbers]), self.scanner, self.psf_mm)


def open_scan(path: str | Path) -> ScanFile:
    """Open what `petbench.physics.plane_files` wrote, by its parameters (`acquisition.json`)."""
    content = read_json(path)
    scanner = of_plane(Scanner.from_entry(content["scanner"]), content["shape"])
    return ScanFile(open_array(Path(path).with_suffix(".npy")), scanner, float(content["psf_mm"]))


def of_plane(scanner: Scanner, shape: Sequence[int]) -> Scanner:
    """The geometry of one direct plane whose slice has some other shape, about the same axis."""
    return replace(scanner, planes=1, image_shape=(shape[0], shape[1], 1), rings=None, max_ring_difference=None, span=None, tof=None)

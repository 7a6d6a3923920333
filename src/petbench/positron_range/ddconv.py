"""DDConv: positron range as one predicted kernel a voxel, predicted once a subject (Mellak et al., DDConv, section II-B and appendix).

The forward operator scatters from the source voxel's kernel and the transpose gathers with the same one, so the pair is exact, edges
included. Voxels whose positrons stay in one material share its kernel, applied by convolution (equations 16 and 19; in 19 read z for x).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.linear import LinearOperator
from petbench.positron_range.convolution import Convolution, unrounded
from petbench.positron_range.homogeneity import NO_MATERIAL, WATER, even_windows, homogeneous_labels, medium_of, shares
from petbench.positron_range.kernel_files import identity_of, read_kernels, write_kernels
from petbench.positron_range.material_kernels import MaterialKernels
from petbench.positron_range.stored_kernels import (
    Block,
    check_storage,
    gather_blocks,
    in_parts,
    make_blocks,
    merged,
    padded_indices,
    scatter_blocks,
    window_offsets,
)

if TYPE_CHECKING:
    from torch import Tensor

    from petbench.positron_range.predictor import Predictor

Array = NDArray[np.float32]
Indices = NDArray[np.int64]

CHOICES = {"edges": ("water", "replicate"), "homogeneous_by": ("annihilations", "window"), "shared": ("simulated", "predicted")}
# One point of the two transforms of a convolution takes about as long as this many additions of a stored kernel.
ADDITIONS_PER_POINT = 25
# Kernels predicted at a time: on a CPU their features should stay in the cache, a GPU wants work.
BATCH = {"cpu": 64, "cuda": 4096}


@dataclass(frozen=True)
class DDConvSettings:
    """How kernels are predicted, shared and kept.

    Attributes:
        materials: `nearest`, voxels are what material is nearest; `continuous`, the attenuation as it is.
        nearest: Nearest in `ratio`, or in `difference` as in the authors' code.
        air: The material that air counts as, `water`, or `lung` as in the authors' code.
        edges: What lies beyond the image: `water`, in which positrons are lost; or, as in the authors' code, `replicate`, the outermost
            voxels once more, which keep what would annihilate beyond them.
        homogeneous_by: Where a medium is homogeneous: by the share of `annihilations` in other materials, or of the voxels of its `window`
            as in the authors' code.
        heterogeneous_above: Share of those from which a voxel has a kernel of its own.
        shared: Kernels of homogeneous media: `simulated` by Monte Carlo (the paper), or `predicted` as in the authors' code.
        crop: Share of a kernel that may be cut off to make it smaller; the rest is scaled up by it.
        storage: `uint16` or `float32`.
        memory_mb: What stored kernels may take; the kernels beyond it are predicted anew at every application.
        batch: Kernels predicted at a time, None for what suits the device.
    """

    materials: str = "nearest"
    nearest: str = "ratio"
    air: str = WATER
    edges: str = "water"
    homogeneous_by: str = "annihilations"
    heterogeneous_above: float = 1e-3
    shared: str = "simulated"
    crop: float = 1e-4
    storage: str = "uint16"
    memory_mb: float = 8000.0
    batch: int | None = None

    def __post_init__(self) -> None:
        for key, choice in CHOICES.items():
            if getattr(self, key) not in choice:
                raise InputError(f"{key}: {getattr(self, key)!r} is unknown; choose one of {', '.join(choice)}.")


@dataclass(frozen=True, eq=False)
class Shared:
    """Voxels that share one kernel, applied by convolution of the box they lie in.

    Attributes:
        box: The part of the image, dilated by the kernel's margin.
        mask: Which of the box's voxels share the kernel.
        convolution: Of images of the box's shape.
    """

    box: tuple[slice, ...]
    mask: NDArray[np.bool_]
    convolution: Convolution


@dataclass(frozen=True, eq=False)
class Unstored:
    """Voxels whose kernels are predicted anew at every application."""

    voxels: Indices
    medium: "Tensor"
    predictor: "Predictor"
    settings: DDConvSettings

    def blocks(self) -> Iterator[Block]:
        """Their kernels, a batch at a time."""
        for part in in_parts(self.voxels, batch_size(self.predictor, self.settings)):
            yield from predicted_blocks(part, self.medium, self.predictor, self.settings)


@dataclass(frozen=True, eq=False)
class DDConv(LinearOperator):
    """B(mu): activity to annihilations, and its transpose (DDConv, equations 5, 12, 16 to 21); made by `ddconv`.

    Attributes:
        image_shape: Of the images, (x, y, z).
        margin: Half the kernels' size.
        shared: Homogeneous regions.
        blocks: Stored kernels of the other voxels.
        unstored: Voxels for whose kernels there was no memory, None for none.
        threads: Threads to run on, None for numba's own number.
        keeps: Whether what a stored kernel puts beyond the image stays in its outermost voxels; else it is lost.
    """

    image_shape: tuple[int, ...]
    margin: int
    shared: tuple[Shared, ...]
    blocks: tuple[Block, ...]
    unstored: Unstored | None
    threads: int | None
    keeps: bool = False

    @property
    def memory_mb(self) -> float:
        """What it keeps, in MB."""
        return sum(block.mb for block in self.blocks) + sum(
            (part.convolution.transfer.nbytes + part.mask.nbytes) / 1e6 for part in self.shared
        )

    def all_blocks(self) -> Iterator[Block]:
        """The stored kernels, then those predicted anew."""
        yield from self.blocks
        if self.unstored is not None:
            yield from self.unstored.blocks()

    def on_device(self, device: Any, /) -> Any:
        """See `LinearOperator`."""
        from petbench.positron_range.device_range import DeviceDDConv

        shared = [(part.box, part.mask, part.convolution) for part in self.shared]
        anew = None if self.unstored is None else self.unstored.blocks
        return DeviceDDConv(self.image_shape, self.margin, self.blocks, anew, shared, device, self.keeps)

    def _forward(self, image: NDArray[np.floating], /) -> Array:
        image = self._checked(image)
        out = scatter_blocks(image, self.all_blocks(), self.margin, self.threads, self.keeps)
        for part in self.shared:
            out[part.box] += part.convolution.forward(np.where(part.mask, image[part.box], np.float32(0)))
        return unrounded(out, image)

    def _transpose(self, image: NDArray[np.floating], /) -> Array:
        image = self._checked(image)
        out = gather_blocks(image, self.all_blocks(), self.margin, self.threads, self.keeps)
        for part in self.shared:
            np.copyto(out[part.box], part.convolution.transpose(image[part.box]), where=part.mask)
        return unrounded(out, image)

    def _checked(self, image: NDArray[np.floating]) -> Array:
        from petbench.physics.projector import check_shape

        check_shape(image, self.image_shape)
        return np.asarray(image, dtype=np.float32)


def ddconv(
    mu: NDArray[np.floating],
    predictor: "Predictor",
    settings: DDConvSettings | None = None,
    homogeneous: MaterialKernels | None = None,
    threads: int | None = None,
    predicted: str | Path | None = None,
    keep: str | Path | None = None,
) -> DDConv:
    """Predict a subject's kernels and make the operator.

    Args:
        mu: Attenuation per cm at 511 keV, (x, y, z), of the predictor's voxels.
        predictor: Of the scan's isotope.
        settings: How kernels are predicted, shared and kept.
        homogeneous: Kernels of the homogeneous materials by Monte Carlo, as in the paper; None for the predictor's own.
        threads: Threads to run on, None for numba's own number.
        predicted: A file of this subject's predicted kernels, taken in place of predicting them.
        keep: Where to write the predicted kernels, None for nowhere.

    Raises:
        InputError: the attenuation is outside the known materials, a setting is unknown, the homogeneous kernels do not fit, or the
            predicted ones are another subject's.
    """
    import torch

    settings = settings or DDConvSettings()
    check_storage(settings.storage)
    description = predictor.description
    given = np.asarray(mu, dtype=np.float32)
    medium, labels = medium_of(given, description.materials, settings.materials, settings.nearest, settings.air)
    kernels = shared_kernels(predictor, homogeneous if settings.shared == "simulated" else None)
    map_ = homogeneous_map(labels, kernels, list(description.materials), settings, threads)
    print("DDConv: voxels by kernel: " + ", ".join(f"{name} {count}" for name, count in shares(map_, description.materials).items()))

    keeps, margin = settings.edges == "replicate", description.kernel_size // 2
    # A convolution loses what it puts beyond the image.
    convolved = np.full(map_.shape, not keeps)
    convolved[(slice(margin, -margin),) * 3] = True
    shared, blocks = [], []
    for material, kernel in enumerate(kernels):
        inside = (map_ == material) & convolved
        nowhere = np.zeros(1, dtype=np.int64)
        one = make_blocks(torch.from_numpy(kernel[None]), nowhere.astype(np.int32), nowhere, "float32", settings.crop)
        alone = map_ == material
        if inside.any():
            box = box_of(inside, margin)
            if inside.sum() * one[0].roots.size >= ADDITIONS_PER_POINT * np.prod([side.stop - side.start for side in box]):
                shared.append(Shared(box, inside[box], Convolution.of(inside[box].shape, kernel, threads)))
                alone &= ~inside
        if alone.any():
            voxels = np.flatnonzero(alone)
            blocks.append(replace(one[0], voxels=voxels, which=np.zeros(voxels.size, dtype=np.int32)))

    voxels = np.flatnonzero(map_ == NO_MATERIAL)
    beyond: dict[str, Any] = {"mode": "edge"} if keeps else {"constant_values": description.materials[WATER]}
    padded = torch.from_numpy(np.pad(medium, description.kernel_size // 2, **beyond)).to(predictor.device)
    weights = [tensor.cpu().numpy() for tensor in predictor.network.state_dict().values()]
    identity = identity_of(np.where(map_ == NO_MATERIAL, medium, -medium), weights, [settings.storage, settings.crop, settings.edges])
    if predicted is None:
        kept, left = predict_within_memory(voxels, padded, predictor, settings)
    else:
        kept, left = read_kernels(predicted, identity)
    if keep is not None:
        write_kernels(keep, kept, left, identity)
    unstored = Unstored(left, padded, predictor, settings) if left.size else None
    return DDConv(medium.shape, description.kernel_size // 2, tuple(shared), tuple(blocks + kept), unstored, threads, keeps)


def homogeneous_map(
    labels: NDArray[np.int8], kernels: Array, materials: Sequence[str], settings: DDConvSettings, threads: int | None = None
) -> NDArray[np.int8]:
    """The material whose kernel each voxel shares, -1 for none; `labels` as of `medium_of`, kernels one a material."""
    above = settings.heterogeneous_above
    if settings.homogeneous_by == "window":
        return even_windows(labels, kernels.shape[-1], len(kernels), above, threads)
    outside = None if settings.edges == "replicate" else list(materials).index(WATER)
    return homogeneous_labels(labels, kernels, outside, above, threads)


def shared_kernels(predictor: "Predictor", homogeneous: MaterialKernels | None) -> Array:
    """The kernel of each of the predictor's materials, (L, K, K, K)."""
    from petbench.positron_range.material_kernels import check_kernels

    description = predictor.description
    if homogeneous is None:
        return np.stack([kernel.cpu().numpy() for kernel in predictor.homogeneous().values()])
    check_kernels(homogeneous, description.isotope, (description.voxel_mm,) * 3, list(description.materials), description.kernel_size)
    order = list(homogeneous.mu_per_cm)
    return homogeneous.kernels[[order.index(name) for name in description.materials]]


def box_of(mask: NDArray[np.bool_], margin: int) -> tuple[slice, ...]:
    """The smallest box that holds a mask, dilated by a margin within the image."""
    sides = []
    for axis, size in enumerate(mask.shape):
        held = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        sides.append(slice(max(int(held[0]) - margin, 0), min(int(held[-1]) + margin + 1, size)))
    return tuple(sides)


def batch_size(predictor: "Predictor", settings: DDConvSettings) -> int:
    """Kernels predicted at a time."""
    return BATCH[predictor.device.type] if settings.batch is None else settings.batch


def predict_within_memory(
    voxels: Indices, padded: "Tensor", predictor: "Predictor", settings: DDConvSettings
) -> tuple[list[Block], Indices]:
    """Predict and store the kernels of voxels until memory is short; the blocks, and the voxels left."""
    blocks: list[Block] = []
    done, used = 0, 0.0
    for part in in_parts(voxels, batch_size(predictor, settings)):
        new = predicted_blocks(part, padded, predictor, settings)
        used += sum(block.mb for block in new)
        if used > settings.memory_mb:
            estimate = used * voxels.size / (done + part.size)
            print(
                f"DDConv: kernels need some {estimate:.0f} MB and memory_mb is {settings.memory_mb:g}: those of {voxels.size - done} of"
                f" {voxels.size} heterogeneous voxels are predicted at every application"
            )
            break
        blocks += new
        done += part.size
    return merged(blocks), voxels[done:]


def predicted_blocks(voxels: Indices, padded: "Tensor", predictor: "Predictor", settings: DDConvSettings) -> list[Block]:
    """Predict the kernels of some voxels and store them."""
    kernels = predicted_kernels(voxels, padded, predictor)
    return make_blocks(kernels, np.arange(voxels.size, dtype=np.int32), voxels, settings.storage, settings.crop)


def predicted_kernels(voxels: Indices, padded: "Tensor", predictor: "Predictor") -> "Tensor":
    """Kernels (N, K, K, K) of voxels, on the predictor's device.

    Args:
        voxels: Indices in the flattened image.
        padded: Attenuation per cm, the image padded by half a kernel, on the predictor's device.
        predictor: Predicts them.
    """
    import torch

    size = predictor.description.kernel_size
    shape = tuple(side - size + 1 for side in padded.shape)
    centres = torch.from_numpy(padded_indices(voxels, shape, size // 2)).to(padded.device)
    window = torch.from_numpy(window_offsets(shape, size // 2, size // 2)).to(padded.device)
    return predictor.kernels(padded.view(-1)[centres[:, None] + window].view(-1, size, size, size))

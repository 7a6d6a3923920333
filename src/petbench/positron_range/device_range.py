"""Positron-range operators on torch tensors: what runs when an image lies on an accelerator."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from petbench.positron_range.convolution import Convolution
from petbench.positron_range.stored_kernels import LARGEST_CODE, Block, padded_indices, window_offsets

# Elements of stored kernels expanded at a time; each takes some 16 bytes on the way.
EXPANDED = 2**26


class DeviceConvolution:
    """A convolution by fast Fourier transform, and its transpose."""

    def __init__(self, convolution: Convolution, device: torch.device) -> None:
        self.shape, self.padded = convolution.shape, convolution.padded
        self.transfer = torch.from_numpy(convolution.transfer).to(device)

    def spectrum(self, image: Tensor) -> Tensor:
        """Transform of an image of `shape`, zero beyond it."""
        transformed: Tensor = torch.fft.rfftn(image, s=self.padded)
        return transformed

    def inverse(self, spectrum: Tensor) -> Tensor:
        """The image of a transform."""
        image: Tensor = torch.fft.irfftn(spectrum, s=self.padded)
        return image[tuple(slice(size) for size in self.shape)]

    def forward(self, image: Tensor) -> Tensor:
        """Scatter."""
        return self.inverse(self.spectrum(image) * self.transfer)

    def transpose(self, image: Tensor) -> Tensor:
        """Gather."""
        return self.inverse(self.spectrum(image) * self.transfer.conj())


def unrounded(out: Tensor, image: Tensor) -> Tensor:
    """Set to zero what a transform's rounding made negative, where image and kernels are not."""
    return out.clamp_(min=0) if bool(image.min() >= 0) else out


@dataclass(frozen=True)
class DeviceBlock:
    """A block of stored kernels on a device: see `Block`; `centres` and `offsets` are indices into the flattened padded image."""

    voxels: Tensor
    centres: Tensor
    offsets: Tensor
    which: Tensor
    roots: Tensor
    scales: Tensor

    @classmethod
    def of(cls, block: Block, shape: tuple[int, ...], margin: int, device: torch.device) -> "DeviceBlock":
        """Move a block, for images of a shape padded by a margin."""
        offsets = window_offsets(shape, block.margin, margin)
        flat = block.roots.reshape(len(block.roots), -1)
        # Not every operation takes unsigned numbers: the bits travel as signed ones.
        flat = flat.view(np.int16) if flat.dtype == np.uint16 else flat
        arrays = (block.voxels, padded_indices(block.voxels, shape, margin), offsets, block.which, flat, block.scales)
        return cls(*(torch.from_numpy(array).to(device) for array in arrays))

    def scatter(self, out: Tensor, image: Tensor) -> None:
        """Add each voxel's value times its kernel to the flattened padded image."""
        for part, targets, kernels in self._expanded():
            values = image[self.voxels[part], None] * kernels
            out.index_add_(0, targets.reshape(-1), values.reshape(-1))

    def gather(self, padded: Tensor, out: Tensor) -> None:
        """Set each voxel to the sum of the flattened padded image weighted by its kernel."""
        for part, targets, kernels in self._expanded():
            out[self.voxels[part]] = (padded[targets] * kernels).sum(dim=1)

    def _expanded(self) -> Iterator[tuple[slice, Tensor, Tensor]]:
        step = max(1, EXPANDED // self.offsets.numel())
        for start in range(0, self.voxels.numel(), step):
            part = slice(start, start + step)
            which = self.which[part].long()
            roots = self.roots[which]
            roots = roots if roots.is_floating_point() else (roots.int() & LARGEST_CODE).float()
            yield part, self.centres[part, None] + self.offsets, roots.square() * self.scales[which, None]


class DeviceDDConv:
    """DDConv; the order of a scattered sum, and so its last digits, may vary from run to run on a GPU.

    Args:
        image_shape: Of the images, (x, y, z).
        margin: By which kernels reach beyond them.
        blocks: Stored kernels.
        anew: Gives those that are predicted at every use, None where all are stored.
        shared: Box, mask and convolution of each medium of one kernel.
        device: Where tensors will be.
        keeps: As of `DDConv`.
    """

    def __init__(
        self,
        image_shape: tuple[int, ...],
        margin: int,
        blocks: Iterable[Block],
        anew: Callable[[], Iterator[Block]] | None,
        shared: Iterable[tuple[tuple[slice, ...], NDArray[np.bool_], Convolution]],
        device: torch.device,
        keeps: bool = False,
    ) -> None:
        self.image_shape, self.margin, self.anew, self.device, self.keeps = image_shape, margin, anew, device, keeps
        self.blocks = [self._moved(block) for block in blocks]
        self.shared = [(box, torch.from_numpy(mask).to(device), DeviceConvolution(own, device)) for box, mask, own in shared]

    def __call__(self, image: Tensor) -> Tensor:
        """Scatter an image (x, y, z)."""
        margin, shape = self.margin, self.image_shape
        padded = image.new_zeros([size + 2 * margin for size in shape])
        for block in self._all_blocks():
            block.scatter(padded.view(-1), image.reshape(-1))
        for lines in [padded.movedim(axis, 0) for axis in range(3)] if self.keeps and margin else []:
            lines[margin] += lines[:margin].sum(dim=0)
            lines[-margin - 1] += lines[-margin:].sum(dim=0)
        out = padded[tuple(slice(margin, margin + size) for size in shape)].contiguous()
        for box, mask, convolution in self.shared:
            out[box] += convolution.forward(image[box] * mask)
        return unrounded(out, image)

    def adjoint(self, image: Tensor) -> Tensor:
        """Gather from an image (x, y, z)."""
        mode = "replicate" if self.keeps else "constant"
        padded = torch.nn.functional.pad(image[None, None], (self.margin,) * 6, mode=mode).reshape(-1)
        out = torch.zeros_like(image).reshape(-1)
        for block in self._all_blocks():
            block.gather(padded, out)
        out = out.reshape(image.shape)
        for box, mask, convolution in self.shared:
            out[box] += convolution.transpose(image[box]) * mask
        return unrounded(out, image)

    def _all_blocks(self) -> Iterator[DeviceBlock]:
        yield from self.blocks
        if self.anew is not None:
            yield from (self._moved(block) for block in self.anew())

    def _moved(self, block: Block) -> DeviceBlock:
        return DeviceBlock.of(block, self.image_shape, self.margin, self.device)


class DeviceSVTD:
    """SVTD, of masks and convolutions a material and of weights (x, y, z)."""

    def __init__(
        self,
        masks: Sequence[NDArray[np.bool_]],
        convolutions: Sequence[Convolution],
        weights: NDArray[np.float32],
        device: torch.device,
    ) -> None:
        self.masks = [torch.from_numpy(mask).to(device) for mask in masks]
        self.convolutions = [DeviceConvolution(convolution, device) for convolution in convolutions]
        self.weights = torch.from_numpy(weights).to(device)

    def __call__(self, image: Tensor) -> Tensor:
        """Scatter an image (x, y, z)."""
        spectrum = self.convolutions[0].spectrum(image * self.weights)
        out = torch.zeros_like(image)
        for mask, convolution in zip(self.masks, self.convolutions, strict=True):
            out += convolution.inverse(spectrum * convolution.transfer) * mask
        return unrounded(out, image)

    def adjoint(self, image: Tensor) -> Tensor:
        """Gather from an image (x, y, z)."""
        pairs = zip(self.masks, self.convolutions, strict=True)
        spectra = [convolution.spectrum(image * mask) * convolution.transfer.conj() for mask, convolution in pairs]
        return unrounded(self.convolutions[0].inverse(torch.stack(spectra).sum(dim=0)) * self.weights, image)


class DeviceNoCorrection:
    """The identity."""

    def __call__(self, image: Tensor) -> Tensor:
        """A copy of the image."""
        return image.clone()

    def adjoint(self, image: Tensor) -> Tensor:
        """A copy of the image."""
        return image.clone()

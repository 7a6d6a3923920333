"""The generator of MAK-GAN: two encoders, an interaction in the PET branch at each stage, and a U-Net decoder."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.adaptive_kernel import AdaptiveKernelInteraction
from petbench.networks.blocks import Decoder, conv_block, convolution, initialise, require_divisible
from petbench.networks.multi_kernel import MultiKernelExtraction

ENCODERS = ("mke", "unet")
INTERACTIONS = ("aki", "convolution")


class ConvolutionInteraction(nn.Module):
    """The baseline's fusion: PET and MR features joined and convolved (MAK-GAN, table 2, models A and B)."""

    def __init__(self, spatial_dims: int, channels: int, kernel_size: int):
        super().__init__()
        self.fuse = convolution(spatial_dims, 2 * channels, channels, kernel_size)

    def forward(self, pet: Tensor, mr: Tensor) -> Tensor:
        """Fuse features, both (B, C, *grid), into (B, C, *grid)."""
        fused: Tensor = self.fuse(torch.cat([pet, mr], dim=1))
        return fused


class MAKGenerator(nn.Module):
    """Estimates standard-dose PET from low-dose PET and MR (MAK-GAN, figure 1).

    Each stage halves the grid by a convolution of stride 2 (the patch merging), extracts features in each modality's branch, and lets the
    MR branch influence the PET branch. The decoder joins the PET branch's features at every grid, the low-dose image itself included.

    Args:
        spatial_dims: 2 or 3.
        channels: Features of each stage, fine to coarse.
        encoder: `mke` (multi-kernel extraction) or `unet` (convolution blocks), the same in both branches.
        interaction: `aki` (adaptive kernels) or `convolution` (concatenate and convolve).
        heads: Attention heads.
        mke_ratio: Channels of the kernels 3, 5 and 7 in every multi-kernel projection.
        aki_ratio: Output channels of the intra-modal, inter-modal and static kernel.
        kernel_size: Side of the interaction's kernels (k_a).
        expansion: Hidden width of the feed-forward networks over the channels.
        decoder: Channels of the decoder's levels, coarse to fine, one a stage.
        normalisation: Of the convolution blocks: `batch`, `instance` or `none`.
        residual: Add the low-dose image to the output.

    Raises:
        InputError: a value is not one of those listed, or the widths do not fit each other.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: Sequence[int],
        encoder: str,
        interaction: str,
        heads: int,
        mke_ratio: Sequence[int],
        aki_ratio: Sequence[int],
        kernel_size: int,
        expansion: int,
        decoder: Sequence[int],
        normalisation: str,
        residual: bool,
    ):
        super().__init__()
        if encoder not in ENCODERS:
            raise InputError(f"network/encoder: {encoder!r} is unknown; choose one of {', '.join(ENCODERS)}.")
        if interaction not in INTERACTIONS:
            raise InputError(f"network/interaction: {interaction!r} is unknown; choose one of {', '.join(INTERACTIONS)}.")

        def branch() -> nn.ModuleList:
            stages = nn.ModuleList()
            for before, width in pairwise([1, *channels]):
                if encoder == "mke":
                    extract: nn.Module = MultiKernelExtraction(spatial_dims, width, heads, mke_ratio, expansion)
                else:
                    extract = conv_block(spatial_dims, width, width, normalisation)
                stages.append(nn.Sequential(convolution(spatial_dims, before, width, kernel_size=3, stride=2), extract))
            return stages

        def interact(width: int) -> nn.Module:
            if interaction == "aki":
                return AdaptiveKernelInteraction(spatial_dims, width, heads, mke_ratio, aki_ratio, kernel_size)
            return ConvolutionInteraction(spatial_dims, width, kernel_size)

        self.pet, self.mr = branch(), branch()
        self.interactions = nn.ModuleList(interact(width) for width in channels)
        skips = [*reversed(channels[:-1]), 1]
        self.decoder = Decoder(spatial_dims, channels[-1], skips, decoder, normalisation)
        self.head = convolution(spatial_dims, decoder[-1], 1, kernel_size=3)
        initialise(self.head, std=0.02)  # so that with the residual training starts near the low dose
        self.residual = residual
        self.factor = 2 ** len(channels)

    def forward(self, low_dose: Tensor, mr: Tensor) -> Tensor:
        """Restore windows of low-dose PET with MR, both (B, 1, *spatial); returns the same shape, unbounded.

        Raises:
            InputError: a side is not divisible by 2 ** stages.
        """
        require_divisible(low_dose, self.factor)
        features, guide = [low_dose], mr
        for pet_stage, mr_stage, interact in zip(self.pet, self.mr, self.interactions, strict=True):
            guide = mr_stage(guide)
            features.append(interact(pet_stage(features[-1]), guide))
        *skips, bottom = features
        restored: Tensor = self.head(self.decoder(bottom, list(reversed(skips))))
        return restored + low_dose if self.residual else restored

"""The generator of MAK-GAN: two encoders, an interaction in the PET branch at each stage, and a U-Net decoder."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.adaptive_kernel import AdaptiveKernelInteraction
from petbench.networks.blocks import Decoder, conv_block, convolution, initialise, keep_scale, require_divisible
from petbench.networks.multi_kernel import MultiKernelExtraction

ENCODERS = ("mke", "unet")
INTERACTIONS = ("aki", "convolution", "both")
IMAGE_SKIPS = ("none", "image", "features")


class ConvolutionInteraction(nn.Module):
    """The baseline's fusion: PET and MR features joined and convolved (MAK-GAN, table 2, models A and B)."""

    def __init__(self, spatial_dims: int, channels: int, kernel_size: int):
        super().__init__()
        self.fuse = convolution(spatial_dims, 2 * channels, channels, kernel_size)

    def forward(self, pet: Tensor, mr: Tensor) -> Tensor:
        """Fuse features, both (B, C, *grid), into (B, C, *grid)."""
        fused: Tensor = self.fuse(torch.cat([pet, mr], dim=1))
        return fused


class GuidedInteraction(nn.Module):
    """Ours: the baseline's fusion of PET and MR features, place by place, is added to PET's before the adaptive kernels filter both."""

    def __init__(self, fusion: ConvolutionInteraction, interaction: AdaptiveKernelInteraction):
        super().__init__()
        self.fusion, self.interaction = fusion, interaction
        self.gain = nn.Parameter(torch.tensor(0.3))  # so that PET's own features lead at the start

    def forward(self, pet: Tensor, mr: Tensor) -> Tensor:
        """Fuse and filter features, both (B, C, *grid), into (B, C, *grid)."""
        filtered: Tensor = self.interaction(pet + self.gain * self.fusion(pet, mr), mr)
        return filtered


class MAKGenerator(nn.Module):
    """Estimates standard-dose PET from low-dose PET and MR (MAK-GAN, figure 1).

    Each stage halves the grid by a convolution of stride 2 (the patch merging), extracts features in each modality's branch, and lets the
    MR branch influence the PET branch. The decoder joins the PET branch's features at every grid and, by `image_skip`, the low dose.

    Args:
        spatial_dims: 2 or 3.
        channels: Features of each stage, fine to coarse.
        encoder: `mke` (multi-kernel extraction) or `unet` (convolution blocks), the same in both branches.
        interaction: `aki` (adaptive kernels), `convolution` (concatenate and convolve) or `both` (the second, then the first).
        heads: Attention heads.
        mke_ratio: Channels of the kernels 3, 5 and 7 in every multi-kernel projection.
        aki_ratio: Output channels of the intra-modal, inter-modal and static kernel.
        aki_identity: Add the PET features to those filtered with adaptive kernels.
        kernel_size: Side of the interaction's kernels (k_a).
        prior_grid: Side of the grid that a kernel prior is averaged to, one a stage.
        prior_hidden: Width between the linear layers that make a kernel of a prior.
        prior_residual: Add the PET features to what attention makes of them, as the kernel prior.
        expansion: Hidden width of the feed-forward networks over the channels.
        decoder: Channels of the decoder's levels, coarse to fine, one a stage.
        image_skip: What joins the decoder at full resolution: `none`, the low-dose `image` itself, or `features` of it.
        image_features: Channels of those features.
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
        aki_identity: bool,
        kernel_size: int,
        prior_grid: Sequence[int],
        prior_hidden: int,
        prior_residual: bool,
        expansion: int,
        decoder: Sequence[int],
        image_skip: str,
        image_features: int,
        normalisation: str,
        residual: bool,
    ):
        super().__init__()
        for key, value, known in (
            ("encoder", encoder, ENCODERS),
            ("interaction", interaction, INTERACTIONS),
            ("image_skip", image_skip, IMAGE_SKIPS),
        ):
            if value not in known:
                raise InputError(f"network/{key}: {value!r} is unknown; choose one of {', '.join(known)}.")
        if len(prior_grid) != len(channels):
            raise InputError(f"network/prior_grid: {len(prior_grid)} grids for {len(channels)} stages; give one a stage, fine to coarse.")

        def branch() -> nn.ModuleList:
            stages = nn.ModuleList()
            for before, width in pairwise([1, *channels]):
                if encoder == "mke":
                    extract: nn.Module = MultiKernelExtraction(spatial_dims, width, heads, mke_ratio, expansion)
                else:
                    extract = keep_scale(conv_block(spatial_dims, width, width, normalisation), slope=0.1)
                stages.append(nn.Sequential(keep_scale(convolution(spatial_dims, before, width, kernel_size=3, stride=2)), extract))
            return stages

        def fuse(width: int) -> ConvolutionInteraction:
            return keep_scale(ConvolutionInteraction(spatial_dims, width, kernel_size))

        def adapt(width: int, grid: int) -> AdaptiveKernelInteraction:
            attention = (spatial_dims, width, heads, mke_ratio, aki_ratio, kernel_size)
            return AdaptiveKernelInteraction(*attention, grid, prior_hidden, prior_residual, aki_identity)

        def interact(width: int, grid: int) -> nn.Module:
            if interaction == "aki":
                return adapt(width, grid)
            return fuse(width) if interaction == "convolution" else GuidedInteraction(fuse(width), adapt(width, grid))

        self.pet, self.mr = branch(), branch()
        self.interactions = nn.ModuleList(interact(width, grid) for width, grid in zip(channels, prior_grid, strict=True))
        self.image: nn.Module | None = None
        if image_skip == "features":
            self.image = keep_scale(conv_block(spatial_dims, 1, image_features, normalisation), slope=0.1)
        elif image_skip == "image":
            self.image = nn.Identity()
        finest = {"none": 0, "image": 1, "features": image_features}[image_skip]
        self.decoder = Decoder(spatial_dims, channels[-1], [*reversed(channels[:-1]), finest], decoder, normalisation)
        keep_scale(self.decoder.ups)
        keep_scale(self.decoder.blocks, slope=0.1)
        self.head = convolution(spatial_dims, decoder[-1], 1, kernel_size=1)
        initialise(self.head, std=0.01 * decoder[-1] ** -0.5)  # so that with the residual training starts at the low dose
        self.residual = residual
        self.factor = 2 ** len(channels)

    def forward(self, low_dose: Tensor, mr: Tensor) -> Tensor:
        """Restore windows of low-dose PET with MR, both (B, 1, *spatial); returns the same shape, unbounded.

        Raises:
            InputError: a side is not divisible by 2 ** stages, or a stage's grid is coarser than its `prior_grid`.
        """
        require_divisible(low_dose, self.factor)
        finest = low_dose[:, :0] if self.image is None else self.image(low_dose)
        skips, features, guide = [finest], low_dose, mr
        for pet_stage, mr_stage, interact in zip(self.pet, self.mr, self.interactions, strict=True):
            guide = mr_stage(guide)
            features = interact(pet_stage(features), guide)
            skips.append(features)
        *skips, bottom = skips
        restored: Tensor = self.head(self.decoder(bottom, list(reversed(skips))))
        return restored + low_dose if self.residual else restored

"""Convolution kernels predicted from each sample, and the interaction block that uses them (MAK-GAN, section 2.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.multi_kernel import MultiKernelAttention, allocate


def per_sample_convolution(features: Tensor, kernels: Tensor) -> Tensor:
    """Convolve each sample with its own kernel, zero-padded to keep the grid (MAK-GAN, eq. 10).

    One grouped convolution does the whole batch: samples become groups of channels.

    Args:
        features: (B, C, *grid), two or three grid axes.
        kernels: (B, D, C, *window), odd windows.

    Returns:
        (B, D, *grid).
    """
    batch, made = kernels.shape[:2]
    convolve = {2: nn.functional.conv2d, 3: nn.functional.conv3d}[features.ndim - 2]
    padding = [side // 2 for side in kernels.shape[3:]]
    joined = convolve(features.flatten(0, 1).unsqueeze(0), kernels.flatten(0, 1), padding=padding, groups=batch)
    return joined.reshape(batch, made, *features.shape[2:])


class AdaptiveKernelPredictor(nn.Module):
    """Predicts a convolution kernel from a kernel-prior feature (MAK-GAN, eq. 6 and 8).

    The prior is averaged to one vector a tap of the kernel; one perceptron shared by the taps (C to C/4 to out x C) maps each to that
    tap's weights. Neighbouring taps get much the same vector and add up, channels do not: weights are divided by the number of taps and by
    the square root of C, so that features keep their scale through the convolution.

    Args:
        spatial_dims: 2 or 3.
        channels: Channels C of the prior and of the features to be convolved.
        out_channels: Channels the kernel makes.
        kernel_size: Side of the kernel, odd.
    """

    def __init__(self, spatial_dims: int, channels: int, out_channels: int, kernel_size: int):
        super().__init__()
        self.shape = (out_channels, channels, *(kernel_size,) * spatial_dims)
        self.pool = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[spatial_dims](kernel_size)
        self.norm = nn.LayerNorm(channels)
        hidden = max(channels // 4, 1)
        self.hidden = nn.Linear(channels, hidden)
        self.weights = nn.Linear(hidden, out_channels * channels)
        self.scale = channels**-0.5 / kernel_size**spatial_dims
        self.initialise_own()

    def initialise_own(self) -> None:
        """Start with weights of about unit variance before scaling: those of a network-wide small normal start would all but vanish."""
        nn.init.kaiming_normal_(self.hidden.weight, nonlinearity="relu")
        nn.init.kaiming_normal_(self.weights.weight, nonlinearity="linear")
        nn.init.zeros_(self.hidden.bias)
        nn.init.zeros_(self.weights.bias)

    def forward(self, prior: Tensor) -> Tensor:
        """Kernels (B, out_channels, C, *kernel) from priors (B, C, *grid)."""
        taps = self.pool(prior).flatten(2).transpose(1, 2)
        weights: Tensor = self.weights(nn.functional.gelu(self.hidden(self.norm(taps))))
        kernels: Tensor = weights.transpose(1, 2).reshape(-1, *self.shape) * self.scale
        return kernels


class AdaptiveKernelInteraction(nn.Module):
    """The AKI block: filters PET features with kernels made from PET, from PET and MR, and from neither (MAK-GAN, section 2.2).

    Args:
        spatial_dims: 2 or 3.
        channels: Channels in and out.
        heads: Attention heads.
        projection_ratio: Channels of the projections' kernels 3, 5 and 7.
        kernel_ratio: Output channels of the intra-modal, the inter-modal and the static kernel; 0 leaves one out.
        kernel_size: Side of the kernels (k_a), odd.

    Raises:
        InputError: the kernel size is even.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        heads: int,
        projection_ratio: Sequence[int],
        kernel_ratio: Sequence[int],
        kernel_size: int,
    ):
        super().__init__()
        if kernel_size % 2 == 0:
            raise InputError(f"network/kernel_size: {kernel_size} is even and would shift the image; use an odd one.")
        intra, inter, static = allocate(channels, kernel_ratio)
        attention = (spatial_dims, channels, heads, projection_ratio)
        self.intra_attention = MultiKernelAttention(*attention) if intra else None
        self.intra_kernel = AdaptiveKernelPredictor(spatial_dims, channels, intra, kernel_size) if intra else None
        self.inter_attention = MultiKernelAttention(*attention) if inter else None
        self.inter_kernel = AdaptiveKernelPredictor(spatial_dims, channels, inter, kernel_size) if inter else None
        self.static_kernel = nn.Parameter(torch.empty(static, channels, *(kernel_size,) * spatial_dims)) if static else None
        if self.static_kernel is not None:
            nn.init.normal_(self.static_kernel, std=self.static_kernel[0].numel() ** -0.5)

    def forward(self, pet: Tensor, mr: Tensor) -> Tensor:
        """Filter `pet` with the help of `mr`, both (B, C, *grid); returns (B, C, *grid)."""
        kernels = []
        if self.intra_attention is not None and self.intra_kernel is not None:
            kernels.append(self.intra_kernel(self.intra_attention(pet, pet)))
        if self.inter_attention is not None and self.inter_kernel is not None:
            kernels.append(self.inter_kernel(self.inter_attention(pet, mr)))
        if self.static_kernel is not None:
            kernels.append(self.static_kernel.expand(len(pet), *self.static_kernel.shape))
        return per_sample_convolution(pet, torch.cat(kernels, dim=1))

"""Convolution kernels predicted from each sample, and the interaction block that uses them (MAK-GAN, section 2.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.multi_kernel import MultiKernelAttention, allocate, joint_norm


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
    """Predicts a convolution kernel from a kernel-prior feature (MAK-GAN, eq. 6 and 8: "multiple linear layers and a reshape").

    The prior is averaged to a fixed grid and normalised over channels and positions together. Linear layers follow: over the positions,
    over the channels, so that a channel's kernel is not a function of that channel alone and in step with it, and one with a row of weights
    for every tap and output channel. So taps differ and where a thing stands counts. Weights are divided by the square root of what a
    kernel sums over, so that features keep their scale through the convolution.

    Args:
        spatial_dims: 2 or 3.
        channels: Channels C of the prior and of the features to be convolved.
        out_channels: Channels the kernel makes.
        kernel_size: Side of the kernel, odd.
        prior_grid: Side of the grid that the prior is averaged to.
        hidden: Width between the two linear layers.
    """

    def __init__(self, spatial_dims: int, channels: int, out_channels: int, kernel_size: int, prior_grid: int, hidden: int):
        super().__init__()
        self.shape = (out_channels, channels, *(kernel_size,) * spatial_dims)
        self.prior_grid = prior_grid
        taps = kernel_size**spatial_dims
        self.pool = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[spatial_dims](prior_grid)
        self.norm = joint_norm(channels)
        self.hidden = nn.Linear(prior_grid**spatial_dims, hidden, bias=False)
        self.mix = nn.Linear(channels, channels, bias=False)
        self.weights = nn.Linear(hidden, out_channels * taps, bias=False)
        self.offset = nn.Parameter(torch.zeros(self.shape))  # the bias of the last layer, one for every weight of the kernel
        # Unit weights over the root of what is summed: positions, and patches, hold much the same, so that an optimiser's steps on weights
        # scaled for as many inputs would move all of them together, and kernels far and alike for all patches.
        self.scales = (prior_grid**spatial_dims * channels) ** -0.5, hidden**-0.5, (channels * taps) ** -0.5
        nn.init.normal_(self.hidden.weight, std=2**0.5)
        nn.init.normal_(self.mix.weight)
        nn.init.normal_(self.weights.weight)

    def forward(self, prior: Tensor) -> Tensor:
        """Kernels (B, out_channels, C, *kernel) from priors (B, C, *grid).

        Raises:
            InputError: a side of the grid is smaller than `prior_grid`.
        """
        if min(prior.shape[2:]) < self.prior_grid:
            sides = "x".join(map(str, prior.shape[2:]))
            raise InputError(f"network/prior_grid: {self.prior_grid} is finer than a stage's {sides}; take at most its smallest side.")
        first, second, last = self.scales
        channels = self.norm(self.pool(prior)).flatten(2) * first
        mixed = self.mix(self.hidden(channels).transpose(1, 2)).transpose(1, 2)
        weights: Tensor = self.weights(nn.functional.gelu(mixed) * second)
        by_output = weights.reshape(*weights.shape[:2], self.shape[0], -1).transpose(1, 2)
        kernels: Tensor = (by_output.reshape(-1, *self.shape) + self.offset) * last
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
        prior_grid: Side of the grid that a kernel prior is averaged to.
        prior_hidden: Width between the linear layers that make a kernel of a prior.
        prior_residual: Add the PET features to what attention makes of them, as the prior.
        identity: Add the PET features to the filtered ones.

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
        prior_grid: int,
        prior_hidden: int,
        prior_residual: bool,
        identity: bool,
    ):
        super().__init__()
        if kernel_size % 2 == 0:
            raise InputError(f"network/kernel_size: {kernel_size} is even and would shift the image; use an odd one.")
        intra, inter, static = allocate(channels, kernel_ratio)

        def attention() -> MultiKernelAttention:
            return MultiKernelAttention(spatial_dims, channels, heads, projection_ratio)

        def predictor(made: int) -> AdaptiveKernelPredictor:
            return AdaptiveKernelPredictor(spatial_dims, channels, made, kernel_size, prior_grid, prior_hidden)

        self.intra_attention = attention() if intra else None
        self.intra_kernel = predictor(intra) if intra else None
        self.inter_attention = attention() if inter else None
        self.inter_kernel = predictor(inter) if inter else None
        self.static_kernel = nn.Parameter(torch.empty(static, channels, *(kernel_size,) * spatial_dims)) if static else None
        if self.static_kernel is not None:
            nn.init.normal_(self.static_kernel, std=self.static_kernel[0].numel() ** -0.5)
        self.prior_residual = prior_residual
        # What is added starts small, as a residual branch's last layer does, channel by channel (Touvron et al. 2021).
        self.gain = nn.Parameter(torch.full((channels, *(1,) * spatial_dims), 0.1)) if identity else None

    def kernels(self, pet: Tensor, mr: Tensor) -> Tensor:
        """The multi-level kernel (B, C, C, *kernel) of features (B, C, *grid) (MAK-GAN, eq. 9)."""
        kernels = []
        for attend, predict, source in ((self.intra_attention, self.intra_kernel, pet), (self.inter_attention, self.inter_kernel, mr)):
            if attend is not None and predict is not None:
                prior = attend(pet, source)
                kernels.append(predict(pet + prior if self.prior_residual else prior))
        if self.static_kernel is not None:
            kernels.append(self.static_kernel.expand(len(pet), *self.static_kernel.shape))
        return torch.cat(kernels, dim=1)

    def forward(self, pet: Tensor, mr: Tensor) -> Tensor:
        """Filter `pet` with the help of `mr`, both (B, C, *grid); returns (B, C, *grid)."""
        filtered = per_sample_convolution(pet, self.kernels(pet, mr))
        return filtered if self.gain is None else pet + self.gain * filtered

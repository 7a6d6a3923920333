"""Building blocks that several networks share, in two or three dimensions."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

from petbench.errors import InputError

Network = TypeVar("Network", bound=nn.Module)
CONVOLUTION: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
UP_CONVOLUTION: dict[int, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORMALISATIONS: dict[str, dict[int, type[nn.Module]]] = {
    "batch": {2: nn.BatchNorm2d, 3: nn.BatchNorm3d},
    "instance": {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d},
    "none": {2: nn.Identity, 3: nn.Identity},
}


def normalisation_layer(normalisation: str, spatial_dims: int, channels: int) -> nn.Module:
    """A normalisation layer for features of `channels` channels.

    Raises:
        InputError: the normalisation is not one of `NORMALISATIONS`.
    """
    if normalisation not in NORMALISATIONS:
        raise InputError(f"network/normalisation: {normalisation!r} is unknown; choose one of {', '.join(NORMALISATIONS)}.")
    return NORMALISATIONS[normalisation][spatial_dims](channels)


def convolution(spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1) -> nn.Module:
    """A plain convolution, padded so that an odd kernel at stride 1 keeps the grid and at stride 2 halves an even one."""
    return CONVOLUTION[spatial_dims](in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, groups=groups)


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Operations under it compute in the floats that they are given, whatever the autocast around it."""
    kind = device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()


def conv_block(spatial_dims: int, in_channels: int, out_channels: int, normalisation: str) -> nn.Module:
    """Two 3-wide convolutions, each with normalisation and LeakyReLU .1: the convolution block of a U-Net."""
    layers: list[nn.Module] = []
    for channels in (in_channels, out_channels):
        layers.append(convolution(spatial_dims, channels, out_channels, kernel_size=3))
        layers.append(normalisation_layer(normalisation, spatial_dims, out_channels))
        layers.append(nn.LeakyReLU(0.1, inplace=True))
    return nn.Sequential(*layers)


class ChannelNorm(nn.Module):
    """Layer normalisation of each voxel over its channels, for features (B, C, *grid)."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, features: Tensor) -> Tensor:
        """Normalise features (B, C, *grid)."""
        normalised: Tensor = self.norm(features.movedim(1, -1))
        return normalised.movedim(-1, 1)


class Decoder(nn.Module):
    """The expanding path of a U-Net: at each level up-convolve by two, join the skip, apply a convolution block.

    Args:
        spatial_dims: 2 or 3.
        bottom: Channels of the coarsest features.
        skips: Channels of each level's skip, coarse to fine.
        widths: Channels that each level puts out, coarse to fine.
        normalisation: One of `NORMALISATIONS`.
    """

    def __init__(self, spatial_dims: int, bottom: int, skips: Sequence[int], widths: Sequence[int], normalisation: str):
        super().__init__()
        if len(skips) != len(widths):
            raise InputError(f"network/decoder: {len(widths)} decoder widths for {len(skips)} levels; give one a level, coarse to fine.")
        up_convolution = UP_CONVOLUTION[spatial_dims]
        below = [bottom, *widths[:-1]]
        self.ups = nn.ModuleList(up_convolution(b, w, 2, stride=2) for b, w in zip(below, widths, strict=True))
        self.blocks = nn.ModuleList(
            conv_block(spatial_dims, width + skip, width, normalisation) for width, skip in zip(widths, skips, strict=True)
        )

    def forward(self, bottom: Tensor, skips: Sequence[Tensor]) -> Tensor:
        """Decode `bottom` (B, C, *grid) with `skips`, coarse to fine, each on a grid twice the last."""
        features = bottom
        for up, block, skip in zip(self.ups, self.blocks, skips, strict=True):
            features = block(torch.cat([up(features), skip], dim=1))
        return features


def require_divisible(images: Tensor, factor: int) -> None:
    """Check that every side of a batch (B, C, *spatial) is a multiple of `factor`.

    Raises:
        InputError: a side is not.
    """
    sides = images.shape[2:]
    if any(side % factor for side in sides):
        size = "x".join(map(str, sides))
        raise InputError(f"window: {size} cannot be halved as often as the network asks; make every side a multiple of {factor}.")


def initialise(network: nn.Module, std: float | None) -> None:
    """Draw the weights of convolutions and linear layers from N(0, std) and zero their biases; None keeps PyTorch's scaled ones.

    Sub-modules that define `initialise_own` keep their own start: their scale is part of their definition.
    """
    if std is None:
        return
    for module in network.modules():
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
            nn.init.normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for module in network.modules():
        own: Callable[[], None] | None = getattr(module, "initialise_own", None)
        if own is not None:
            own()


def keep_scale(network: Network, slope: float = 1.0) -> Network:
    """Start convolutions so that features keep their mean square (He et al. 2015), and biases at 0; returns the network.

    Args:
        network: Its convolutions are drawn anew.
        slope: Of the leaky rectifier behind each; 1 where there is none.
    """
    for module in network.modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            # What a transposed convolution makes of one voxel lies on as many as its kernel is large, so each sees this many on average.
            kernel, stride = math.prod(module.kernel_size), math.prod(module.stride) if module.transposed else 1
            inputs = module.in_channels // module.groups * kernel / stride
            nn.init.normal_(module.weight, std=(2 / (1 + slope**2) / inputs) ** 0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    return network

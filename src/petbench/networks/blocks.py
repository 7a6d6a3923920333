"""Building blocks that several networks share, in two or three dimensions."""

from collections.abc import Callable, Sequence
from typing import cast

import torch
from monai.networks.layers.factories import Conv
from monai.networks.nets.basic_unet import TwoConv
from torch import Tensor, nn

from petbench.errors import InputError

NORMALISATIONS = ("batch", "instance", "none")


def norm_name(normalisation: str) -> str | None:
    """MONAI's name of a normalisation layer, None for `none`.

    Raises:
        InputError: the normalisation is not one of `NORMALISATIONS`.
    """
    if normalisation not in NORMALISATIONS:
        raise InputError(f"normalisation: {normalisation!r} is unknown; choose one of {', '.join(NORMALISATIONS)}.")
    return None if normalisation == "none" else normalisation


def convolution(spatial_dims: int, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1) -> nn.Module:
    """A plain convolution, padded so that an odd kernel at stride 1 keeps the grid and at stride 2 halves an even one."""
    layer = Conv[Conv.CONV, spatial_dims]
    return cast(nn.Module, layer(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, groups=groups))


def conv_block(spatial_dims: int, in_channels: int, out_channels: int, normalisation: str) -> nn.Module:
    """Two 3-wide convolutions, each with normalisation and LeakyReLU .1: the convolution block of a U-Net."""
    act = ("LeakyReLU", {"negative_slope": 0.1, "inplace": True})
    return cast(nn.Module, TwoConv(spatial_dims, in_channels, out_channels, act=act, norm=norm_name(normalisation), bias=True))


class Decoder(nn.Module):
    """The expanding path of a U-Net: at each level up-convolve by two, join the skip, apply a convolution block.

    Args:
        spatial_dims: 2 or 3.
        bottom: channels of the coarsest features.
        skips: channels of each level's skip, coarse to fine.
        widths: channels that each level puts out, coarse to fine.
        normalisation: one of `NORMALISATIONS`.
    """

    def __init__(self, spatial_dims: int, bottom: int, skips: Sequence[int], widths: Sequence[int], normalisation: str):
        super().__init__()
        if len(skips) != len(widths):
            raise InputError(f"widths: {len(widths)} decoder widths for {len(skips)} levels; give one a level, coarse to fine.")
        up_convolution = Conv[Conv.CONVTRANS, spatial_dims]
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
        raise InputError(f"patch size: {size} cannot be halved as often as the network asks; make every side a multiple of {factor}.")


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

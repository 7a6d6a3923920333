"""The networks of Hi-Net (Zhou et al. 2020): one for each modality, and one that fuses what they find, level by level."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from petbench.networks.blocks import convolution, normalisation_layer, require_divisible

DOWN, UP = 0.2, 0.0
"""Slope of the leaky rectifiers on the way down and on the way up."""


def _layer(spatial_dims: int, in_channels: int, out_channels: int, normalisation: str, slope: float) -> nn.Module:
    return nn.Sequential(
        convolution(spatial_dims, in_channels, out_channels, kernel_size=3),
        normalisation_layer(normalisation, spatial_dims, out_channels),
        nn.LeakyReLU(slope, inplace=True),
    )


def _image(spatial_dims: int, channels: int) -> nn.Module:
    return convolution(spatial_dims, channels, 1, kernel_size=3)


def _twice(features: Tensor) -> Tensor:
    return nn.functional.interpolate(features, scale_factor=2)


class ModalityNetwork(nn.Module):
    """Encodes an image on ever coarser grids and gives it back from the coarsest, without skips.

    Args:
        spatial_dims: 2 or 3.
        channels: Features of each level, fine to coarse; the grid is halved after each.
        normalisation: `batch`, `instance` or `none`.
    """

    def __init__(self, spatial_dims: int, channels: Sequence[int], normalisation: str):
        super().__init__()
        dims, norm = spatial_dims, normalisation
        above = [1, *channels[:-1]]
        self.downs = nn.ModuleList(
            nn.Sequential(_layer(dims, a, c, norm, DOWN), _layer(dims, c, c, norm, DOWN)) for a, c in zip(above, channels, strict=True)
        )
        self.pool = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[spatial_dims](2)
        self.bottom = _layer(dims, channels[-1], channels[-1], norm, UP)
        upwards = pairwise(reversed(channels))
        self.ups = nn.ModuleList(nn.Sequential(_layer(dims, c, c, norm, UP), _layer(dims, c, finer, norm, UP)) for c, finer in upwards)
        self.finest = _layer(dims, channels[0], channels[0], norm, UP)
        self.head = _image(dims, channels[0])

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of an image (B, 1, *spatial) at each level, fine to coarse, on grids of 1/2, 1/4, ... of it."""
        features = [image]
        for down in self.downs:
            features.append(self.pool(down(features[-1])))
        return features[1:]

    def decode(self, coarsest: Tensor) -> Tensor:
        """The image (B, 1, *spatial), between -1 and 1, from its features of the coarsest grid."""
        features = self.bottom(coarsest)
        for up in self.ups:
            features = up(_twice(features))
        return torch.tanh(self.head(self.finest(_twice(features))).float())


class MixedFusion(nn.Module):
    """Weighs the sum, the product and the maximum of two modalities' features by a convolution, and joins what was fused before.

    Args:
        spatial_dims: 2 or 3.
        channels: Features of either modality.
        before: Features that were fused before; 0 for none.
        out_channels: Features it makes.
        normalisation: `batch`, `instance` or `none`.
        slope: Of the leaky rectifiers.
    """

    def __init__(self, spatial_dims: int, channels: int, before: int, out_channels: int, normalisation: str, slope: float):
        super().__init__()
        self.mix = _layer(spatial_dims, 3 * channels, channels, normalisation, slope)
        self.join = _layer(spatial_dims, channels + before, out_channels, normalisation, slope)

    def forward(self, one: Tensor, other: Tensor, before: Tensor | None = None) -> Tensor:
        """Fuse features (B, channels, *grid) with what was fused before (B, before, *grid) into (B, out_channels, *grid)."""
        mixed = self.mix(torch.cat([one + other, one * other, torch.maximum(one, other)], dim=1))
        joined: Tensor = self.join(mixed if before is None else torch.cat([mixed, before], dim=1))
        return joined


class HybridFusion(nn.Module):
    """A network a modality, which gives its own image back, and a fusion network that makes the restored one of the features of both.

    The fusion network mixes the modalities' features of each level twice, on the way down and on the way up.

    Args:
        spatial_dims: 2 or 3.
        channels: Features of each level, fine to coarse; each halves the grid.
        normalisation: `batch`, `instance` or `none`; `instance` removes the activity scale of a window.
    """

    def __init__(self, spatial_dims: int, channels: Sequence[int], normalisation: str):
        super().__init__()
        dims, norm = spatial_dims, normalisation
        self.pet = ModalityNetwork(dims, channels, norm)
        self.mr = ModalityNetwork(dims, channels, norm)
        fused = [0, *channels[1:], channels[-1]]
        self.downs = nn.ModuleList(
            MixedFusion(dims, width, before, out, norm, DOWN) for width, (before, out) in zip(channels, pairwise(fused), strict=True)
        )
        self.pool = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[spatial_dims](2)
        widest = 2 * channels[-1]
        self.bottom = nn.Sequential(_layer(dims, channels[-1], widest, norm, DOWN), _layer(dims, widest, channels[-1], norm, UP))
        finer = [*reversed(channels), channels[0]]
        self.ups = nn.ModuleList(MixedFusion(dims, c, c, out, norm, UP) for c, out in pairwise(finer))
        self.finest = _layer(dims, channels[0], channels[0], norm, UP)
        self.head = _image(dims, channels[0])
        self.factor = 2 ** len(channels)

    def forward(self, low_dose: Tensor, mr: Tensor) -> Tensor:
        """The restored PET, the low dose and the MR (B, 3, *spatial), between -1 and 1, of low dose and MR (B, 1, *spatial).

        Raises:
            InputError: a side is not divisible by 2 ** levels.
        """
        require_divisible(low_dose, self.factor)
        of_pet, of_mr = self.pet.encode(low_dose), self.mr.encode(mr)
        return torch.cat([self._fuse(of_pet, of_mr), self.pet.decode(of_pet[-1]), self.mr.decode(of_mr[-1])], dim=1)

    def _fuse(self, of_pet: Sequence[Tensor], of_mr: Sequence[Tensor]) -> Tensor:
        """The restored PET from both modalities' features, fine to coarse."""
        (pet, *coarser_pet), (mr, *coarser_mr) = of_pet, of_mr
        fused = self.downs[0](pet, mr)
        for down, pet, mr in zip(self.downs[1:], coarser_pet, coarser_mr, strict=True):
            fused = down(pet, mr, self.pool(fused))
        fused = self.bottom(fused)
        for number, up in enumerate(self.ups, start=1):
            fused = up(of_pet[-number], of_mr[-number], fused if number == 1 else _twice(fused))
        return torch.tanh(self.head(self.finest(_twice(fused))).float())

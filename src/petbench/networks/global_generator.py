"""The global generator of pix2pixHD (Wang et al. 2018, section 3.1; its residual blocks are those of Johnson et al. 2016)."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from petbench.networks.blocks import NORMALISATIONS, require_divisible

REFLECT = {2: nn.ReflectionPad2d, 3: nn.ReflectionPad3d}
CONVOLUTION = {2: nn.Conv2d, 3: nn.Conv3d}
UP_CONVOLUTION = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}


class GlobalGenerator(nn.Module):
    """A 7-wide convolution, layers that halve the grid and double the channels, residual blocks on the coarsest grid, and the way back.

    Args:
        spatial_dims: 2 or 3.
        width: Features at full resolution.
        halvings: Layers of stride 2.
        blocks: Residual blocks on the coarsest grid.
        normalisation: `instance`, as published, which removes the level of a window; `batch` or `none`.
    """

    def __init__(self, spatial_dims: int, width: int, halvings: int, blocks: int, normalisation: str):
        super().__init__()
        convolution, norm = CONVOLUTION[spatial_dims], NORMALISATIONS[normalisation][spatial_dims]
        reflect, up = REFLECT[spatial_dims], UP_CONVOLUTION[spatial_dims]
        widths = [width * 2**level for level in range(halvings + 1)]
        layers: list[nn.Module] = [reflect(3), convolution(1, width, 7), norm(width), nn.ReLU()]
        for fine, coarse in pairwise(widths):
            layers += [convolution(fine, coarse, 3, stride=2, padding=1), norm(coarse), nn.ReLU()]
        layers += [_ResidualBlock(spatial_dims, widths[-1], normalisation) for _ in range(blocks)]
        for coarse, fine in pairwise(reversed(widths)):
            layers += [up(coarse, fine, 3, stride=2, padding=1, output_padding=1), norm(fine), nn.ReLU()]
        self.layers = nn.Sequential(*layers, reflect(3), convolution(width, 1, 7))
        self.factor = 2**halvings

    def forward(self, image: Tensor) -> Tensor:
        """Map an image (B, 1, *spatial) to one of the same shape, within -1 and 1.

        Raises:
            InputError: a side cannot be halved as often as the network asks.
        """
        require_divisible(image, self.factor)
        return torch.tanh(self.layers(image))


class _ResidualBlock(nn.Module):
    """Features with two convolutions of them added."""

    def __init__(self, spatial_dims: int, channels: int, normalisation: str):
        super().__init__()
        convolution, norm, reflect = CONVOLUTION[spatial_dims], NORMALISATIONS[normalisation][spatial_dims], REFLECT[spatial_dims]
        self.layers = nn.Sequential(
            reflect(1),
            convolution(channels, channels, 3),
            norm(channels),
            nn.ReLU(),
            reflect(1),
            convolution(channels, channels, 3),
            norm(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, *grid)."""
        added: Tensor = features + self.layers(features)
        return added

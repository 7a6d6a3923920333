"""The U-Net generator of pix2pix (Isola et al. 2017) in two or three dimensions."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from petbench.networks.blocks import CONVOLUTION, UP_CONVOLUTION, normalisation_layer, require_divisible


class Pix2PixUNet(nn.Module):
    """Convolutions of width 4 and stride 2 down, transposed ones up, which join the skip of their grid; a tangent ends it.

    Going down LeakyReLU .2 comes before each convolution but the first and normalisation after all but the first and the last; going up
    ReLU comes before and normalisation after, and dropout after the normalisation.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the input.
        channels: Features of each level, fine to coarse; each halves the grid, the first too.
        normalisation: `batch`, `instance` or `none`.
        dropout: Probability of dropping a feature, in training.
        dropout_levels: Transposed convolutions that dropout follows, counted from the second coarsest.
    """

    def __init__(
        self, spatial_dims: int, in_channels: int, channels: Sequence[int], normalisation: str, dropout: float, dropout_levels: int
    ):
        super().__init__()
        layer, up_layer = CONVOLUTION[spatial_dims], UP_CONVOLUTION[spatial_dims]
        self.downs = nn.ModuleList([layer(in_channels, channels[0], 4, stride=2, padding=1)])
        for level, (above, width) in enumerate(pairwise(channels), start=1):
            down: list[nn.Module] = [nn.LeakyReLU(0.2), layer(above, width, 4, stride=2, padding=1)]
            if level < len(channels) - 1:
                down.append(normalisation_layer(normalisation, spatial_dims, width))
            self.downs.append(nn.Sequential(*down))

        self.ups = nn.ModuleList()
        for number, (below, width) in enumerate(pairwise([*reversed(channels), 1])):
            joined = below if number == 0 else 2 * below
            up: list[nn.Module] = [nn.ReLU(), up_layer(joined, width, 4, stride=2, padding=1)]
            if number < len(channels) - 1:
                up.append(normalisation_layer(normalisation, spatial_dims, width))
                if 1 <= number <= dropout_levels:
                    up.append(nn.Dropout(dropout))
            self.ups.append(nn.Sequential(*up))
        self.factor = 2 ** len(channels)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, in_channels, *spatial) to (B, 1, *spatial) between -1 and 1, in 32-bit floats.

        Raises:
            InputError: a side is not divisible by 2 ** levels.
        """
        require_divisible(images, self.factor)
        features = [self.downs[0](images)]
        for down in self.downs[1:]:
            features.append(down(features[-1]))
        decoded = self.ups[0](features.pop())
        for up in self.ups[1:]:
            decoded = up(torch.cat([decoded, features.pop()], dim=1))
        return torch.tanh(decoded.float())

"""The discriminator of PCSA-GAN: four convolution-pooling layers and a fully connected one (Mao et al., section 3.3)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from petbench.networks.blocks import convolution
from petbench.networks.pyramid import ResidualBlock


class VolumeDiscriminator(nn.Module):
    """Judges a whole volume as real or not: one logit.

    Args:
        in_channels: Images judged together.
        channels: Features of each layer; a 3-wide convolution, ReLU and max pooling by 2, and in all but the first a residual block.
        size: Side of the grid that the fully connected layer sees; features are averaged to it.
    """

    def __init__(self, in_channels: int, channels: Sequence[int], size: int = 2):
        super().__init__()
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise((in_channels, *channels))):
            layers += [convolution(3, before, after, 3), nn.ReLU(), nn.MaxPool3d(2)]
            layers += [ResidualBlock(after)] if number else []
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool3d(size)
        self.head = nn.Linear(channels[-1] * size**3, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 1) of images (B, in_channels, *grid); positive means real."""
        logits: Tensor = self.head(torch.flatten(self.pool(self.layers(images)), 1))
        return logits

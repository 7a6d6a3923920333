"""The standard discriminator of TPA-GAN: strided convolutions down to one logit a volume (Gao et al.)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from petbench.networks.blocks import convolution, normalisation_layer

LAST_GRID = 3
"""Voxels a side that the last convolution sees: what five halvings leave of the authors' 76 x 94 x 76."""


class TPADiscriminator(nn.Module):
    """3-wide convolutions of stride 2, each with normalisation and LeakyReLU .2, and one convolution over all that is left.

    Args:
        channels: Features of each layer.
        normalisation: `batch`, `instance` or `none`.
    """

    def __init__(self, channels: Sequence[int], normalisation: str):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise((1, *channels)):
            layers += [convolution(3, before, after, 3, stride=2), normalisation_layer(normalisation, 3, after), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers)
        self.resize = nn.AdaptiveAvgPool3d(LAST_GRID)
        self.head = nn.Conv3d(channels[-1], 1, LAST_GRID)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 1) of images (B, 1, *grid); positive means real."""
        return torch.flatten(self.head(self.resize(self.layers(images))), 1)

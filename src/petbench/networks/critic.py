"""The critic of PT-WGAN (Gong et al., IEEE TRPMS 2021), for windows of two or three dimensions."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.blocks import CONVOLUTION

POOLS = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


class Critic(nn.Module):
    """Scores whole windows: 3-wide convolutions without padding, two fully connected layers, LeakyReLU 0.2 in between.

    It normalises nothing, so that a gradient penalty is each window's own, and its last layer has no bias, for a score has no zero.

    Args:
        channels: Features of each convolution.
        strides: Stride of all convolutions along each axis; 1 along that of a thin slab.
        size: Grid that the fully connected layers see; features are averaged to it.
        hidden: Features between the fully connected layers.

    Raises:
        InputError: strides and size are not of one dimension.
    """

    def __init__(self, channels: Sequence[int], strides: Sequence[int], size: Sequence[int], hidden: int):
        super().__init__()
        if len(strides) != len(size):
            raise InputError(f"critic: {len(strides)} strides for a size of {len(size)} axes; give one an axis.")
        layers: list[nn.Module] = []
        for before, after in pairwise((1, *channels)):
            layers += [CONVOLUTION[len(size)](before, after, 3, stride=tuple(strides)), nn.LeakyReLU(0.2)]  # type: ignore[arg-type]
        self.layers = nn.Sequential(*layers)
        self.pool = POOLS[len(size)](tuple(size))
        self.hidden = nn.Sequential(nn.Linear(channels[-1] * torch.Size(size).numel(), hidden), nn.LeakyReLU(0.2))
        self.head = nn.Linear(hidden, 1, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """Scores (B, 1) of images (B, 1, *spatial)."""
        scores: Tensor = self.head(self.hidden(torch.flatten(self.pool(self.layers(images)), 1)))
        return scores

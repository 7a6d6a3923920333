"""A small densely connected network that tells two groups of people apart by a volume (Huang et al., CVPR 2017, in three dimensions)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from petbench.networks.blocks import CONVOLUTION, normalisation_layer

BOTTLENECK = 4
"""Features between a dense layer's two convolutions, in units of what it adds."""


class DenseClassifier(nn.Module):
    """One convolution, blocks of dense layers with transitions that halve channels and grid, and a linear layer on each feature's maximum.

    Args:
        width: Features of the first convolution.
        growth: Features that each dense layer adds.
        layers: Dense layers of each block.
        normalisation: `batch`, `instance` or `none`.
    """

    def __init__(self, width: int, growth: int, layers: Sequence[int], normalisation: str):
        super().__init__()
        parts: list[nn.Module] = [_convolution(1, width, 3), normalisation_layer(normalisation, 3, width), nn.ReLU()]
        parts.append(nn.MaxPool3d(3, stride=2, padding=1))
        for block, count in enumerate(layers):
            if block:
                parts += [normalisation_layer(normalisation, 3, width), nn.ReLU(), _convolution(width, width // 2, 1), nn.AvgPool3d(2)]
                width //= 2
            for _ in range(count):
                parts.append(_DenseLayer(width, growth, normalisation))
                width += growth
        self.features = nn.Sequential(*parts, normalisation_layer(normalisation, 3, width), nn.ReLU())
        self.head = nn.Linear(width, 1)

    def forward(self, volumes: Tensor) -> Tensor:
        """Logits (B,) of volumes (B, 1, *grid); positive means the group that is looked for."""
        logits: Tensor = self.head(self.features(volumes).flatten(2).amax(dim=2))
        return logits[:, 0]


class _DenseLayer(nn.Module):
    def __init__(self, channels: int, growth: int, normalisation: str):
        super().__init__()
        inner = BOTTLENECK * growth
        self.layers = nn.Sequential(
            *(normalisation_layer(normalisation, 3, channels), nn.ReLU(), _convolution(channels, inner, 1)),
            *(normalisation_layer(normalisation, 3, inner), nn.ReLU(), _convolution(inner, growth, 3)),
        )

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([features, self.layers(features)], dim=1)


def _convolution(before: int, after: int, kernel: int) -> nn.Module:
    """A convolution that leaves its constant to the normalisation after it."""
    return CONVOLUTION[3](before, after, kernel, padding=kernel // 2, bias=False)

"""A small residual network that tells two groups of people apart by their volumes (He et al. 2016, in three dimensions)."""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from petbench.networks.blocks import convolution, normalisation_layer


class VolumeClassifier(nn.Module):
    """Residual stages that each halve the grid, and one linear layer on their features.

    Args:
        in_channels: Volumes seen together, such as MR and PET.
        grid: Voxels of a volume, (x, y, z).
        channels: Features of each stage; without any, the linear layer sees the volumes themselves.
        normalisation: `batch`, `instance` or `none`, in the stages.
        dropout: Share of the linear layer's inputs left out in training.
        head: What the linear layer sees: `mean`, each feature's mean over the volume, or `voxels`, every voxel, so that it knows places.
    """

    def __init__(
        self, in_channels: int, grid: Sequence[int], channels: Sequence[int], normalisation: str, dropout: float, head: str = "mean"
    ):
        super().__init__()
        widths = (in_channels, *channels)
        self.stages = nn.Sequential(*(_Stage(before, after, normalisation) for before, after in pairwise(widths)))
        self.averaged = head == "mean"
        self.dropout = nn.Dropout(dropout)
        places = 1 if self.averaged else math.prod(math.ceil(side / 2 ** len(channels)) for side in grid)
        self.head = nn.Linear(widths[-1] * places, 1)

    def forward(self, volumes: Tensor) -> Tensor:
        """Logits (B,) of volumes (B, in_channels, *grid); positive means the positive class."""
        features = self.stages(volumes).flatten(2)
        seen = features.mean(dim=2) if self.averaged else features.flatten(1)
        logits: Tensor = self.head(self.dropout(seen))
        return logits[:, 0]


class _Stage(nn.Module):
    def __init__(self, before: int, after: int, normalisation: str):
        super().__init__()
        self.first = convolution(3, before, after, 3, stride=2)
        self.second = convolution(3, after, after, 3)
        self.short = convolution(3, before, after, 1, stride=2)
        self.norms = nn.ModuleList(normalisation_layer(normalisation, 3, after) for _ in range(2))

    def forward(self, features: Tensor) -> Tensor:
        changed = self.norms[1](self.second(self.norms[0](self.first(features)).relu()))
        joined: Tensor = (self.short(features) + changed).relu()
        return joined

"""A small residual network that tells two groups of people apart by their volumes (He et al. 2016, in three dimensions)."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from petbench.networks.blocks import convolution, normalisation_layer


class VolumeClassifier(nn.Module):
    """Residual stages that each halve the grid, a mean over the volume, and one linear layer.

    Args:
        in_channels: Volumes seen together, such as MR and PET.
        channels: Features of each stage.
        normalisation: `batch`, `instance` or `none`, in the stages.
        dropout: Share of the averaged features left out in training.
    """

    def __init__(self, in_channels: int, channels: Sequence[int], normalisation: str, dropout: float):
        super().__init__()
        self.stages = nn.Sequential(*(_Stage(before, after, normalisation) for before, after in pairwise((in_channels, *channels))))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels[-1], 1)

    def forward(self, volumes: Tensor) -> Tensor:
        """Logits (B,) of volumes (B, in_channels, *grid); positive means the positive class."""
        features = self.stages(volumes).flatten(2).mean(dim=2)
        logits: Tensor = self.head(self.dropout(features))
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

"""CSRD: the residual of PET drawn by EDM, given the low dose, MR and where a voxel lies (Yoon et al., MICCAI 2024)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from petbench.methods.base import MORE_INPUTS, need
from petbench.methods.build import construct
from petbench.methods.edm import EDM, NoiseLevels
from petbench.networks.song_unet import SongUNet


class CSRD(EDM):
    """One U-Net on the noisy residual and its conditions, which are concatenated as they are.

    Args:
        levels: Noise of the training.
        network: Maps (B, 1 + channels of the conditions, *spatial) and noise labels (B,) to (B, 1, *spatial).
        conditions: Inputs beside the noisy residual, in order: `mr`, `low_dose`, `coordinates`.
    """

    def __init__(self, levels: NoiseLevels, network: SongUNet, conditions: Sequence[str]):
        super().__init__(levels)
        self.network = network
        self.conditions = tuple(conditions)

    def condition(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """The conditions as channels.

        Raises:
            InputError: one is missing.
        """
        images = {"low_dose": low_dose, "mr": mr, **more}
        return torch.cat([need(images.get(name), name) for name in self.conditions], dim=1)

    def predict(self, seen: Tensor, noise: Tensor, condition: Tensor) -> Tensor:
        """The network's output.

        Raises:
            InputError: a side is not divisible by 2 ** (levels - 1).
        """
        output: Tensor = self.network(torch.cat([seen, condition], dim=1), noise)
        return output


def build(train: Mapping[str, Any]) -> CSRD:
    """The method from an entry's `train` block (`edm`, `network`, `conditions`)."""
    conditions = train["conditions"]
    channels = 1 + sum(MORE_INPUTS[name].channels if name in MORE_INPUTS else 1 for name in conditions)
    network = construct(SongUNet, train, "network", in_channels=channels, out_channels=1)
    return CSRD(construct(NoiseLevels, train, "edm"), network, conditions)

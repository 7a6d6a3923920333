"""IDDPM, conditioned by concatenation: on the low dose (M2Diff's ablation V1), or on the low dose and MR (DDPM-PETMR, V2)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from petbench.methods.base import need
from petbench.methods.build import construct
from petbench.methods.diffusion import Diffusion, Process
from petbench.networks.diffusion_unet import DiffusionUNet


class IDDPM(Diffusion):
    """One U-Net of improved diffusion on the noisy image and what it is conditioned on.

    Args:
        process: The forward process.
        network: Maps images (B, 1 + conditions, *spatial) and steps (B,) to the process's outputs.
        conditions: Images beside the noisy one, in order: `low_dose`, `mr`.
    """

    follows_level = False  # improved diffusion's normalised head hides it where the clean image is predicted (docs/diffusion.md)

    def __init__(self, process: Process, network: DiffusionUNet, conditions: Sequence[str]):
        super().__init__(process)
        self.network = network
        self.conditions = tuple(conditions)

    def condition(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """The conditions as channels.

        Raises:
            InputError: one is missing.
        """
        images = {"low_dose": low_dose, "mr": mr}
        return torch.cat([need(images[name], name) for name in self.conditions], dim=1)

    def predict(self, noisy: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """The network's output.

        Raises:
            InputError: a side is not divisible by 2 ** (levels - 1).
        """
        output: Tensor = self.network(torch.cat([noisy, condition], dim=1), time)
        return output


def build(train: Mapping[str, Any]) -> IDDPM:
    """The method from an entry's `train` block (`diffusion`, `network`, `conditions`)."""
    process = construct(Process, train, "diffusion")
    conditions = train["conditions"]
    network = construct(DiffusionUNet, train, "network", in_channels=1 + len(conditions), out_channels=process.channels)
    return IDDPM(process, network, conditions)

"""MFdiff: diffusion conditioned on the low dose and a fusion of it with MR (Zhang et al.)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from petbench.methods.base import need
from petbench.methods.build import construct
from petbench.methods.diffusion import Diffusion, Process
from petbench.networks.diffusion_unet import DiffusionUNet
from petbench.networks.modality_fusion import ModalityFusion


class MFdiff(Diffusion):
    """A U-Net on the noisy image, the low dose and the fusion feature, which are trained together (MFdiff, eq. 8 and 9).

    Args:
        process: The forward process.
        fusion: Maps low-dose PET and MR, both (B, 1, *spatial), to the fusion feature.
        network: Maps noisy image, low dose and fusion feature, concatenated, and steps (B,) to the process's outputs.
    """

    def __init__(self, process: Process, fusion: ModalityFusion, network: DiffusionUNet):
        super().__init__(process)
        self.fusion, self.network = fusion, network

    def condition(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """Low dose and fusion feature, (B, 1 + channels, *spatial).

        Raises:
            InputError: PET or MR is missing, or windows of attention do not tile the images.
        """
        pet = need(low_dose, "low_dose")
        return torch.cat([pet, self.fusion(pet, need(mr, "mr"))], dim=1)

    def predict(self, noisy: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """The network's output.

        Raises:
            InputError: a side is not divisible by 2 ** (levels - 1).
        """
        output: Tensor = self.network(torch.cat([noisy, condition], dim=1), time)
        return output


def build(train: Mapping[str, Any]) -> MFdiff:
    """The method from an entry's `train` block (`diffusion`, `fusion`, `network`)."""
    process = construct(Process, train, "diffusion")
    fusion = construct(ModalityFusion, train, "fusion")
    seen = 2 + train["fusion"]["channels"]
    return MFdiff(process, fusion, construct(DiffusionUNet, train, "network", in_channels=seen, out_channels=process.channels))

"""MB-UNet: a U-Net with an encoder for each modality, trained with L1 (the multi-branch comparator of M2Diff)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from petbench.methods.base import need
from petbench.methods.build import construct
from petbench.methods.m_unet import MUNet
from petbench.networks.multi_branch_unet import MultiBranchUNet


class MBUNet(MUNet):
    """Regresses the standard dose from PET and MR, each with an encoder of its own; see `MultiBranchUNet`."""

    def estimate(self, low_dose: Tensor | None, mr: Tensor | None) -> Tensor:
        """The restored PET (B, 1, *spatial), with gradients."""
        restored: Tensor = self.network(need(low_dose, "low_dose"), need(mr, "mr"))
        return restored


def build(train: Mapping[str, Any]) -> MBUNet:
    """The method from an entry's `train` block (`network`)."""
    return MBUNet(construct(MultiBranchUNet, train, "network"))

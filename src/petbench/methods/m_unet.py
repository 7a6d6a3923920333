"""M-UNet: one U-Net on PET and MR concatenated, trained with L1 (the comparator of MAK-GAN, M2Diff and MFdiff)."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from petbench.methods.base import Batch, Progress, Restorer, Step, l1, need
from petbench.methods.build import construct
from petbench.networks.blocks import initialise
from petbench.networks.unet import UNet


class MUNet(Restorer):
    """Regresses the standard dose from PET and MR; see `UNet` for the network's parameters."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def losses(self, batch: Batch, progress: Progress) -> Iterator[Step]:
        """One step: the mean absolute error."""
        loss = l1(self.estimate(batch.get("low_dose"), batch.get("mr")), batch["standard_dose"])
        yield Step("restorer", loss, {"l1": loss.detach()})

    @torch.no_grad()
    def restore(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """Restore windows (B, 1, *spatial).

        Raises:
            InputError: PET or MR is missing, or a side is not divisible by the network's factor.
        """
        return self.estimate(low_dose, mr)

    def estimate(self, low_dose: Tensor | None, mr: Tensor | None) -> Tensor:
        """The restored PET (B, 1, *spatial), with gradients."""
        images = torch.cat([need(low_dose, "low_dose"), need(mr, "mr")], dim=1)
        restored: Tensor = self.network(images)
        return restored


def build(train: Mapping[str, Any]) -> MUNet:
    """The method from an entry's `train` block (`network`, `initialisation`)."""
    method = MUNet(construct(UNet, train, "network", in_channels=2))
    initialise(method, train.get("initialisation"))
    return method

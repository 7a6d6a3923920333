"""MFdiff's ablations without diffusion: a U-Net on PET, on PET and MR, or on PET and the fusion feature of both (MFdiff, table 5)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from petbench.errors import InputError
from petbench.methods.base import Batch, Progress, Restorer, Step, l1, mse, need
from petbench.methods.build import construct
from petbench.networks.modality_fusion import ModalityFusion
from petbench.networks.unet import UNet

LOSSES = {"l1": l1, "mse": mse}


class FusedUNet(Restorer):
    """Regresses the standard dose.

    Args:
        network: Maps what it sees (B, C, *spatial) to an image (B, 1, *spatial).
        modalities: Images that are seen, in order: `low_dose`, `mr`.
        fusion: Makes the feature of both that is seen beside the low dose; none concatenates the modalities.
        loss: `l1` or `mse`.

    Raises:
        InputError: the loss is unknown.
    """

    def __init__(self, network: UNet, modalities: Sequence[str], fusion: ModalityFusion | None, loss: str):
        super().__init__()
        if loss not in LOSSES:
            raise InputError(f"train/loss: {loss!r} is unknown; choose one of {', '.join(LOSSES)}.")
        self.network, self.fusion = network, fusion
        self.modalities, self.loss = tuple(modalities), loss

    def losses(self, batch: Batch, progress: Progress) -> Iterator[Step]:
        """One step: the loss."""
        loss = LOSSES[self.loss](self._estimate(batch["low_dose"], batch.get("mr")), batch["standard_dose"])
        yield Step("restorer", loss, {self.loss: loss.detach()})

    @torch.no_grad()
    def restore(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """Restore windows (B, 1, *spatial).

        Raises:
            InputError: a modality is missing, or a side is not divisible by the network's factor.
        """
        return self._estimate(low_dose, mr)

    def _estimate(self, low_dose: Tensor | None, mr: Tensor | None) -> Tensor:
        given = {"low_dose": low_dose, "mr": mr}
        images = [need(given[name], name) for name in self.modalities]
        seen = images if self.fusion is None else [images[0], self.fusion(*images)]
        restored: Tensor = self.network(torch.cat(seen, dim=1))
        return restored


def build(train: Mapping[str, Any]) -> FusedUNet:
    """The method from an entry's `train` block (`modalities`, `fusion` if any, `network`, `loss`)."""
    fusion = construct(ModalityFusion, train, "fusion") if train.get("fusion") else None
    seen = len(train["modalities"]) if fusion is None else 1 + train["fusion"]["channels"]
    return FusedUNet(construct(UNet, train, "network", in_channels=seen), train["modalities"], fusion, train["loss"])

"""Hi-Net: networks of each modality that give their image back, fused level by level into the restored one (Zhou et al., TMI 2020)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from petbench.methods.adversarial import Adversarial
from petbench.methods.base import Batch, l1, need
from petbench.methods.build import construct
from petbench.networks.blocks import initialise
from petbench.networks.hybrid_fusion import HybridFusion
from petbench.networks.span import Span
from petbench.networks.strided_discriminator import StridedDiscriminator


class HiNet(Adversarial):
    """The adversarial loss and L1 of the restored PET, and L1 of the low dose and of the MR that the modalities' networks give back.

    Networks and losses see images that a linear map takes to [-1, 1], where the networks' tangents end. The discriminator sees the
    restored PET, or the real one, alone.

    Args:
        generator: Maps low dose and MR (B, 1, *spatial) to restored PET, low dose and MR (B, 3, *spatial).
        discriminator: Maps an image to logits.
        range: Scaled PET, low and high, that is mapped to [-1, 1]; nothing above or below can be restored.
        objective: `bce` or `lsgan`.
        weights: Weight of `adversarial`, `l1`, `low_dose` and `mr`.

    Raises:
        InputError: `range` does not ascend.
    """

    condition = None

    def __init__(
        self, generator: nn.Module, discriminator: nn.Module, range: Sequence[float], objective: str, weights: Mapping[str, float]
    ):
        super().__init__(generator, discriminator, 0, objective, weights)
        self.span = Span(range, "train/range")

    def terms(self, restored: Tensor, batch: Batch) -> dict[str, Callable[[], Tensor]]:
        """`l1`, of the restored PET, and `low_dose` and `mr`, of the images that are given back."""
        low_dose, mr = self._seen(batch.get("low_dose"), batch.get("mr"))
        aims = {"l1": self.real(batch), "low_dose": low_dose, "mr": mr}
        return {name: partial(l1, restored[:, n : n + 1], aim) for n, (name, aim) in enumerate(aims.items())}

    def real(self, batch: Batch) -> Tensor:
        """The standard dose in [-1, 1]."""
        return self.span.encode(batch["standard_dose"])

    def judged(self, image: Tensor, beside: Tensor | None) -> Tensor:
        """The restored or the real PET, without what is given back."""
        return image[:, :1]

    @torch.no_grad()
    def restore(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """Restore windows (B, 1, *spatial).

        Raises:
            InputError: PET or MR is missing, or a side is not divisible by the network's factor.
        """
        return self.span.decode(self.generate(low_dose, mr)[:, :1])

    def generate(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """The restored PET, and the low dose and MR that are given back, in [-1, 1], (B, 3, *spatial), with gradients.

        Raises:
            InputError: an image is missing, or a side is not divisible by the network's factor.
        """
        images: Tensor = self.generator(*self._seen(low_dose, mr))
        return images

    def _seen(self, low_dose: Tensor | None, mr: Tensor | None) -> tuple[Tensor, Tensor]:
        return self.span.encode(need(low_dose, "low_dose")), 2 * need(mr, "mr") - 1


def build(train: Mapping[str, Any]) -> HiNet:
    """The method from an entry's `train` block (`range`, `network`, `discriminator`, `loss`, `initialisation`)."""
    dims = train["network"]["spatial_dims"]
    generator = construct(HybridFusion, train, "network")
    discriminator = construct(StridedDiscriminator, train, "discriminator", spatial_dims=dims, in_channels=1)
    for network in (generator, discriminator):
        initialise(network, train.get("initialisation"))
    return construct(_assemble, train, "loss", generator=generator, discriminator=discriminator, range=train["range"])


def _assemble(
    generator: nn.Module,
    discriminator: nn.Module,
    range: Sequence[float],
    objective: str,
    adversarial: float,
    l1: float,
    low_dose: float,
    mr: float,
) -> HiNet:
    return HiNet(generator, discriminator, range, objective, {"adversarial": adversarial, "l1": l1, "low_dose": low_dose, "mr": mr})

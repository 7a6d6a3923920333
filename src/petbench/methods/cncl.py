"""CNCL: one network learns the content, another the noise, and both are fused (Geng et al., TMI 2022); with MR as MFdiff compares it."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from petbench.methods.adversarial import Adversarial
from petbench.methods.base import Batch, l1, need
from petbench.methods.build import construct
from petbench.networks.blocks import initialise
from petbench.networks.complementary_unets import ComplementaryUNets
from petbench.networks.strided_discriminator import StridedDiscriminator


class CNCL(Adversarial):
    """The adversarial loss and L1, both of the content and the noise together; the noise is the low dose less the standard dose.

    Args:
        generator: Maps low dose and MR, (B, 2, *spatial), to content and noise of the same shape.
        discriminator: Maps content, noise, low dose and MR to logits.
        objective: `bce` or `lsgan`.
        weights: Weight of `adversarial` and `l1`.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, objective: str, weights: Mapping[str, float]):
        super().__init__(generator, discriminator, 0, objective, weights)

    def terms(self, restored: Tensor, batch: Batch) -> dict[str, Callable[[], Tensor]]:
        """`l1`, of content and noise alike."""
        return {"l1": lambda: l1(restored, self.real(batch))}

    def real(self, batch: Batch) -> Tensor:
        """The standard dose and the noise of the low dose (B, 2, *spatial)."""
        standard_dose = batch["standard_dose"]
        return torch.cat([standard_dose, need(batch.get("low_dose"), "low_dose") - standard_dose], dim=1)

    def beside(self, batch: Batch) -> Tensor:
        """Low dose and MR, which the generator sees, too."""
        return _seen(batch.get("low_dose"), batch.get("mr"))

    @torch.no_grad()
    def restore(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """Restore windows (B, 1, *spatial): the content.

        Raises:
            InputError: PET or MR is missing, or a side is not divisible by the network's factor.
        """
        return self.generate(low_dose, mr)[:, :1]

    def generate(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """Content and noise (B, 2, *spatial), with gradients.

        Raises:
            InputError: an image is missing, or a side is not divisible by the network's factor.
        """
        images: Tensor = self.generator(_seen(low_dose, mr))
        return images


def _seen(low_dose: Tensor | None, mr: Tensor | None) -> Tensor:
    return torch.cat([need(low_dose, "low_dose"), need(mr, "mr")], dim=1)


def build(train: Mapping[str, Any]) -> CNCL:
    """The method from an entry's `train` block (`network`, `discriminator`, `loss`, `initialisation`)."""
    generator = construct(ComplementaryUNets, train, "network", in_channels=2)
    discriminator = construct(StridedDiscriminator, train, "discriminator", spatial_dims=train["network"]["spatial_dims"], in_channels=4)
    for network in (generator, discriminator):
        initialise(network, train.get("initialisation"))
    return construct(_assemble, train, "loss", generator=generator, discriminator=discriminator)


def _assemble(generator: nn.Module, discriminator: nn.Module, objective: str, adversarial: float, l1: float) -> CNCL:
    return CNCL(generator, discriminator, objective, {"adversarial": adversarial, "l1": l1})

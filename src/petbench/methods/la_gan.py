"""LA-GAN: locality-adaptive fusion of modalities in a conditional GAN, refined by auto-context (Wang et al., TMI 2019)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from petbench.methods.adversarial import Adversarial
from petbench.methods.base import Batch, l1, need
from petbench.methods.build import construct
from petbench.networks.locality_adaptive import ConvolutionDiscriminator, LocalityAdaptiveUNet


class LAGAN(Adversarial):
    """One stage of LA-GAN: PET and MR, and in the second stage what the first restored, fused and mapped to the standard dose.

    Args:
        generator: Maps two modalities, or three of the second stage, to the standard dose.
        discriminator: Judges pairs of an image and the low dose.
        objective: `bce` or `lsgan`.
        weights: Weight of `adversarial` and `l1`.
    """

    def __init__(
        self, generator: LocalityAdaptiveUNet, discriminator: ConvolutionDiscriminator, objective: str, weights: Mapping[str, float]
    ):
        super().__init__(generator, discriminator, 0, objective, weights)
        self.modalities = generator.modalities

    def generate(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """The restored PET.

        Raises:
            InputError: an image is missing: PET, MR or, of the second stage, the context.
        """
        images = [need(low_dose, "low_dose"), need(mr, "mr")]
        if self.modalities > len(images):
            images.append(need(more.get("context"), "context"))
        restored: Tensor = self.generator(torch.cat(images, dim=1))
        return restored

    def terms(self, restored: Tensor, batch: Batch) -> dict[str, Callable[[], Tensor]]:
        """`l1`."""
        return {"l1": lambda: l1(restored, batch["standard_dose"])}


def build(train: Mapping[str, Any]) -> LAGAN:
    """The method from an entry's `train` block (`network`, `discriminator`, `loss`)."""
    generator = construct(LocalityAdaptiveUNet, train, "network")
    dims = train["network"]["spatial_dims"]
    discriminator = construct(ConvolutionDiscriminator, train, "discriminator", spatial_dims=dims, in_channels=2)
    return construct(assemble, train, "loss", generator=generator, discriminator=discriminator)


def assemble(
    generator: LocalityAdaptiveUNet, discriminator: ConvolutionDiscriminator, objective: str, adversarial: float, l1: float
) -> LAGAN:
    """A stage from its networks, its adversarial objective (`bce`, `lsgan`) and its loss weights."""
    return LAGAN(generator, discriminator, objective, {"adversarial": adversarial, "l1": l1})

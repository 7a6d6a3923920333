"""3D CVT-GAN: a generator and a discriminator of convolutional vision transformers (Zeng et al., MICCAI 2022)."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from petbench.methods.adversarial import Adversarial
from petbench.methods.base import Batch, l1, need
from petbench.methods.build import construct
from petbench.networks.cvt import CVTDiscriminator, CVTGenerator


class CVTGAN(Adversarial):
    """The adversarial loss with an L1 term; PET alone is looked at."""

    def terms(self, restored: Tensor, batch: Batch) -> dict[str, Callable[[], Tensor]]:
        """`l1`."""
        return {"l1": lambda: l1(restored, batch["standard_dose"])}

    def generate(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """The restored PET (B, 1, *spatial), with gradients; MR is not looked at.

        Raises:
            InputError: there is no low dose, or a side is not divisible by the network's factor.
        """
        restored: Tensor = self.generator(need(low_dose, "low_dose"))
        return restored


def build(train: Mapping[str, Any]) -> CVTGAN:
    """The method from an entry's `train` block (`network`, `discriminator`, `loss`, `image_pool`)."""
    generator = construct(CVTGenerator, train, "network")
    discriminator = construct(CVTDiscriminator, train, "discriminator", spatial_dims=train["network"]["spatial_dims"], in_channels=2)
    return construct(assemble, train, "loss", generator=generator, discriminator=discriminator, pool=train["image_pool"])


def assemble(generator: CVTGenerator, discriminator: CVTDiscriminator, pool: int, objective: str, adversarial: float, l1: float) -> CVTGAN:
    """3D CVT-GAN from its networks, the size of its image pool, its adversarial objective (`bce`, `lsgan`) and its loss weights."""
    return CVTGAN(generator, discriminator, pool, objective, {"adversarial": adversarial, "l1": l1})

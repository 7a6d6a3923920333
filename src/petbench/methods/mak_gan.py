"""MAK-GAN: multi-level adaptive convolutional kernels for asymmetric multi-modal PET reconstruction (Zeng et al., MICCAI 2025)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from petbench.methods.adversarial import Adversarial
from petbench.methods.base import l1
from petbench.methods.build import construct
from petbench.networks.blocks import initialise
from petbench.networks.edges import sobel_magnitude
from petbench.networks.mak_generator import MAKGenerator
from petbench.networks.patchgan import PatchDiscriminator


class MAKGAN(Adversarial):
    """The adversarial loss with an L1 term on the image and one on its edges (MAK-GAN, eq. 13)."""

    def terms(self, restored: Tensor, standard_dose: Tensor) -> dict[str, Tensor]:
        """`l1` and, unless its weight is 0, `edge` (MAK-GAN, eq. 12)."""
        terms = {"l1": l1(restored, standard_dose)}
        if self.loss_weights["edge"]:
            terms["edge"] = l1(sobel_magnitude(restored), sobel_magnitude(standard_dose))
        return terms


def build(train: Mapping[str, Any]) -> MAKGAN:
    """The method from an entry's `train` block (`network`, `discriminator`, `loss`, `image_pool`, `initialisation` of the
    discriminator)."""
    generator = construct(MAKGenerator, train, "network")
    discriminator = construct(PatchDiscriminator, train, "discriminator", spatial_dims=train["network"]["spatial_dims"], in_channels=2)
    initialise(discriminator, train.get("initialisation"))
    return construct(assemble, train, "loss", generator=generator, discriminator=discriminator, pool=train["image_pool"])


def assemble(
    generator: MAKGenerator, discriminator: PatchDiscriminator, pool: int, objective: str, adversarial: float, l1: float, edge: float
) -> MAKGAN:
    """MAK-GAN from its networks, the size of its image pool, its adversarial objective (`bce`, `lsgan`) and its loss weights."""
    return MAKGAN(generator, discriminator, pool, objective, {"adversarial": adversarial, "l1": l1, "edge": edge})

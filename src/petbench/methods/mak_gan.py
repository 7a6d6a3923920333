"""MAK-GAN: multi-level adaptive convolutional kernels for asymmetric multi-modal PET reconstruction (Zeng et al., MICCAI 2025)."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from petbench.methods.adversarial import Adversarial
from petbench.methods.base import Batch, l1
from petbench.methods.build import construct
from petbench.networks.blocks import initialise
from petbench.networks.edges import sobel_magnitude
from petbench.networks.mak_generator import MAKGenerator
from petbench.networks.patchgan import PatchDiscriminator


class MAKGAN(Adversarial):
    """The adversarial loss with an L1 term on the image and one on its edges (MAK-GAN, eq. 13)."""

    def terms(self, restored: Tensor, batch: Batch) -> dict[str, Callable[[], Tensor]]:
        """`l1` and `edge` (MAK-GAN, eq. 12)."""
        standard_dose = batch["standard_dose"]
        return {
            "l1": lambda: l1(restored, standard_dose),
            "edge": lambda: l1(sobel_magnitude(restored), sobel_magnitude(standard_dose)),
        }


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

"""MTrans-GAN: an edge-aware GAN whose generator joins convolutions and a transformer over PET and MR (Wang et al., MedIA 2024)."""

from collections.abc import Mapping
from typing import Any

from petbench.methods.build import construct
from petbench.methods.mak_gan import MAKGAN, assemble
from petbench.networks.blocks import initialise
from petbench.networks.mtrans_generator import MTransGenerator
from petbench.networks.patchgan import PatchDiscriminator


def build(train: Mapping[str, Any]) -> MAKGAN:
    """The method from an entry's `train` block, with the losses that MAK-GAN has too: adversarial, L1 and edges."""
    generator = construct(MTransGenerator, train, "network")
    discriminator = construct(PatchDiscriminator, train, "discriminator", spatial_dims=train["network"]["spatial_dims"], in_channels=2)
    initialise(discriminator, train.get("initialisation"))
    return construct(assemble, train, "loss", generator=generator, discriminator=discriminator, pool=train["image_pool"])

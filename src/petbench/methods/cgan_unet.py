"""A conditional GAN with a U-Net that makes PET of MR (Isola et al. 2017, in three dimensions): the comparator that PCSA-GAN rebuilt."""

from collections.abc import Mapping
from typing import Any

from petbench.methods.build import construct
from petbench.methods.synthesis import Synthesis, build_synthesis
from petbench.networks.unet import UNet


def build(train: Mapping[str, Any]) -> Synthesis:
    """The method from an entry's `train` block (`network`, `discriminator`, `loss`)."""
    return build_synthesis(construct(UNet, train, "network", in_channels=1, spatial_dims=3), train)

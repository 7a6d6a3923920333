"""PCSA-GAN: PET from a grey-matter map by pyramid convolutions, channel attention and self-attention (Mao et al.)."""

from collections.abc import Mapping
from typing import Any

from petbench.methods.build import construct
from petbench.methods.synthesis import Synthesis, build_synthesis
from petbench.networks.pcsa_generator import PCSAGenerator


def build(train: Mapping[str, Any]) -> Synthesis:
    """The method from an entry's `train` block (`network`, `discriminator`, `loss`)."""
    return build_synthesis(construct(PCSAGenerator, train, "network"), train)

"""What adversarial methods share that make PET of MR alone."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from petbench.methods.adversarial import Adversarial
from petbench.methods.base import Batch, l1, need
from petbench.methods.build import construct
from petbench.networks.ms_ssim import ms_ssim, ssim
from petbench.networks.volume_discriminator import VolumeDiscriminator


class Synthesis(Adversarial):
    """A generator of PET from MR; the adversarial loss with terms on the image (PCSA-GAN, equation 12).

    Args:
        generator: Maps MR to PET, both (B, 1, *grid).
        discriminator: Maps PET, beside MR if `conditional`, to logits.
        conditional: Whether the discriminator sees the MR.
        objective: `bce` or `lsgan`.
        normalise: Whether the exponents of MS-SSIM are divided by their sum.
        weights: Weight of `adversarial`, `l1`, `ssim` and `ms_ssim`.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        conditional: bool,
        objective: str,
        normalise: bool,
        weights: Mapping[str, float],
    ):
        super().__init__(generator, discriminator, 0, objective, weights)
        self.condition = "mr" if conditional else None
        self.normalise = normalise

    def generate(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """PET of MR; a low dose is not looked at."""
        restored: Tensor = self.generator(need(mr, "mr"))
        return restored

    def terms(self, restored: Tensor, batch: Batch) -> dict[str, Callable[[], Tensor]]:
        """`l1`, `ssim` and `ms_ssim` (equations 8 and 11)."""
        standard_dose = batch["standard_dose"]
        return {
            "l1": lambda: l1(restored, standard_dose),
            "ssim": lambda: 1 - ssim(restored, standard_dose).mean(),
            "ms_ssim": lambda: 1 - ms_ssim(restored, standard_dose, normalise=self.normalise).mean(),
        }


def _discriminator(channels: list[int], conditional: bool) -> VolumeDiscriminator:
    return VolumeDiscriminator(1 + conditional, channels)


def _assemble(
    generator: nn.Module,
    discriminator: nn.Module,
    conditional: bool,
    objective: str,
    adversarial: float,
    l1: float,
    ssim: float,
    ms_ssim: float,
    normalise: bool,
) -> Synthesis:
    weights = {"adversarial": adversarial, "l1": l1, "ssim": ssim, "ms_ssim": ms_ssim}
    return Synthesis(generator, discriminator, conditional, objective, normalise, weights)


def build_synthesis(generator: nn.Module, train: Mapping[str, Any], assemble: Callable[..., Synthesis] = _assemble) -> Synthesis:
    """The method from its generator and an entry's blocks `discriminator` and `loss`.

    Args:
        generator: It.
        train: The entry's block `train`.
        assemble: Makes a method of `generator`, `discriminator`, `conditional` and the keys of `loss`.
    """
    conditional = train["discriminator"]["conditional"]
    discriminator = construct(_discriminator, train, "discriminator")
    return construct(assemble, train, "loss", generator=generator, discriminator=discriminator, conditional=conditional)

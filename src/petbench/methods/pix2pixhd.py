"""Pix2PixHD: a global generator against judges at several scales, whose features it matches (Wang et al., CVPR 2018); on low-dose PET."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from petbench.methods.adversarial import frozen
from petbench.methods.base import Batch, Progress, Restorer, Step, l1, need
from petbench.methods.build import construct
from petbench.networks.blocks import full_precision, initialise
from petbench.networks.patchgan import MultiScaleDiscriminator
from petbench.networks.residual_generator import ResidualGenerator
from petbench.networks.span import Span


class Pix2PixHD(Restorer):
    """Least squares against judges at several scales, and the mean absolute difference of their features (Wang et al., equations 4 and 5).

    Args:
        generator: Maps an image within -1 and 1 to another.
        discriminator: Sees the low dose and an image beside it; see `MultiScaleDiscriminator`.
        matching: Weight of the features' difference.
        image_range: Scaled PET, low and high, that becomes -1 and 1; the generator makes nothing beyond.

    Raises:
        InputError: the range does not ascend.
    """

    follows_level = False  # instance normalisation takes the level of a slice away

    def __init__(self, generator: nn.Module, discriminator: nn.Module, matching: float, image_range: Sequence[float]):
        super().__init__()
        self.generator, self.discriminator, self.matching = generator, discriminator, matching
        self.span = Span(image_range, "train/range")

    def optimised(self) -> dict[str, Iterable[nn.Parameter]]:
        """Parameters of the optimisers `discriminator` and `generator`."""
        return {"discriminator": self.discriminator.parameters(), "generator": self.generator.parameters()}

    def losses(self, batch: Batch, progress: Progress) -> Iterator[Step]:
        """Two steps: the judges', then the generator's against the updated ones."""
        low_dose, standard_dose = (self.span.encode(image) for image in (need(batch.get("low_dose"), "low_dose"), batch["standard_dose"]))
        restored = self.generator(low_dose)
        real, fake = self._judge(low_dose, standard_dose), self._judge(low_dose, restored.detach())
        loss = (_wrong(real, is_real=True) + _wrong(fake, is_real=False)) / 2
        yield Step("discriminator", loss, {})
        with frozen(self.discriminator):
            real, fake = self._judge(low_dose, standard_dose), self._judge(low_dose, restored)
        adversarial = _wrong(fake, is_real=True)
        matching = torch.stack([_apart(ours, theirs) for ours, theirs in zip(fake, real, strict=True)]).mean()
        logs = {"adversarial": adversarial.detach(), "matching": matching.detach()}
        yield Step("generator", adversarial + self.matching * matching, logs)

    @torch.no_grad()
    def restore(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """Restore windows (B, 1, *spatial); MR is not looked at.

        Raises:
            InputError: the low dose is missing, or a side cannot be halved as often as the network asks.
        """
        return self.span.decode(self.generator(self.span.encode(need(low_dose, "low_dose"))))

    def _judge(self, low_dose: Tensor, image: Tensor) -> list[list[Tensor]]:
        with full_precision(image.device):
            found: list[list[Tensor]] = self.discriminator(torch.cat([low_dose, image], dim=1).float())
        return found


def _wrong(judged: Sequence[Sequence[Tensor]], is_real: bool) -> Tensor:
    """Sum over scales of how far the logits are, squared, from 1 for real images and 0 for others."""
    return torch.stack([(features[-1] - float(is_real)).square().mean() for features in judged]).sum()


def _apart(features: Sequence[Tensor], real: Sequence[Tensor]) -> Tensor:
    """Sum over a judge's layers, the logits left out, of the mean absolute difference from its features of the real image."""
    return torch.stack([l1(own, other.detach()) for own, other in zip(features[:-1], real[:-1], strict=True)]).sum()


def build(train: Mapping[str, Any]) -> Pix2PixHD:
    """The method from an entry's `train` block (`network`, `discriminator`, `loss`, `range`, `initialisation`)."""
    generator = nn.Sequential(construct(ResidualGenerator, train, "network", affine=False, rectified=False), nn.Tanh())
    dims = train["network"]["spatial_dims"]
    discriminator = construct(MultiScaleDiscriminator, train, "discriminator", spatial_dims=dims, in_channels=2)
    for network in (generator, discriminator):
        initialise(network, train.get("initialisation"))
    return construct(_assemble, train, "loss", generator=generator, discriminator=discriminator, image_range=train["range"])


def _assemble(generator: nn.Module, discriminator: nn.Module, image_range: Sequence[float], matching: float) -> Pix2PixHD:
    return Pix2PixHD(generator, discriminator, matching, image_range)

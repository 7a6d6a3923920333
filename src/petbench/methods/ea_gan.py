"""Ea-GAN: a conditional GAN whose generator (gEa), or generator and discriminator (dEa), look at edges (Yu et al., TMI 2019)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from petbench.methods.adversarial import Adversarial
from petbench.methods.base import Batch, Progress, l1, need
from petbench.methods.build import construct
from petbench.networks.blocks import initialise
from petbench.networks.edges import sobel_magnitude
from petbench.networks.patchgan import PatchDiscriminator
from petbench.networks.pix2pix_unet import Pix2PixUNet
from petbench.networks.span import Span

GAIN = 8.0
"""Edge strength by the authors' Sobel kernels, a quarter of whole numbers, of a slope of 1 a voxel."""


def edge_map(image: Tensor) -> Tensor:
    """Edges of an image (B, C, *spatial) that fills [-1, 1], in [-1, 1] as well: flat is -1, and what is steep saturates."""
    return 2 * torch.tanh(GAIN * sobel_magnitude(image)) - 1


class EaGAN(Adversarial):
    """The adversarial loss with an L1 term on the image and one on its edges, whose weight rises from 0.

    Networks and losses see images that a linear map takes to [-1, 1], where the generator's tangent ends.

    Args:
        generator: Maps the modalities (B, M, *spatial) to an image between -1 and 1, (B, 1, *spatial).
        discriminator: Maps the modalities, an image and, where it sees them, its edges to logits.
        modalities: Images that both networks see, in order: `low_dose`, `mr`.
        range: Scaled PET, low and high, that is mapped to [-1, 1]; nothing above or below can be restored.
        edges_judged: Whether the discriminator sees edges (dEa).
        edge_ramp: Share of the training in which the weight of `edge` rises to its own.
        pool: Images that the image pool holds.
        objective: `bce` or `lsgan`.
        weights: Weight of `adversarial`, `l1` and `edge`.

    Raises:
        InputError: `range` does not ascend.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        modalities: Sequence[str],
        range: Sequence[float],
        edges_judged: bool,
        edge_ramp: float,
        pool: int,
        objective: str,
        weights: Mapping[str, float],
    ):
        super().__init__(generator, discriminator, pool, objective, weights)
        self.modalities = tuple(modalities)
        self.span = Span(range, "train/range")
        self.edges_judged, self.edge_ramp = edges_judged, edge_ramp

    def weight(self, name: str, progress: Progress) -> float:
        """The configured weight; that of `edge` rises to it linearly."""
        rising = name == "edge" and progress.share < self.edge_ramp
        return self.loss_weights[name] * (progress.share / self.edge_ramp if rising else 1.0)

    def terms(self, restored: Tensor, batch: Batch) -> dict[str, Callable[[], Tensor]]:
        """`l1` and `edge`, of images in [-1, 1]."""
        ours, theirs = self.span.encode(restored), self.span.encode(batch["standard_dose"])
        return {"l1": lambda: l1(ours, theirs), "edge": lambda: l1(edge_map(ours), edge_map(theirs))}

    def beside(self, batch: Batch) -> Tensor:
        """The modalities, which the generator sees, too."""
        return self._seen(batch.get("low_dose"), batch.get("mr"))

    def judged(self, image: Tensor, beside: Tensor | None) -> Tensor:
        """The modalities, the image and, where the discriminator sees them, its edges."""
        assert beside is not None
        encoded = self.span.encode(image)
        return torch.cat([beside, encoded, edge_map(encoded)] if self.edges_judged else [beside, encoded], dim=1)

    def generate(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """The restored PET (B, 1, *spatial), with gradients; of the images, those that are no modality are not looked at.

        Raises:
            InputError: a modality is missing, or a side is not divisible by the network's factor.
        """
        return self.span.decode(self.generator(self._seen(low_dose, mr)))

    def _seen(self, low_dose: Tensor | None, mr: Tensor | None) -> Tensor:
        """The modalities as the networks see them, (B, M, *spatial)."""
        seen = {"low_dose": lambda: self.span.encode(need(low_dose, "low_dose")), "mr": lambda: 2 * need(mr, "mr") - 1}
        return torch.cat([seen[name]() for name in self.modalities], dim=1)


def build(train: Mapping[str, Any]) -> EaGAN:
    """The method from an entry's `train` block (`modalities`, `range`, `network`, `discriminator`, `loss`, `image_pool`,
    `initialisation`)."""
    seen = len(train["modalities"])
    edges_judged = train["discriminator"]["edges"]
    spatial_dims = train["network"]["spatial_dims"]
    generator = construct(Pix2PixUNet, train, "network", in_channels=seen)
    discriminator = construct(_discriminator, train, "discriminator", spatial_dims=spatial_dims, images=seen + 1)
    for network in (generator, discriminator):
        initialise(network, train.get("initialisation"))
    given = {"modalities": train["modalities"], "range": train["range"], "edges_judged": edges_judged, "pool": train["image_pool"]}
    return construct(_assemble, train, "loss", generator=generator, discriminator=discriminator, **given)


def _discriminator(spatial_dims: int, images: int, edges: bool, channels: int, layers: int, normalisation: str) -> PatchDiscriminator:
    return PatchDiscriminator(spatial_dims, images + edges, channels, layers, normalisation)


def _assemble(
    generator: nn.Module,
    discriminator: nn.Module,
    modalities: Sequence[str],
    range: Sequence[float],
    edges_judged: bool,
    pool: int,
    objective: str,
    adversarial: float,
    l1: float,
    edge: float,
    edge_ramp: float,
) -> EaGAN:
    weights = {"adversarial": adversarial, "l1": l1, "edge": edge}
    return EaGAN(generator, discriminator, modalities, range, edges_judged, edge_ramp, pool, objective, weights)

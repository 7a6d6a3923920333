"""CDM: a coarse image and its refinement by diffusion, with auxiliary guidance and contrast (Han et al., MICCAI 2023)."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.methods.base import MORE_INPUTS, Batch, Progress, Step, l1, need
from petbench.methods.build import construct
from petbench.methods.diffusion import Diffusion, Process
from petbench.networks.guided_unet import Guide, GuidedUNet, start_orthogonal

EPSILON = 1e-8
"""Added to Fourier coefficients before their logarithm is taken."""


class Condition(NamedTuple):
    """What the denoiser needs beside the noisy residual: low dose and coarse image (B, 1, *spatial), and two guides for each halving."""

    low_dose: Tensor
    coarse: Tensor
    guides: list[tuple[Tensor, Tensor]]


def spectrum(images: Tensor) -> Tensor:
    """Logarithm of the Fourier magnitude of slices (B, C, *spatial), the zero frequency in the middle, each filling [0, 1].

    That of a slice without structure is 0.
    """
    magnitude = (torch.fft.fftshift(torch.fft.fft2(images.float()), dim=(-2, -1)) + EPSILON).abs().log()
    low, high = magnitude.amin(dim=(-2, -1), keepdim=True), magnitude.amax(dim=(-2, -1), keepdim=True)
    filled: Tensor = (magnitude - low) / torch.where(high > low, high - low, 1)
    return filled


def divergence(images: Tensor, estimates: Tensor, floor: float) -> Tensor:
    """Kullback-Leibler divergence p log(p / q) of estimates q from images p, as if voxels were probabilities: means over each image, (B,).

    Args:
        images: (B, C, *spatial), of which each channel is held against the estimate.
        estimates: (B, 1, *spatial).
        floor: Least value of a voxel.
    """
    p, q = images.float().clamp(min=floor), estimates.float().clamp(min=floor)
    return (p * (p.log() - q.log())).flatten(1).mean(1)


class CDM(Diffusion):
    """A network makes a coarse image, and another draws what it lacks; both see the low dose and what guides make of more of it.

    The process is that of the residual, standard dose less coarse image, and the network is told its noise level, the square root of alpha
    bar, in place of a step, so that a sampler may have a schedule of its own.

    Args:
        process: The forward process of residuals.
        coarse: Maps low dose and guides to the coarse image.
        denoiser: Maps low dose and noisy residual, guides and noise levels to the noise.
        neighbours: Guides made of neighbouring slices, one for each halving of the grid, fine to coarse.
        spectra: The same, made of the low dose's spectrum.
        coarse_weight: Weight of the coarse image's mean absolute error; as published it has no loss but its residual's noise.
        auxiliary: Weight of the divergence of the estimated image from the standard dose, which falls by half with the noise.
        contrast: Weight of that from other people's slices, which is maximised and doubles with the noise; 0 leaves it out.
        floor: Least value of a voxel in both.
    """

    follows_level = False  # the coarse image ends in a normalised head, as published
    told_levels = True

    def __init__(
        self,
        process: Process,
        coarse: nn.Module,
        denoiser: nn.Module,
        neighbours: Sequence[Guide],
        spectra: Sequence[Guide],
        coarse_weight: float,
        auxiliary: float,
        contrast: float,
        floor: float,
    ):
        super().__init__(process)
        self.coarse, self.denoiser = coarse, denoiser
        self.neighbours, self.spectra = nn.ModuleList(neighbours), nn.ModuleList(spectra)
        self.coarse_weight, self.auxiliary, self.contrast, self.floor = coarse_weight, auxiliary, contrast, floor

    def condition(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Condition:
        """The coarse image and what guides see; MR is not looked at.

        Raises:
            InputError: the low dose or its neighbouring slices are missing, or a side is not divisible by 2 ** (levels - 1).
        """
        own = need(low_dose, "low_dose")
        beside, spectral = need(more.get("neighbours"), "neighbours"), spectrum(own)
        guides = [(one(beside), other(spectral)) for one, other in zip(self.neighbours, self.spectra, strict=True)]
        return Condition(own, self.coarse(own, guides), guides)

    def predict(self, noisy: Tensor, time: Tensor, condition: Condition) -> Tensor:
        """The noise in residuals at noise levels (B,)."""
        output: Tensor = self.denoiser(torch.cat([condition.low_dose, noisy], dim=1), condition.guides, time)
        return output

    def finished(self, image: Tensor, condition: Condition) -> Tensor:
        """Coarse image and residual; what falls below zero is zero."""
        return (condition.coarse + image).clamp(min=0)

    def losses(self, batch: Batch, progress: Progress) -> Iterator[Step]:
        """One step: errors of the noise and of the guides, and both divergences of the estimated image."""
        standard_dose = batch["standard_dose"]
        condition = self.condition(batch["low_dose"], None, neighbours=batch["neighbours"])
        residual = self.process.encode(standard_dose - condition.coarse.float())
        time = torch.randint(self.process.timesteps, (len(residual),))
        clearer, noisier = self.process.share(time - 1).sqrt(), self.process.share(time).sqrt()
        levels = torch.lerp(clearer, noisier, torch.rand_like(clearer)).to(residual.device, torch.float32)
        noise, level = torch.randn_like(residual), levels[:, None, None, None]
        spread = (1 - level.square()).sqrt()
        noisy = level * residual + spread * noise
        predicted = self.predict(noisy, levels, condition).float()
        estimate = condition.coarse.float() + self.process.decode((noisy - spread * predicted) / level)
        passed = time.to(residual.device) / self.process.timesteps
        terms = {"noise": l1(predicted, noise), "guides": self._guide_errors(batch, condition)}
        if self.coarse_weight:
            terms["coarse"] = self.coarse_weight * l1(condition.coarse, standard_dose)
        terms["auxiliary"] = self.auxiliary * ((2 - passed) * (passed > 0) * divergence(standard_dose, estimate, self.floor)).mean()
        if self.contrast:
            apart = divergence(batch["negatives"], estimate, self.floor)
            terms["contrast"] = -self.contrast * ((1 + passed) * (passed > 0) * apart).mean()
        yield Step("restorer", torch.stack(list(terms.values())).sum(), {name: term.detach() for name, term in terms.items()})

    def _guide_errors(self, batch: Batch, condition: Condition) -> Tensor:
        """Errors of all guides, added up."""
        better = (batch["standard_dose_neighbours"], spectrum(batch["standard_dose"]))
        return torch.stack(
            [
                cast(Guide, guide).error(features[which], better[which])
                for which, guides in enumerate((self.neighbours, self.spectra))
                for guide, features in zip(guides, condition.guides, strict=True)
            ]
        ).sum()


def build(train: Mapping[str, Any]) -> CDM:
    """The method from an entry's `train` block (`diffusion`, `network`, `loss`).

    Raises:
        InputError: the loss has a contrast and nothing to contrast with.
    """
    if train["loss"].get("contrast") and "negatives" not in train.get("supervision", ()):
        raise InputError("train/supervision: contrast needs negatives; add them there, or give train/loss/contrast a weight of 0.")
    networks = construct(_networks, train, "network")
    return construct(_assemble, train, "loss", process=construct(Process, train, "diffusion"), **networks)


def _assemble(
    process: Process,
    coarse_network: GuidedUNet,
    denoiser: GuidedUNet,
    neighbours: Sequence[Guide],
    spectra: Sequence[Guide],
    coarse: float,
    auxiliary: float,
    contrast: float,
    floor: float,
) -> CDM:
    return CDM(process, coarse_network, denoiser, neighbours, spectra, coarse, auxiliary, contrast, floor)


def _networks(coarse: int, denoiser: int, multipliers: Sequence[int], blocks: int, head: str, guide: Mapping[str, Any]) -> dict[str, Any]:
    halvings = range(1, len(multipliers))
    features = guide["width"] * guide["multipliers"][-1]

    def unet(in_channels: int, width: int, levelled: bool) -> GuidedUNet:
        return GuidedUNet(in_channels, width, multipliers, blocks, features, head, levelled)

    def guides(in_channels: int) -> list[Guide]:
        return [Guide(in_channels, halving, **guide) for halving in halvings]

    networks = {"coarse_network": unet(1, coarse, False), "denoiser": unet(2, denoiser, True)}
    made = {"neighbours": guides(MORE_INPUTS["neighbours"].channels), "spectra": guides(1)}
    for network in (*networks.values(), *made["neighbours"], *made["spectra"]):
        start_orthogonal(network)
    return {**networks, **made}

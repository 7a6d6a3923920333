"""EDM (Karras et al., NeurIPS 2022): diffusion over a continuous noise level, beside the process in steps of `petbench.methods.diffusion`.

What is drawn is the residual, the standard dose minus the low dose (CSRD, Yoon et al. 2024). An image of the process is that residual plus
noise of a standard deviation sigma; sigma falls from `sigma_max` of a sampler to 0.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from petbench.methods.base import Batch, Progress, Step, more_inputs, need
from petbench.methods.diffusion import Sampled, Sampler


@dataclass(frozen=True)
class NoiseLevels:
    """How images are made noisy for training, and how a network sees them: an entry's `train/edm`.

    Attributes:
        sigma_data: Standard deviation that an image of the process is taken to have.
        p_mean: Mean of the logarithm of sigma in training, which is normal.
        p_std: Its standard deviation.
        scale: What residuals, in scaled PET, are multiplied by to be images of the process.
    """

    sigma_data: float
    p_mean: float
    p_std: float
    scale: float

    def draw(self, count: int) -> Tensor:
        """Noise levels for training, (count,), on the CPU."""
        return torch.exp(self.p_mean + self.p_std * torch.randn(count))

    def skip(self, sigma: Tensor) -> Tensor:
        """Share of the noisy image in the estimated clean one (Karras et al., table 1)."""
        return self.sigma_data**2 / (sigma**2 + self.sigma_data**2)

    def out(self, sigma: Tensor) -> Tensor:
        """Factor on the network's output: what is left to say then has a variance of 1 at every level."""
        return sigma * self.sigma_data / (sigma**2 + self.sigma_data**2).sqrt()

    def into(self, sigma: Tensor) -> Tensor:
        """Factor on the noisy image that the network sees, to a variance of 1."""
        return 1 / (sigma**2 + self.sigma_data**2).sqrt()

    def weight(self, sigma: Tensor) -> Tensor:
        """Weight of a squared error: as an error of the network's output it then counts the same at every level."""
        return 1 / self.out(sigma) ** 2


def noise_levels(sampler: Sampler) -> list[float]:
    """The levels that a sampler goes through, falling, and 0 (Karras et al., eq. 5); of one step, the highest and 0."""
    high, low = sampler.sigma_max ** (1 / sampler.rho), sampler.sigma_min ** (1 / sampler.rho)
    shares = [number / (sampler.steps - 1) for number in range(sampler.steps)] if sampler.steps > 1 else [0.0]
    return [*((high + share * (low - high)) ** sampler.rho for share in shares), 0.0]


class EDM(Sampled):
    """A method that draws the residual by following the flow from noise; its network estimates it at every noise level.

    A method gives `predict`, and `condition` where something is computed once an image. Restoring takes a sampler, `euler` or `heun`: the
    noise is drawn once, at the start.
    """

    samplers = ("heun", "euler")

    def __init__(self, levels: NoiseLevels):
        super().__init__()
        self.levels = levels

    def predict(self, seen: Tensor, noise: Tensor, condition: Any) -> Tensor:
        """The network's output (B, 1, *spatial) of noisy images scaled to a variance of 1 and noise labels (B,), ln(sigma) / 4."""
        raise NotImplementedError

    def denoise(self, noisy: Tensor, sigma: Tensor, condition: Any) -> Tensor:
        """The clean image (B, 1, *spatial) estimated of a noisy one at levels (B,) (Karras et al., eq. 7), in its floats."""
        level = sigma.to(noisy.device, noisy.dtype).reshape(-1, *[1] * (noisy.ndim - 1))
        seen = (self.levels.into(level) * noisy).float()
        output = self.predict(seen, level.flatten().log().float() / 4, condition)
        return self.levels.skip(level) * noisy + self.levels.out(level) * output.to(noisy.dtype)

    def losses(self, batch: Batch, progress: Progress) -> Iterator[Step]:
        """One step: the weighted squared error of the estimate, each image at a noise level of its own (Karras et al., eq. 8)."""
        clean = self.levels.scale * (batch["standard_dose"] - need(batch.get("low_dose"), "low_dose"))
        sigma = self.levels.draw(len(clean)).to(clean.device)
        condition = self.condition(batch.get("low_dose"), batch.get("mr"), **more_inputs(batch))
        spread = sigma.reshape(-1, *[1] * (clean.ndim - 1))
        squared = (self.denoise(clean + spread * torch.randn_like(clean), sigma, condition) - clean).square()
        yield Step("restorer", (self.levels.weight(spread) * squared).mean(), {"mse": squared.mean().detach()})

    @torch.no_grad()
    def sample(
        self, low_dose: Tensor | None, mr: Tensor | None, sampler: Sampler, generators: Sequence[torch.Generator], **more: Tensor
    ) -> Tensor:
        """See `Sampled.sample`: the flow from noise to the residual, by Euler or Heun (Karras et al., algorithm 1), in 64-bit floats."""
        pet = need(low_dose, "low_dose")
        condition = self.condition(low_dose, mr, **more)
        levels = noise_levels(sampler)
        noisy = levels[0] * self.start(pet, generators).double()

        def slope(at: Tensor, level: float) -> Tensor:
            return (at - self.denoise(at, torch.full((len(at),), level, dtype=at.dtype, device=at.device), condition)) / level

        for now, then in pairwise(levels):
            falls = slope(noisy, now)
            ahead = noisy + (then - now) * falls
            if sampler.name == "heun" and then > 0:
                ahead = noisy + (then - now) * (falls + slope(ahead, then)) / 2
            noisy = ahead
        return pet + noisy.to(pet.dtype) / self.levels.scale

    @torch.no_grad()
    def evaluate(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """See `Sampled.evaluate`."""
        like = need(low_dose, "low_dose")
        return self.denoise(torch.zeros_like(like), torch.ones(len(like), device=like.device), self.condition(low_dose, mr, **more))

    def scan_sampler(self, evaluations: int | None) -> Sampler:
        """Heun's steps: of 50 evaluations, or as many as are asked for at most."""
        return Sampler("heun", ((evaluations or 50) + 1) // 2, seed=0)

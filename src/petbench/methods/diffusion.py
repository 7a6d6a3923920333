"""What diffusion methods share: the forward process, what their networks say about it, and the samplers that undo it.

A step of the process has a number t, 0 for the least noise; -1 stands for the clean image. Images of the process are scaled PET whose
`range` is mapped to [-1, 1]. `petbench.methods.edm` has diffusion over a continuous noise level; `Sampled` is what both share.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from petbench.errors import InputError
from petbench.methods.base import Batch, Progress, Restorer, Step, more_inputs
from petbench.networks.span import Span

VARIANCES = ("fixed_small", "fixed_large", "learned")
PREDICTIONS = ("x0", "epsilon")


def linear_betas(timesteps: int, betas: Sequence[float]) -> Tensor:
    """Variances of DDPM (Ho et al. 2020): evenly spaced between two values, (timesteps,) in double precision."""
    first, last = betas
    return torch.linspace(first, last, timesteps, dtype=torch.float64)


def cosine_betas(timesteps: int, offset: float) -> Tensor:
    """Variances for which alpha bar falls as a squared cosine (Nichol & Dhariwal 2021, eq. 17), at most 0.999."""
    times = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    alpha_bar = torch.cos((times + offset) / (1 + offset) * math.pi / 2) ** 2
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999)


SCHEDULES: dict[str, Callable[..., Tensor]] = {"linear": linear_betas, "cosine": cosine_betas}


@dataclass(frozen=True)
class Sampler:
    """How an image is drawn: an entry's `restore/sampler`.

    Attributes:
        name: `ancestral` (DDPM) or `ddim`, over the steps of a `Process`; or `heun` or `euler` over the noise levels of EDM.
        steps: Steps taken, evenly spaced over the process; each one evaluation of the network, of `heun` two but for the last.
        seed: Seed of the noise.
        eta: Of DDIM: 0 draws nothing after the start, 1 as much as ancestral sampling with the small variance.
        clip: Bounds of the estimated clean image at every step, in scaled PET, or none. Targets above 1 exist: leave headroom.
        schedule: Of methods that are told the noise level: the schedule (see `Process`) of a process of as many steps, which is undone in
            place of the one that the method was trained on; none for that one.
        chain: Of methods with two heads: every step goes on from the mean of both (`mean`), or from the PET head's estimate alone
            (`pet`), so that they are averaged in the last step only, as M2Diff's authors do.
        sigma_min: Of EDM: the lowest noise level, from which a step leads to the clean image.
        sigma_max: Of EDM: the highest, that of the noise which is drawn.
        rho: Of EDM: the higher, the more of the levels are low.
    """

    name: str
    steps: int
    seed: int
    eta: float = 0.0
    clip: Sequence[float] | None = None
    schedule: Mapping[str, Any] | None = None
    chain: str = "mean"
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    @property
    def evaluations(self) -> int:
        """Evaluations of the network for one window."""
        return 2 * self.steps - 1 if self.name == "heun" else self.steps

    @property
    def label(self) -> str:
        """Name for tables."""
        names = {"ddim": f"DDIM, eta {self.eta:g}", "heun": "Heun", "euler": "Euler"}
        name = names.get(self.name, self.name)
        return f"{name}, chain of the PET head" if self.chain == "pet" else name


class Noised(NamedTuple):
    """Training images of the process: clean, the noise added (B, 1, *spatial), their sum, and the steps (B,) on the CPU."""

    clean: Tensor
    noise: Tensor
    noisy: Tensor
    time: Tensor


@dataclass(frozen=True)
class Process:
    """The forward process q and what a network predicts of it: an entry's `train/diffusion`.

    Coefficients are in double precision on the CPU; they follow from the entry and are no part of the weights.

    Attributes:
        timesteps: Steps T of the whole process.
        schedule: Its `name` (`linear`, `cosine`) and the arguments of `linear_betas` or `cosine_betas`.
        prediction: `x0`, the clean image, or `epsilon`, the noise.
        variance: Of the reverse process: that of the posterior (`fixed_small`), beta (`fixed_large`), or between both as a second
            output of the network says (`learned`).
        vlb_weight: Weight of the variational bound that trains a learned variance; without one there is no bound.
        range: Scaled PET, low and high, that is mapped linearly to [-1, 1]; nothing is clipped. The narrower it is, the weaker the
            noise against the images.

    Raises:
        InputError: `range` does not ascend, or nothing would train a learned variance.
    """

    timesteps: int
    schedule: Mapping[str, Any]
    prediction: str
    variance: str
    vlb_weight: float
    range: Sequence[float]

    def __post_init__(self) -> None:
        assert self.span.low < self.span.high  # made here, so that bounds that do not ascend are refused at once
        if self.variance == "learned" and self.vlb_weight == 0:
            raise InputError("train/diffusion/vlb_weight: 0 leaves the learned variance untrained; give a weight, or a fixed variance.")

    @cached_property
    def span(self) -> Span:
        """The map of scaled PET to images of the process."""
        return Span(self.range, "train/diffusion/range")

    @cached_property
    def alpha_bar(self) -> Tensor:
        """Share of the clean image's variance at each step, (T,)."""
        arguments = {key: value for key, value in self.schedule.items() if key != "name"}
        return torch.cumprod(1 - SCHEDULES[self.schedule["name"]](self.timesteps, **arguments), dim=0)

    @property
    def channels(self) -> int:
        """Outputs of a network for one image: its prediction and, where learned, the variance."""
        return 2 if self.variance == "learned" else 1

    def encode(self, pet: Tensor) -> Tensor:
        """Scaled PET as an image of the process."""
        return self.span.encode(pet)

    def decode(self, image: Tensor) -> Tensor:
        """The inverse of `encode`."""
        return self.span.decode(image)

    def share(self, time: Tensor) -> Tensor:
        """Alpha bar at steps (B,) on the CPU, 1 where a step is -1."""
        return torch.cat([self.alpha_bar, torch.ones(1, dtype=torch.float64)])[time]

    def diffuse(self, clean: Tensor, time: Tensor, noise: Tensor) -> Tensor:
        """Draw from q(x_t | x_0): sqrt(alpha bar) x_0 + sqrt(1 - alpha bar) noise."""
        share = self.share(time)
        return _spread(share.sqrt(), clean) * clean + _spread((1 - share).sqrt(), clean) * noise

    def posterior(self, time: Tensor, earlier: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q(x_s | x_t, x_0) for steps s = `earlier` before t = `time`, both (B,), not necessarily neighbours.

        Returns:
            Factors of x_0 and of x_t in the mean, and the variance, (B,) each.
        """
        now, then = self.share(time), self.share(earlier)
        beta = 1 - now / then
        return then.sqrt() * beta / (1 - now), (now / then).sqrt() * (1 - then) / (1 - now), beta * (1 - then) / (1 - now)

    def log_variances(self, time: Tensor, earlier: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of the least and largest variance of the reverse step, (B,) each: the posterior's, and beta.

        The step to the clean image has a posterior without variance; the least is then that of the step before it.
        """
        small = torch.where(earlier < 0, self.posterior(time.clamp(min=1), torch.zeros_like(time))[2], self.posterior(time, earlier)[2])
        return small.log(), (1 - self.share(time) / self.share(earlier)).log()

    def noised(self, pet: Tensor) -> Noised:
        """Noisy images for training from scaled PET (B, 1, *spatial), each at a random step."""
        clean = self.encode(pet)
        time, noise = torch.randint(self.timesteps, (len(clean),)), torch.randn_like(clean)
        return Noised(clean, noise, self.diffuse(clean, time, noise), time)

    def clean(self, output: Tensor, noisy: Tensor, time: Tensor) -> Tensor:
        """The clean image that a network's output (B, channels, *spatial) stands for."""
        prediction = output[:, :1].float()
        if self.prediction == "x0":
            return prediction
        share = self.share(time)
        return (noisy - _spread((1 - share).sqrt(), noisy) * prediction) / _spread(share.sqrt(), noisy)

    def errors(self, output: Tensor, noised: Noised) -> tuple[Tensor, Tensor | None]:
        """Squared error of a network's prediction and the variational bound, means over each image, (B,).

        The bound (bits a voxel, times T, so that it estimates the sum over steps) trains the variance only (Nichol & Dhariwal 2021,
        section 3.1); there is none where the variance is fixed.
        """
        target = noised.clean if self.prediction == "x0" else noised.noise
        squared = (output[:, :1].float() - target).square().flatten(1).mean(1)
        return squared, self._bound(output, noised) if self.variance == "learned" else None

    def _bound(self, output: Tensor, noised: Noised) -> Tensor:
        """Divergence of the predicted reverse step from the posterior; for the step to the clean image its negative log likelihood."""
        time = noised.time
        like = noised.clean
        of_clean = _spread(self.posterior(time, time - 1)[0], like)
        small, large = (_spread(bound, like) for bound in self.log_variances(time, time - 1))
        difference = of_clean * (noised.clean - self.clean(output.detach(), noised.noisy, noised.time))
        log_variance = _between(small, large, output)
        divergence = 0.5 * (log_variance - small + (small - log_variance).exp() - 1 + difference.square() * (-log_variance).exp())
        likelihood = 0.5 * (math.log(2 * math.pi) + log_variance + difference.square() * (-log_variance).exp())
        first = _spread(time == 0, like).bool()
        return self.timesteps * torch.where(first, likelihood, divergence).flatten(1).mean(1) / math.log(2)

    def steps(self, count: int) -> Iterator[tuple[int, int]]:
        """The steps that a sampler takes, as pairs t and s < t: `count` of them, evenly spaced from T - 1, the last to -1.

        Raises:
            InputError: there are more than T.
        """
        if count > self.timesteps:
            raise InputError(
                f"restore/sampler/steps: {count} exceed the {self.timesteps} that the method was trained with"
                " (train/diffusion/timesteps); take fewer."
            )
        kept = np.linspace(self.timesteps - 1, 0, count).round().astype(int).tolist()
        yield from zip(kept, [*kept[1:], -1], strict=True)

    def reverse(self, output: Tensor, noisy: Tensor, time: int, earlier: int, sampler: Sampler, draw: Callable[[], Tensor]) -> Tensor:
        """One step of a sampler, from x_t to x_s, given the network's output for x_t; `draw` gives standard noise where it is needed."""
        at, to = torch.tensor([time]), torch.tensor([earlier])
        clean = self.clean(output, noisy, at)
        if sampler.clip is not None:
            low, high = (float(self.encode(torch.tensor(bound))) for bound in sampler.clip)
            clean = clean.clamp(low, high)
        of_clean, of_noisy, variance = (float(value) for value in self.posterior(at, to))
        if sampler.name == "ddim":
            now, then, drawn = float(self.share(at)), float(self.share(to)), sampler.eta**2 * variance
            noise = (noisy - math.sqrt(now) * clean) / math.sqrt(1 - now)
            mean = math.sqrt(then) * clean + math.sqrt(max(0.0, 1 - then - drawn)) * noise
            return mean + math.sqrt(drawn) * draw() if drawn else mean
        mean = of_clean * clean + of_noisy * noisy
        if earlier < 0:
            return mean
        small, large = (_spread(bound, noisy) for bound in self.log_variances(at, to))
        if self.variance == "learned":
            return mean + (0.5 * _between(small, large, output)).exp() * draw()
        return mean + (0.5 * (small if self.variance == "fixed_small" else large)).exp() * draw()


def _spread(values: Tensor, like: Tensor) -> Tensor:
    """Values (B,) to multiply images (B, C, *spatial), of their kind and on their device."""
    return values.to(like.device, torch.float32).reshape(-1, *[1] * (like.ndim - 1))


def _between(small: Tensor, large: Tensor, output: Tensor) -> Tensor:
    """Log variance that the second output, -1 to 1, says between two bounds (Nichol & Dhariwal 2021, eq. 15)."""
    fraction = (output[:, 1:2].float() + 1) / 2
    return fraction * large + (1 - fraction) * small


class Sampled(Restorer):
    """A method whose image is drawn from noise: it restores by `sample`, given a sampler, in place of `restore`.

    A method gives `condition`, for what is computed once an image and not once an evaluation of its network.
    """

    samplers: tuple[str, ...]
    """Names of the samplers that draw its images."""

    def condition(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Any:
        """What the network needs beside the noisy image; computed once an image."""
        raise NotImplementedError

    def sample(
        self, low_dose: Tensor | None, mr: Tensor | None, sampler: Sampler, generators: Sequence[torch.Generator], **more: Tensor
    ) -> Tensor:
        """Restore windows (B, 1, *spatial), scaled as in training; the same shape, without gradients.

        Args:
            low_dose: Scaled low-dose PET, or none.
            mr: Scaled MR, or none.
            sampler: How to draw, by one of `samplers`.
            generators: One a window, on the CPU, so that its noise depends neither on the device nor on the other windows.
            more: As `restore` is given it.

        Raises:
            InputError: the sampler does not fit the method, or an image is missing.
        """
        raise NotImplementedError

    def evaluate(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """The condition and one evaluation of the network: what is counted as its cost."""
        raise NotImplementedError

    def scan_sampler(self, evaluations: int | None) -> Sampler:
        """How a lab's own scan is drawn: always the same image.

        Args:
            evaluations: Of the network, at most; a default when left out.
        """
        raise NotImplementedError

    def start(self, like: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Standard noise for windows (B, 1, *spatial), each from its own generator."""
        return torch.stack([torch.randn(like.shape[1:], generator=generator) for generator in generators]).to(like.device)

    def restore(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """Refuse: how to sample is the entry's to say.

        Raises:
            InputError: always.
        """
        raise InputError("restore: this method samples; give its entry restore/sampler.")


class Diffusion(Sampled):
    """A method whose image is drawn step by step from noise; its network says at each what the clean image is.

    A method gives `predict`, and `condition`. `losses` here is that of one network with one output image. A method with `told_levels` is
    told noise levels, square roots of alpha bar, in place of the numbers of steps.
    """

    samplers = ("ancestral", "ddim")
    told_levels: bool = False

    def __init__(self, process: Process):
        super().__init__()
        self.process = process

    def predict(self, noisy: Tensor, time: Tensor, condition: Any) -> Tensor:
        """The network's output (B, `process.channels`, *spatial) for noisy images (B, 1, *spatial) at steps, or noise levels, (B,)."""
        raise NotImplementedError

    def predict_pet(self, noisy: Tensor, time: Tensor, condition: Any) -> Tensor:
        """The output of the PET head alone, of a method that has another beside it: what a sampler's `chain: pet` goes on from.

        Raises:
            InputError: the method has one head.
        """
        raise InputError("restore/sampler/chain: this method has one head; remove it.")

    def finished(self, image: Tensor, condition: Any) -> Tensor:
        """The restored image, from the clean image that was drawn, in scaled PET: itself unless a method draws something else."""
        return image

    def losses(self, batch: Batch, progress: Progress) -> Iterator[Step]:
        """One step: the squared error of the prediction and, with a learned variance, the weighted variational bound."""
        noised = self.process.noised(batch["standard_dose"])
        condition = self.condition(batch["low_dose"], batch.get("mr"), **more_inputs(batch))
        output = self.predict(noised.noisy, noised.time.to(noised.noisy.device), condition)
        squared, bound = self.process.errors(output, noised)
        loss = squared.mean()
        logs = {"mse": loss.detach()}
        if bound is not None:
            loss = loss + self.process.vlb_weight * bound.mean()
            logs["vlb"] = bound.mean().detach()
        yield Step("restorer", loss, logs)

    @torch.no_grad()
    def sample(
        self, low_dose: Tensor | None, mr: Tensor | None, sampler: Sampler, generators: Sequence[torch.Generator], **more: Tensor
    ) -> Tensor:
        """See `Sampled.sample`.

        Raises:
            InputError: the sampler has more steps than the process, chooses among heads where there is one or has a schedule where the
                method is told the number of a step, or an image is missing.
        """
        like = low_dose if low_dose is not None else mr
        assert like is not None

        def draw() -> Tensor:
            return self.start(like, generators)

        process = self._undone(sampler)
        pairs = list(process.steps(sampler.steps))
        condition, noisy = self.condition(low_dose, mr, **more), draw()
        on_the_way = self.predict_pet if sampler.chain == "pet" else self.predict
        for time, earlier in pairs:
            head = self.predict if earlier < 0 else on_the_way
            told = float(process.share(torch.tensor(time)).sqrt()) if self.told_levels else time
            output = head(noisy, torch.full((len(noisy),), told, device=noisy.device), condition)
            noisy = process.reverse(output, noisy, time, earlier, sampler, draw)
        return self.finished(process.decode(noisy), condition)

    def _undone(self, sampler: Sampler) -> Process:
        """The process that a sampler undoes."""
        if sampler.schedule is None:
            return self.process
        if not self.told_levels:
            raise InputError("restore/sampler/schedule: this method is told the number of a step, not its noise; remove it.")
        return replace(self.process, timesteps=sampler.steps, schedule=sampler.schedule)

    @torch.no_grad()
    def evaluate(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """See `Sampled.evaluate`."""
        like = low_dose if low_dose is not None else mr
        assert like is not None
        condition = self.condition(low_dose, mr, **more)
        return self.predict(torch.zeros_like(like), torch.zeros(len(like), dtype=torch.long, device=like.device), condition)

    def scan_sampler(self, evaluations: int | None) -> Sampler:
        """DDIM without further noise: of 50 steps, or as many as it was trained with if fewer, when left out."""
        return Sampler("ddim", min(50, self.process.timesteps) if evaluations is None else evaluations, seed=0)

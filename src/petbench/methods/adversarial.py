"""What methods with a generator and a discriminator share."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.methods.base import Batch, Progress, Restorer, Step, more_inputs, need
from petbench.networks.blocks import full_precision

OBJECTIVES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bce": nn.functional.binary_cross_entropy_with_logits,
    "lsgan": nn.functional.mse_loss,
}


class ImagePool(nn.Module):
    """Remembers earlier fakes, so that the discriminator does not forget them (Shrivastava et al. 2017).

    Its images are buffers and its draws are torch's, so a resumed training continues as if never stopped.

    Args:
        size: Images held; 0 passes every image through.
    """

    images: Tensor

    def __init__(self, size: int):
        super().__init__()
        self.size = size
        self.register_buffer("images", torch.empty(0))

    def forward(self, fakes: Tensor) -> Tensor:
        """Images (B, C, *spatial) to judge: each new one or, with probability 1/2 once the pool is full, an older one it replaces."""
        if self.size == 0:
            return fakes
        if self.images.numel() == 0:
            self.images = fakes[:0]
        judged = []
        for fake in fakes:
            if len(self.images) < self.size:
                self.images = torch.cat([self.images, fake[None]])
            elif torch.rand(()) < 0.5:
                index = int(torch.randint(self.size, ()))
                fake, self.images[index] = self.images[index].clone(), fake
            judged.append(fake)
        return torch.stack(judged)

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        saved = state_dict.get(prefix + "images")
        if saved is not None:  # how many it holds, and how large they are, is known only from what was saved
            self.images = self.images.new_empty(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *rest)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Let gradients flow through a network but not into its parameters."""
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def judge(discriminator: nn.Module, images: Tensor, is_real: bool, objective: str) -> Tensor:
    """How wrong a discriminator is about images (B, C, *spatial) that are real or not, by one of `OBJECTIVES`, in 32-bit floats.

    Early on the gradients of real and restored images all but cancel: eight significant bits would leave rounding.
    """
    with full_precision(images.device):
        logits = discriminator(images.float())
    return OBJECTIVES[objective](logits, torch.full_like(logits, float(is_real)))


def scores(critic: nn.Module, images: Tensor) -> Tensor:
    """A Wasserstein critic's scores (B,) of images (B, C, *spatial), higher where they seem real: means over regions, in 32-bit floats."""
    with full_precision(images.device):
        judged: Tensor = critic(images.float())
    return judged.flatten(1).mean(dim=1)


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """How far the norm of a critic's gradient is from 1, squared, at random places between real and fake images (Gulrajani et al. 2017).

    In 32-bit floats whatever the autocast, as it is a gradient whose own gradient trains the critic; its draws are torch's.

    Args:
        critic: Maps images to scores; it must not normalise over a batch, for the penalty is each image's own.
        real: Images (B, C, *spatial).
        fake: As many, on which the gradient stops.
    """
    with full_precision(real.device):
        real, fake = real.detach().float(), fake.detach().float()
        share = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device)
        between = (share * real + (1 - share) * fake).requires_grad_()
        (gradient,) = torch.autograd.grad(scores(critic, between).sum(), between, create_graph=True)
        penalty: Tensor = (gradient.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty


def criticism(critic: nn.Module, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """What a Wasserstein critic minimises: minus the distance that it finds between real and fake images, and its penalty, unweighted.

    Args:
        critic: Maps images to scores.
        real: Images (B, C, *spatial).
        fake: As many, on which the gradient stops.
    """
    return scores(critic, fake.detach()).mean() - scores(critic, real).mean(), gradient_penalty(critic, real, fake)


class Adversarial(Restorer):
    """A generator of standard-dose PET against a discriminator that sees it, or the real one, beside the image that `condition` names.

    The generator maximises log D of its pair, the usual non-saturating form of MAK-GAN's eq. 11. A method gives `terms`, and says what its
    generator sees (`generate`) where that is not the low dose and MR. Without a weight for the adversarial loss there is no discriminator.

    Args:
        generator: What `generate` calls.
        discriminator: Maps a pair (B, 2, *spatial), or an image where there is no condition, to logits.
        pool: Images that the image pool holds.
        objective: `bce` or `lsgan` (least squares).
        weights: Weight of the loss `adversarial` and of each of `terms`, by name; what has weight 0 is not computed.

    Raises:
        InputError: the objective is unknown, or all weights are 0.
    """

    transient = ("pool",)
    condition: Literal["low_dose", "mr"] | None = "low_dose"

    def __init__(self, generator: nn.Module, discriminator: nn.Module, pool: int, objective: str, weights: Mapping[str, float]):
        super().__init__()
        if objective not in OBJECTIVES:
            raise InputError(f"train/loss/objective: {objective!r} is unknown; choose one of {', '.join(OBJECTIVES)}.")
        if not any(weights.values()):
            raise InputError(f"train/loss: the weights {', '.join(weights)} are all 0; give one a weight.")
        self.generator = generator
        self.discriminator = discriminator if weights["adversarial"] else None
        self.pool = ImagePool(pool)
        self.objective = objective
        self.loss_weights = dict(weights)

    def terms(self, restored: Tensor, batch: Batch) -> dict[str, Callable[[], Tensor]]:
        """What computes each of the generator's losses beside the adversarial one, unweighted, by its key in `train.loss`."""
        raise NotImplementedError

    def weight(self, name: str, progress: Progress) -> float:
        """Weight of a loss at a step, for what rises or begins late; the configured one throughout unless a method says otherwise."""
        return self.loss_weights[name]

    def real(self, batch: Batch) -> Tensor:
        """What `generate` is to make (B, C, *spatial): the standard dose unless a method says otherwise."""
        return batch["standard_dose"]

    def beside(self, batch: Batch) -> Tensor | None:
        """What the discriminator sees beside an image (B, C, *spatial): what `condition` names unless a method says otherwise."""
        return None if self.condition is None else need(batch.get(self.condition), self.condition)

    def judged(self, image: Tensor, beside: Tensor | None) -> Tensor:
        """What the discriminator sees (B, C, *spatial) of an image, restored or real, and of what stands `beside` it."""
        return image if beside is None else torch.cat([image, beside], dim=1)

    def optimised(self) -> dict[str, Iterable[nn.Parameter]]:
        """Parameters of the optimisers `discriminator`, unless there is none, and `generator`."""
        judge = {} if self.discriminator is None else {"discriminator": self.discriminator.parameters()}
        return {**judge, "generator": self.generator.parameters()}

    def losses(self, batch: Batch, progress: Progress) -> Iterator[Step]:
        """Two steps: the discriminator's, unless there is none, then the generator's against the updated discriminator.

        What has weight 0 at a step is not computed, and while the adversarial loss has none the discriminator does not step.
        """
        restored = self.generate(batch.get("low_dose"), batch.get("mr"), **more_inputs(batch))
        weights = {name: weight for name in self.loss_weights if (weight := self.weight(name, progress))}
        computed: dict[str, Tensor] = {}
        if self.discriminator is not None and "adversarial" in weights:
            beside = self.beside(batch)
            real = judge(self.discriminator, self.judged(self.real(batch), beside), True, self.objective)
            fake = judge(self.discriminator, self.pool(self.judged(restored.detach(), beside)), False, self.objective)
            yield Step("discriminator", real + fake, {"discriminator_real": real.detach(), "discriminator_fake": fake.detach()})
            with frozen(self.discriminator):
                computed["adversarial"] = judge(self.discriminator, self.judged(restored, beside), True, self.objective)

        computed |= {name: term() for name, term in self.terms(restored, batch).items() if name in weights}
        loss = torch.stack([weights[name] * term for name, term in computed.items()]).sum()
        yield Step("generator", loss, {name: term.detach() for name, term in computed.items()})

    @torch.no_grad()
    def restore(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """Restore windows (B, 1, *spatial).

        Raises:
            InputError: PET or MR is missing, or a side is not divisible by the network's factor.
        """
        return self.generate(low_dose, mr, **more)

    def generate(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """The restored PET (B, 1, *spatial), with gradients.

        Raises:
            InputError: an image that the generator needs is missing.
        """
        restored: Tensor = self.generator(need(low_dose, "low_dose"), need(mr, "mr"))
        return restored

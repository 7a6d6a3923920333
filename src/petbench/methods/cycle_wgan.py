"""CycleWGAN: low-dose PET to standard-dose PET and back, with Wasserstein critics and supervision (Zhou et al., MedIA 65, 2020)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from petbench.methods.adversarial import criticism, scores
from petbench.methods.base import Batch, Progress, Step, batch_parts
from petbench.methods.build import construct, twice
from petbench.methods.cycle import Cycle, total
from petbench.networks.critic import Critic
from petbench.networks.residual_generator import ResidualGenerator


class CycleWGAN(Cycle):
    """Generators of the standard dose from the low dose and back, against critics of both.

    Args:
        generators: Low dose to standard dose and back, both (B, 1, *spatial).
        critics: Of the standard dose and of the low dose, each to scores.
        critic_steps: Steps of the critics before one of the generators, each on windows of its own.
        weights: Of the generators' losses `adversarial`, `cycle` and `supervised`, see `Cycle`, and of the critics' `penalty`.

    Raises:
        InputError: the generators' weights are all 0.
    """

    source = "low_dose"
    paired = "supervised"

    def __init__(
        self, generators: tuple[nn.Module, nn.Module], critics: tuple[nn.Module, nn.Module], critic_steps: int, weights: Mapping[str, float]
    ):
        super().__init__(generators, critics, weights)
        self.batches = critic_steps + 1 if self.judges else 1

    def optimised(self) -> dict[str, Iterable[nn.Parameter]]:
        """Parameters of the optimisers `critics`, unless there are none, and `generators`."""
        critics = {"critics": self.judges.parameters()} if self.judges else {}
        return {**critics, "generators": self.of_generators()}

    def losses(self, batch: Batch, progress: Progress) -> Iterator[Step]:
        """Steps of both critics, unless there are none, and one of both generators, each on a part of the batch."""
        *others, own = batch_parts(batch, self.batches)
        for part in others:
            yield self._criticised(part)
        real = self.real(own)
        yield self.generators_step(self.made(real), real)

    def deception(self, judge: nn.Module, made: Tensor) -> Tensor:
        """Minus a critic's mean score of images."""
        return -scores(judge, made).mean()

    def _criticised(self, batch: Batch) -> Step:
        real = self.real(batch)
        with torch.no_grad():
            made = self.made(real)
        found = [criticism(critic, real[kind], made[kind]) for kind, critic in self.judges.items()]
        distance, penalty = map(total, zip(*found, strict=True))
        logs = {"distance": -distance.detach(), "penalty": penalty.detach()}
        return Step("critics", distance + self.loss_weights["penalty"] * penalty, logs)


def build(train: Mapping[str, Any]) -> CycleWGAN:
    """The method from an entry's `train` block (`network`, `critic`, `critic_steps`, `loss`)."""
    generators = twice(ResidualGenerator, train, "network", affine=False, rectified=False)
    if train["network"]["normalisation"] == "none":
        for generator in generators:
            generator.start_unnormalised()
    critics = twice(Critic, train, "critic")
    return construct(_assemble, train, "loss", generators=generators, critics=critics, critic_steps=train["critic_steps"])


def _assemble(
    generators: tuple[nn.Module, nn.Module],
    critics: tuple[nn.Module, nn.Module],
    critic_steps: int,
    adversarial: float,
    cycle: float,
    supervised: float,
    penalty: float,
) -> CycleWGAN:
    weights = {"adversarial": adversarial, "cycle": cycle, "supervised": supervised, "penalty": penalty}
    return CycleWGAN(generators, critics, critic_steps, weights)

"""CycleWGAN: low-dose PET to standard-dose PET and back, with Wasserstein critics and supervision (Zhou et al., MedIA 65, 2020)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.methods.adversarial import criticism, frozen, scores
from petbench.methods.base import Batch, Progress, Restorer, Step, batch_parts, l1, need
from petbench.methods.build import construct
from petbench.networks.critic import Critic
from petbench.networks.residual_generator import ResidualGenerator


class CycleWGAN(Restorer):
    """Two generators, each against a critic of the dose that it makes; restoring takes the one from low to standard dose alone.

    Args:
        generators: Low dose to standard dose and back, both (B, 1, *spatial).
        critics: Of the standard dose and of the low dose, each to scores.
        critic_steps: Steps of the critics before one of the generators, each on windows of its own.
        weights: Of the generators' losses `adversarial`, `cycle` and `supervised`, each summed over both directions, and of the critics'
            `penalty`; what has weight 0 is not computed, and without the first there are no critics.

    Raises:
        InputError: the generators' weights are all 0.
    """

    def __init__(
        self, generators: tuple[nn.Module, nn.Module], critics: tuple[nn.Module, nn.Module], critic_steps: int, weights: Mapping[str, float]
    ):
        super().__init__()
        if not any(weights[name] for name in ("adversarial", "cycle", "supervised")):
            raise InputError("train/loss: adversarial, cycle and supervised are all 0; give one a weight.")
        self.generator, self.low_dose_generator = generators
        names = ("standard_dose", "low_dose") if weights["adversarial"] else ()
        self.critics = nn.ModuleDict(dict(zip(names, critics, strict=False)))
        self.loss_weights = dict(weights)
        self.batches = critic_steps + 1 if names else 1

    def optimised(self) -> dict[str, Iterable[nn.Parameter]]:
        """Parameters of the optimisers `critics`, unless there are none, and `generators`."""
        critics = {"critics": self.critics.parameters()} if self.critics else {}
        return {**critics, "generators": [*self.generator.parameters(), *self.low_dose_generator.parameters()]}

    def losses(self, batch: Batch, progress: Progress) -> Iterator[Step]:
        """Steps of both critics, unless there are none, and one of both generators, each on a part of the batch."""
        *others, own = batch_parts(batch, self.batches)
        for part in others:
            yield self._criticised(part)
        made, real = self._made(own), self._real(own)
        computed: dict[str, Tensor] = {}
        if self.critics:
            with frozen(self.critics):
                computed["adversarial"] = _sum(-scores(critic, made[kind]).mean() for kind, critic in self.critics.items())
        if self.loss_weights["cycle"]:
            back = {"low_dose": self.low_dose_generator(made["standard_dose"]), "standard_dose": self.generator(made["low_dose"])}
            computed["cycle"] = _sum(l1(back[kind], real[kind]) for kind in back)
        if self.loss_weights["supervised"]:
            computed["supervised"] = _sum(l1(made[kind], real[kind]) for kind in made)
        loss = _sum(self.loss_weights[name] * term for name, term in computed.items())
        yield Step("generators", loss, {name: term.detach() for name, term in computed.items()})

    def _criticised(self, batch: Batch) -> Step:
        with torch.no_grad():
            made = self._made(batch)
        real = self._real(batch)
        found = [criticism(critic, real[kind], made[kind]) for kind, critic in self.critics.items()]
        distance, penalty = (_sum(terms) for terms in zip(*found, strict=True))
        logs = {"distance": -distance.detach(), "penalty": penalty.detach()}
        return Step("critics", distance + self.loss_weights["penalty"] * penalty, logs)

    def _real(self, batch: Batch) -> dict[str, Tensor]:
        return {"standard_dose": batch["standard_dose"], "low_dose": need(batch.get("low_dose"), "low_dose")}

    def _made(self, batch: Batch) -> dict[str, Tensor]:
        """Each dose as it is made of the other."""
        real = self._real(batch)
        return {"standard_dose": self.generator(real["low_dose"]), "low_dose": self.low_dose_generator(real["standard_dose"])}

    @torch.no_grad()
    def restore(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """Restore windows (B, 1, *spatial); MR is not looked at.

        Raises:
            InputError: the low dose is missing, or a side cannot be halved as often as the network asks.
        """
        restored: Tensor = self.generator(need(low_dose, "low_dose"))
        return restored


class _Added(nn.Module):
    """Images with what a network makes of them added."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 1, *spatial) in and out."""
        changed: Tensor = images + self.network(images)
        return changed


def _sum(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum()


def build(train: Mapping[str, Any]) -> CycleWGAN:
    """The method from an entry's `train` block (`network`, `critic`, `critic_steps`, `loss`)."""
    networks = [construct(ResidualGenerator, train, "network", affine=False, rectified=False) for _ in range(2)]
    if train["network"]["normalisation"] == "none":
        for network in networks:
            network.start_unnormalised()
    generators = tuple(map(_Added, networks))
    critics = tuple(construct(Critic, train, "critic") for _ in range(2))
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

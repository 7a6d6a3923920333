"""PT-WGAN: slabs against a Wasserstein critic, from a generator trained with squared errors (Gong et al., IEEE TRPMS 2021)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.methods.adversarial import criticism, frozen, scores
from petbench.methods.base import Batch, Progress, Restorer, Step, batch_parts, mse, need
from petbench.methods.build import construct
from petbench.networks.critic import Critic
from petbench.networks.slab_generator import SlabGenerator


class PTWGAN(Restorer):
    """A generator against a critic of standard-dose PET, which steps several times before it does, each time on other windows.

    Args:
        generator: Maps low-dose PET (B, 1, *spatial) to standard-dose PET.
        critic: Maps PET to scores.
        critic_steps: Steps of the critic before one of the generator.
        weights: Of the losses `adversarial` and `mse` of the generator and `penalty` of the critic; without the first there is no critic.

    Raises:
        InputError: the generator's weights are all 0.
    """

    def __init__(self, generator: nn.Module, critic: nn.Module, critic_steps: int, weights: Mapping[str, float]):
        super().__init__()
        if not weights["adversarial"] and not weights["mse"]:
            raise InputError("train/loss: adversarial and mse are both 0; give one a weight.")
        self.generator = generator
        self.critic = critic if weights["adversarial"] else None
        self.loss_weights = dict(weights)
        self.batches = 1 if self.critic is None else critic_steps + 1

    def optimised(self) -> dict[str, Iterable[nn.Parameter]]:
        """Parameters of the optimisers `critic`, unless there is none, and `generator`."""
        critic = {} if self.critic is None else {"critic": self.critic.parameters()}
        return {**critic, "generator": self.generator.parameters()}

    def losses(self, batch: Batch, progress: Progress) -> Iterator[Step]:
        """Steps of the critic, unless there is none, and one of the generator, each on a part of the batch."""
        *others, own = batch_parts(batch, self.batches)
        for part in others:
            assert self.critic is not None
            with torch.no_grad():
                fake = self.generator(need(part.get("low_dose"), "low_dose"))
            distance, penalty = criticism(self.critic, part["standard_dose"], fake)
            yield Step(
                "critic", distance + self.loss_weights["penalty"] * penalty, {"distance": -distance.detach(), "penalty": penalty.detach()}
            )
        restored = self.generator(need(own.get("low_dose"), "low_dose"))
        computed: dict[str, Tensor] = {}
        if self.critic is not None:
            with frozen(self.critic):
                computed["adversarial"] = -scores(self.critic, restored).mean()
        if self.loss_weights["mse"]:
            computed["mse"] = mse(restored, own["standard_dose"])
        loss = torch.stack([self.loss_weights[name] * term for name, term in computed.items()]).sum()
        yield Step("generator", loss, {name: term.detach() for name, term in computed.items()})

    @torch.no_grad()
    def restore(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """Restore windows (B, 1, *spatial); MR is not looked at.

        Raises:
            InputError: the low dose is missing.
        """
        restored: Tensor = self.generator(need(low_dose, "low_dose"))
        return restored


def build(train: Mapping[str, Any]) -> PTWGAN:
    """The method from an entry's `train` block (`network`, `critic`, `critic_steps`, `loss`)."""
    networks = {"generator": construct(SlabGenerator, train, "network"), "critic": construct(Critic, train, "critic")}
    return construct(_assemble, train, "loss", **networks, critic_steps=train["critic_steps"])


def _assemble(generator: nn.Module, critic: nn.Module, critic_steps: int, adversarial: float, mse: float, penalty: float) -> PTWGAN:
    return PTWGAN(generator, critic, critic_steps, {"adversarial": adversarial, "mse": mse, "penalty": penalty})

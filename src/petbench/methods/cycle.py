"""What methods share that learn the way there and back: two generators, each against a judge of what it makes, and a cycle."""

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.methods.adversarial import frozen
from petbench.methods.base import Batch, Restorer, Step, l1, need


class Cycle(Restorer):
    """Two generators, from the image that `source` names to the standard dose and back; restoring takes the first alone.

    A method says what its judges minimise and how a generator deceives one.

    Args:
        generators: Source to standard dose and standard dose to source, both (B, 1, *spatial).
        judges: Of the standard dose and of the source.
        weights: Of the generators' losses `adversarial`, `cycle` and the one that `paired` names, each summed over both directions, and of
            what a method has beside them; what has weight 0 is not computed, and without the first there are no judges.

    Raises:
        InputError: the generators' weights are all 0.
    """

    source: Literal["low_dose", "mr"]
    paired: str

    def __init__(self, generators: tuple[nn.Module, nn.Module], judges: tuple[nn.Module, nn.Module], weights: Mapping[str, float]):
        super().__init__()
        names = ("adversarial", "cycle", self.paired)
        if not any(weights[name] for name in names):
            raise InputError(f"train/loss: the weights {', '.join(names)} are all 0; give one a weight.")
        self.generator, self.inverse = generators
        kinds = ("standard_dose", self.source) if weights["adversarial"] else ()
        self.judges = nn.ModuleDict(dict(zip(kinds, judges, strict=False)))
        self.loss_weights = dict(weights)

    def deception(self, judge: nn.Module, made: Tensor) -> Tensor:
        """What a generator minimises, by a judge that is fixed, of the images (B, 1, *spatial) that it makes."""
        raise NotImplementedError

    def real(self, batch: Batch) -> dict[str, Tensor]:
        """Both images of a batch, by kind."""
        return {"standard_dose": batch["standard_dose"], self.source: need(batch.get(self.source), self.source)}

    def made(self, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Both kinds of image, each as it is made of the other."""
        return {"standard_dose": self.generator(images[self.source]), self.source: self.inverse(images["standard_dose"])}

    def generators_step(self, made: Mapping[str, Tensor], real: Mapping[str, Tensor]) -> Step:
        """A step of both generators against the judges as they are."""
        computed: dict[str, Tensor] = {}
        if self.judges:
            with frozen(self.judges):
                computed["adversarial"] = total(self.deception(judge, made[kind]) for kind, judge in self.judges.items())
        if self.loss_weights["cycle"]:
            computed["cycle"] = _apart(self.made(made), real)
        if self.loss_weights[self.paired]:
            computed[self.paired] = _apart(made, real)
        loss = total(self.loss_weights[name] * term for name, term in computed.items())
        return Step("generators", loss, {name: term.detach() for name, term in computed.items()})

    def of_generators(self) -> list[nn.Parameter]:
        """Parameters of the optimiser `generators`."""
        return [*self.generator.parameters(), *self.inverse.parameters()]

    @torch.no_grad()
    def restore(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """Restore windows (B, 1, *spatial) from the source; nothing else is looked at.

        Raises:
            InputError: the source is missing, or a side cannot be halved as often as the network asks.
        """
        restored: Tensor = self.generator(need({"low_dose": low_dose, "mr": mr}[self.source], self.source))
        return restored


def total(terms: Iterable[Tensor]) -> Tensor:
    """The sum of scalars."""
    return torch.stack(list(terms)).sum()


def _apart(images: Mapping[str, Tensor], real: Mapping[str, Tensor]) -> Tensor:
    return total(l1(images[kind], real[kind]) for kind in real)

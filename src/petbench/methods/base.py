"""What every method is to the training engine and to whoever restores an image."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, NotRequired, TypedDict

import torch
from torch import Tensor, nn

from petbench.errors import InputError


class Batch(TypedDict):
    """Windows of one or several subjects, each (B, 1, *spatial).

    PET is divided by a robust percentile of the subject's low dose, so it is about [0, 1] with values above 1; MR is about [0, 1]. Where
    PET is made of MR alone there is no low dose, and each image fills [0, 1].
    """

    low_dose: NotRequired[Tensor]
    mr: NotRequired[Tensor]
    standard_dose: Tensor


class Step(NamedTuple):
    """What one optimiser minimises now, and detached scalars to log."""

    optimiser: str
    loss: Tensor
    logs: dict[str, Tensor]


class Trained(nn.Module):
    """What the engine trains.

    `transient` names the sub-modules that training needs on resuming but that do not belong to the weights, for they hold images.
    """

    transient: tuple[str, ...] = ()

    def optimised(self) -> dict[str, Iterable[nn.Parameter]]:
        """Parameters by the name of the optimiser, a key of the entry's `train.optimiser`."""
        raise NotImplementedError

    def losses(self, batch: Any) -> Iterator[Step]:
        """Yield one step an optimiser, in order; each is backpropagated and applied before the next is asked for."""
        raise NotImplementedError

    def weights(self) -> dict[str, Tensor]:
        """The state without what is transient: what may leave the machine that trained it."""
        return {name: value for name, value in self.state_dict().items() if not self._is_transient(name)}

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take weights written by `weights`.

        Raises:
            InputError: they are those of another network.
        """
        own = self.weights()
        for name in own.keys() | weights.keys():
            if name not in weights or name not in own:
                where = "the network" if name in own else "the weights"
                raise InputError(f"weights: {name} is only in {where}; use the method entry that they were trained with.")
            if own[name].shape != weights[name].shape:
                sizes = f"{tuple(weights[name].shape)} where the network has {tuple(own[name].shape)}"
                raise InputError(f"weights: {name} is {sizes}; use the method entry that they were trained with.")
        self.load_state_dict(dict(weights), strict=False)

    def _is_transient(self, name: str) -> bool:
        return name.split(".", 1)[0] in self.transient


class Restorer(Trained):
    """Restores standard-dose PET from low-dose PET, MR, or both; its batches are `Batch`.

    `follows_level` says that what it restores is as active as its low dose, which its contract holds it to; a method for which that is
    not so by its own design says so.
    """

    follows_level: bool = True

    def optimised(self) -> dict[str, Iterable[nn.Parameter]]:
        """All parameters under one optimiser, `restorer`, unless a method says otherwise."""
        return {"restorer": self.parameters()}

    def restore(self, low_dose: Tensor | None, mr: Tensor | None) -> Tensor:
        """Restore windows (B, 1, *spatial), scaled as in training; the same shape, without gradients."""
        raise NotImplementedError


def need(image: Tensor | None, name: str) -> Tensor:
    """The image, where the method cannot do without it.

    Raises:
        InputError: there is none.
    """
    if image is None:
        raise InputError(f"inputs: this method needs {name}; add it to the entry's inputs and to the data set.")
    return image


def l1(restored: Tensor, standard_dose: Tensor) -> Tensor:
    """Mean absolute error, in 32-bit floats whatever the autocast."""
    return torch.nn.functional.l1_loss(restored.float(), standard_dose.float())


def mse(restored: Tensor, standard_dose: Tensor) -> Tensor:
    """Mean squared error, in 32-bit floats whatever the autocast."""
    return torch.nn.functional.mse_loss(restored.float(), standard_dose.float())

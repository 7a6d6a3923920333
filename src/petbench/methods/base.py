"""What every method is to the training engine and to whoever restores an image."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, NotRequired, TypedDict, TypeVar, cast

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.physics.plane_scans import PlaneScans

Input = TypeVar("Input", Tensor, PlaneScans)


class Batch(TypedDict):
    """Windows of one or several subjects, each (B, 1, *spatial) unless channels are named.

    PET is divided by a robust percentile of the subject's low dose, so it is about [0, 1] with values above 1; MR is about [0, 1]. Where
    PET is made of MR alone there is no low dose, and each image fills [0, 1]. `context` is what another method restored of the low dose,
    scaled alike; `coordinates`, 3 channels, say where each voxel lies in its volume, from -1 to 1 along x, y and z; `neighbours`, 5, are
    the low dose's slice between those below and above it; `acquisition` holds the scans of slices, or of volumes as stacks of planes. What
    an entry's `train.supervision` names comes too:
    `regions`, whole numbers (B, 1, *spatial), 0 outside; `diagnosis` (B,), 1 for the group that is looked for;
    `standard_dose_neighbours`, 5 channels; `negatives`, `NEGATIVES` channels, slices of other people's standard dose.
    """

    low_dose: NotRequired[Tensor]
    mr: NotRequired[Tensor]
    context: NotRequired[Tensor]
    coordinates: NotRequired[Tensor]
    neighbours: NotRequired[Tensor]
    acquisition: NotRequired[PlaneScans]
    standard_dose: Tensor
    regions: NotRequired[Tensor]
    diagnosis: NotRequired[Tensor]
    standard_dose_neighbours: NotRequired[Tensor]
    negatives: NotRequired[Tensor]


NEGATIVES = 10
"""Slices of other people that a training may contrast each of its own with."""


class More(NamedTuple):
    """An input beside the low dose and MR: how many channels it has, and whether it is PET, scaled as the low dose is."""

    channels: int
    is_pet: bool


MORE_INPUTS = {"context": More(1, is_pet=True), "coordinates": More(3, is_pet=False), "neighbours": More(5, is_pet=True)}
"""What `restore/inputs` may name beside the low dose and MR."""
ACQUISITION = "acquisition"
"""The scan, which `restore/inputs` may name too: no image, but counts with their model (`PlaneScans`)."""


class Progress(NamedTuple):
    """How far a training is: the step to be made, counted from 0, and how many there are."""

    step: int
    steps: int

    @property
    def share(self) -> float:
        """The share of the training that is done, in [0, 1)."""
        return self.step / self.steps


class Step(NamedTuple):
    """What one optimiser minimises now, and detached scalars to log."""

    optimiser: str
    loss: Tensor
    logs: dict[str, Tensor]


class Trained(nn.Module):
    """What the engine trains.

    `transient` names the sub-modules that training needs on resuming but that do not belong to the weights, for they hold images.
    `batches` says how many batches a step takes, for critics that step several times, each time on others (see `batch_parts`).
    """

    transient: tuple[str, ...] = ()
    batches: int = 1

    def optimised(self) -> dict[str, Iterable[nn.Parameter]]:
        """Parameters by the name of the optimiser, a key of the entry's `train.optimiser`."""
        raise NotImplementedError

    def losses(self, batch: Any, progress: Progress) -> Iterator[Step]:
        """Yield one step an optimiser, in order; each is backpropagated and applied before the next is asked for.

        What changes in the course of a training, a weight that rises or a stage, follows from `progress` alone, so that a training that is
        resumed goes on as it would have.
        """
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

    def restore(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """Restore windows (B, 1, *spatial), scaled as in training; the same shape, without gradients.

        Args:
            low_dose: Scaled low-dose PET, or none.
            mr: Scaled MR, or none.
            more: What else the entry's `restore/inputs` name, of `MORE_INPUTS`, each (B, channels, *spatial); or the scans, `acquisition`.
        """
        raise NotImplementedError


def more_inputs(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `MORE_INPUTS` that a batch holds, and the acquisition."""
    return {name: batch[name] for name in (*MORE_INPUTS, ACQUISITION) if name in batch}


def blank(
    inputs: Sequence[str], spatial: Sequence[int], device: str | torch.device | None = None
) -> tuple[list[Tensor | None], dict[str, Any]]:
    """One window of zeros for each of an entry's `restore/inputs`: low dose and MR, none where it is not among them, and more by name.

    But no acquisition.
    """
    images = [torch.zeros((1, 1, *spatial), device=device) if name in inputs else None for name in ("low_dose", "mr")]
    more = {name: torch.zeros((1, MORE_INPUTS[name].channels, *spatial), device=device) for name in inputs if name in MORE_INPUTS}
    return images, more


def batch_parts(batch: Batch, parts: int) -> list[Batch]:
    """The batches that a step takes, out of what the engine gathers for it at once, the first windows first."""
    chunks = {kind: tensor.chunk(parts) for kind, tensor in cast(dict[str, Tensor], batch).items()}
    return [cast(Batch, {kind: tensors[part] for kind, tensors in chunks.items()}) for part in range(parts)]


def need(image: Input | None, name: str) -> Input:
    """The image or scan, where the method cannot do without it.

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

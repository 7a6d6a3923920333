"""The mean PET of the training subjects: what a method that makes PET of MR must beat."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.methods.base import Batch, Progress, Restorer, Step, need


class MeanPET(Restorer):
    """Remembers the mean of the images it is shown and gives it to everybody; nothing is optimised."""

    mean: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def optimised(self) -> dict[str, Iterable[nn.Parameter]]:
        """None."""
        return {}

    def losses(self, batch: Batch, progress: Progress) -> Iterator[Step]:
        """No step; the mean takes the batch in."""
        images = batch["standard_dose"]
        self.seen += len(images)
        self.mean = self.mean + (images.float() - self.mean).sum(dim=0) / self.seen
        yield from ()

    @torch.no_grad()
    def restore(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """The mean for each window (B, 1, *spatial) of MR.

        Raises:
            InputError: MR is missing, or its window is not that of the training.
        """
        mr = need(mr, "mr")
        if mr.shape[1:] != self.mean.shape:
            raise InputError(f"window: {tuple(mr.shape[2:])} voxels, and the mean has {tuple(self.mean.shape[1:])}; keep the window.")
        return self.mean.expand(mr.shape).clone()

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *rest: Any) -> None:
        self._fit(state_dict.get(prefix + "mean"))
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Take weights written by `weights`; how large the mean is, is known only from them."""
        self._fit(weights.get("mean"))
        super().load_weights(weights)

    def _fit(self, saved: Tensor | None) -> None:
        if saved is not None:
            self.mean = self.mean.new_zeros(saved.shape)


def build(train: Mapping[str, Any]) -> MeanPET:
    """The method from an entry's `train` block.

    Raises:
        InputError: training would not take each image in once.
    """
    if train.get("epochs") != 1 or train["batch_size"] != 1:
        raise InputError("train: the mean takes each image in once; give epochs 1 and batch_size 1, and no steps.")
    return MeanPET()

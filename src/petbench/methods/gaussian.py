"""A Gaussian filter of the low dose: what every method that restores must beat."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from petbench.errors import InputError
from petbench.methods.base import Batch, Progress, Restorer, Step, need

REACH = 4
"""Widths after which a kernel ends, as SciPy's does."""


class Gaussian(Restorer):
    """Filters the low dose alike in every direction of its window, with the width that errs least on the training people.

    Args:
        widths: Standard deviations to choose from, in voxels of the working grid, rising.
    """

    widths: Tensor
    errors: Tensor

    def __init__(self, widths: list[float]) -> None:
        super().__init__()
        self.radius = int(REACH * max(widths) + 0.5)
        self.register_buffer("widths", torch.tensor(widths), persistent=False)
        self.register_buffer("errors", torch.zeros(len(widths), dtype=torch.float64))

    def optimised(self) -> dict[str, Iterable[nn.Parameter]]:
        """None."""
        return {}

    @torch.no_grad()
    def losses(self, batch: Batch, progress: Progress) -> Iterator[Step]:
        """No step; each width's squared error on the batch is added up."""
        low_dose, standard_dose = need(batch.get("low_dose"), "low_dose").float(), batch["standard_dose"].float()
        self.errors += torch.stack([(self._filtered(low_dose, width) - standard_dose).double().square().sum() for width in self.widths])
        yield from ()

    @torch.no_grad()
    def restore(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """Windows (B, 1, *spatial), filtered.

        Raises:
            InputError: the low dose is missing.
        """
        return self._filtered(need(low_dose, "low_dose"), self.widths.take(self.errors.argmin()))

    def _filtered(self, images: Tensor, width: Tensor) -> Tensor:
        return gaussian_filter(images, width, self.radius)


def gaussian_filter(images: Tensor, width: Tensor, radius: int) -> Tensor:
    """Images (B, 1, *spatial), convolved along each spatial axis; beyond the edge, its voxels are repeated.

    Args:
        images: What to filter.
        width: Standard deviation in voxels, a scalar.
        radius: Where the kernel ends, in voxels.
    """
    offsets = torch.arange(-radius, radius + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offsets / width).square())
    kernel = (kernel / kernel.sum())[None, None]
    for axis in range(2, images.ndim):
        lines = images.movedim(axis, -1)
        padded = F.pad(lines.reshape(-1, 1, lines.shape[-1]), (radius, radius), mode="replicate")
        images = F.conv1d(padded, kernel).reshape(lines.shape).movedim(-1, axis)
    return images


def build(train: Mapping[str, Any]) -> Gaussian:
    """The method from an entry's `train` block.

    Raises:
        InputError: training would not see each image once, or the widths do not rise.
    """
    if train.get("epochs") != 1:
        raise InputError("train: the errors of all widths are added up over each image once; give epochs 1 and no steps.")
    widths = [float(width) for width in train["widths"]]
    if widths != sorted(set(widths)):
        raise InputError(f"train/widths: {widths} do not rise; list each width once, the narrowest first.")
    return Gaussian(widths)

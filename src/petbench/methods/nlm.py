"""Non-local means of the low dose (Buades et al., CVPR 2005): the other filter that a method that restores must beat."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.methods.base import Batch, Progress, Restorer, Step, need

MAD_TO_SD = 1.4826
"""Standard deviation of normal values over their median absolute deviation."""


class NonLocalMeans(Restorer):
    """scikit-image's non-local means of each window, with the strength that errs least on the training people.

    Args:
        strengths: Cut-offs h to choose from, as multiples of the window's own noise (`noise_of`).
        patch_size: Side of the patches that are compared, in voxels.
        patch_distance: How far away they are looked for, in voxels.
    """

    errors: Tensor

    def __init__(self, strengths: list[float], patch_size: int, patch_distance: int) -> None:
        super().__init__()
        self.strengths, self.patch_size, self.patch_distance = strengths, patch_size, patch_distance
        self.register_buffer("errors", torch.zeros(len(strengths), dtype=torch.float64))

    def optimised(self) -> dict[str, Iterable[nn.Parameter]]:
        """None."""
        return {}

    def losses(self, batch: Batch, progress: Progress) -> Iterator[Step]:
        """No step; each strength's squared error on the batch is added up."""
        low_dose, standard_dose = need(batch.get("low_dose"), "low_dose"), batch["standard_dose"].double()
        filtered = (self._filtered(low_dose, strength) for strength in self.strengths)
        self.errors += torch.stack([(images.double() - standard_dose).square().sum() for images in filtered])
        yield from ()

    def restore(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """Windows (B, 1, *spatial), filtered one by one on the CPU.

        Raises:
            InputError: the low dose is missing.
        """
        return self._filtered(need(low_dose, "low_dose"), self.strengths[int(self.errors.argmin())])

    def _filtered(self, images: Tensor, strength: float) -> Tensor:
        windows = images.detach().float().cpu().numpy()[:, 0]
        filtered = np.stack([non_local_means(window, strength, self.patch_size, self.patch_distance) for window in windows])
        return torch.from_numpy(filtered)[:, None].to(images)


def non_local_means(image: NDArray[np.float32], strength: float, patch_size: int, patch_distance: int) -> NDArray[np.float32]:
    """An image of two or three dimensions, filtered with a cut-off of `strength` times its noise; one without noise stays as it is."""
    from skimage.restoration import denoise_nl_means

    noise = noise_of(image)
    if noise == 0:
        return image
    filtered: NDArray[np.float32] = denoise_nl_means(
        image, patch_size=patch_size, patch_distance=patch_distance, h=strength * noise, fast_mode=True
    )
    return filtered


def noise_of(image: NDArray[np.float32]) -> float:
    """Standard deviation of the noise where an image is above its mean: that of the difference from the mean of 3 voxels each way.

    By the median absolute deviation, which edges hardly change. Over all voxels it would be that of the air around a head.
    """
    from scipy.ndimage import uniform_filter

    rest = (image - uniform_filter(image, 3))[image > image.mean()]
    return float(MAD_TO_SD * np.median(np.abs(rest))) if rest.size else 0.0


def build(train: Mapping[str, Any]) -> NonLocalMeans:
    """The method from an entry's `train` block.

    Raises:
        InputError: training would not see each image once.
    """
    if train.get("epochs") != 1:
        raise InputError("train: the errors of all strengths are added up over each image once; give epochs 1 and no steps.")
    return NonLocalMeans([float(strength) for strength in train["strengths"]], train["patch_size"], train["patch_distance"])

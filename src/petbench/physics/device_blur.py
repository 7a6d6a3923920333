"""The Gaussian blur in torch, for accelerators."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class DeviceBlur:
    """A Gaussian blur by shifted sums: an accelerator may round a convolution to 10 bits (TF32).

    Args:
        kernels: Along x, y and z, each odd in length and symmetric; none to leave images alone.
    """

    def __init__(self, kernels: Sequence[NDArray[np.float32]]) -> None:
        self._kernels = [kernel[kernel.size // 2 :].tolist() for kernel in kernels]

    def __call__(self, image: Tensor) -> Tensor:
        """Blur an image of shape (x, y, z)."""
        for axis, half in enumerate(self._kernels):
            size = image.shape[axis]
            blurred = half[0] * image
            for offset in range(1, min(len(half), size)):
                kept = size - offset
                blurred.narrow(axis, 0, kept).add_(image.narrow(axis, offset, kept), alpha=half[offset])
                blurred.narrow(axis, offset, kept).add_(image.narrow(axis, 0, kept), alpha=half[offset])
            image = blurred
        return image if self._kernels else image.clone()

    def adjoint(self, image: Tensor) -> Tensor:
        """The operator is symmetric."""
        return self(image)

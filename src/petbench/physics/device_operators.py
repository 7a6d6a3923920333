"""The torch counterparts of operators, for accelerators; each is made once and kept."""

from typing import Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from petbench.physics.linear import LinearOperator
from petbench.physics.operators import GaussianBlur


class DeviceOperator(Protocol):
    """A linear map of tensors on one device, and its transpose."""

    def __call__(self, tensor: Tensor, /) -> Tensor:
        """Apply the operator."""
        ...

    def adjoint(self, tensor: Tensor, /) -> Tensor:
        """Apply its transpose."""
        ...


_MADE: WeakKeyDictionary[LinearOperator, dict[torch.device, DeviceOperator]] = WeakKeyDictionary()


def device_operator(operator: LinearOperator, device: torch.device) -> DeviceOperator:
    """The torch counterpart of an operator, made at its first use on a device and kept as long as the operator lives.

    Raises:
        TypeError: the operator has none.
    """
    made = _MADE.setdefault(operator, {})
    if device not in made:
        made[device] = operator.on_device(device)
    return made[device]


class DeviceBlur:
    """A Gaussian blur by shifted sums: an accelerator may round a convolution to 10 bits (TF32)."""

    def __init__(self, blur: GaussianBlur) -> None:
        self._kernels = [kernel[kernel.size // 2 :].tolist() for kernel in blur.kernels()] if blur.fwhm_mm > 0 else []

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

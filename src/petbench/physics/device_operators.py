"""Which torch counterpart an operator has on an accelerator; each is made once and kept."""

from functools import singledispatch
from typing import Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from petbench.physics.device_projectors import DeviceDirectProjector, DeviceListModeProjector, DeviceObliqueProjector
from petbench.physics.linear import LinearOperator
from petbench.physics.listmode import ListModeProjector
from petbench.physics.oblique import ObliqueProjector
from petbench.physics.operators import GaussianBlur
from petbench.physics.projector import DirectProjector


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
        made[device] = make(operator, device)
    return made[device]


@singledispatch
def make(operator: LinearOperator, device: torch.device) -> DeviceOperator:
    """Make the torch counterpart of an operator; other modules register theirs for their own operators.

    Raises:
        TypeError: the operator has none.
    """
    raise TypeError(f"{type(operator).__name__} has no torch counterpart for {device}; move its tensors to the CPU.")


@make.register
def _(operator: GaussianBlur, device: torch.device) -> DeviceOperator:
    return DeviceBlur(operator)


@make.register
def _(operator: DirectProjector, device: torch.device) -> DeviceOperator:
    return DeviceDirectProjector(operator, device)


@make.register
def _(operator: ObliqueProjector, device: torch.device) -> DeviceOperator:
    return DeviceObliqueProjector(operator, device)


@make.register
def _(operator: ListModeProjector, device: torch.device) -> DeviceOperator:
    return DeviceListModeProjector(operator, device)


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

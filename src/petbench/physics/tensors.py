"""Linear operators on torch tensors, differentiable: the gradient of an operator is its adjoint."""

from typing import Any, Protocol, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor


class DeviceOperator(Protocol):
    """A linear map of tensors on one device, and its transpose."""

    def __call__(self, tensor: Tensor, /) -> Tensor:
        """Apply the operator."""
        ...

    def adjoint(self, tensor: Tensor, /) -> Tensor:
        """Apply its transpose."""
        ...


class Operator(Protocol):
    """A linear map of NumPy arrays, and its transpose; `petbench.physics.linear.LinearOperator` is one."""

    def __call__(self, array: Any, /) -> Any:
        """Apply the operator."""
        ...

    def adjoint(self, array: Any, /) -> Any:
        """Apply its transpose."""
        ...

    def on_device(self, device: Any, /) -> Any:
        """Make its torch counterpart."""
        ...


_MADE: WeakKeyDictionary[Operator, dict[torch.device, DeviceOperator]] = WeakKeyDictionary()


def device_operator(operator: Operator, device: torch.device) -> DeviceOperator:
    """The torch counterpart of an operator, made at its first use on a device and kept as long as the operator lives.

    Raises:
        TypeError: the operator has none.
    """
    made = _MADE.setdefault(operator, {})
    if device not in made:
        made[device] = operator.on_device(device)
    return made[device]


def apply(operator: Operator, tensor: Tensor, transposed: bool) -> Tensor:
    """Apply a linear operator, or its transpose, to a tensor of its input's shape.

    On the CPU the operator's compiled loops read and write the tensors' own memory. On any other device its torch counterpart runs,
    whose constants move there once and are kept as long as the operator lives.

    Args:
        operator: The operator; it works in float32, and so is the result.
        tensor: An image or data set of the shape the operator expects, on any device.
        transposed: Whether the transpose is meant.

    Raises:
        TypeError: the tensor is on an accelerator and the operator has no torch counterpart.
    """
    return cast(Tensor, _Apply.apply(tensor.float(), operator, transposed))  # type: ignore[no-untyped-call]


class _Apply(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor, operator: Operator, transposed: bool) -> Tensor:
        ctx.operator, ctx.transposed = operator, transposed
        if tensor.device.type == "cpu":
            array = tensor.detach().numpy()
            return torch.from_numpy(operator.adjoint(array) if transposed else operator(array))
        on_device = device_operator(operator, tensor.device)
        return on_device.adjoint(tensor) if transposed else on_device(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        return apply(ctx.operator, gradients[0], not ctx.transposed), None, None

"""Linear operators on torch tensors, differentiable: the gradient of an operator is its adjoint."""

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from petbench.physics.linear import LinearOperator


def apply(operator: "LinearOperator", tensor: Tensor, transposed: bool) -> Tensor:
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
    def forward(ctx: Any, tensor: Tensor, operator: "LinearOperator", transposed: bool) -> Tensor:
        ctx.operator, ctx.transposed = operator, transposed
        if tensor.device.type == "cpu":
            array = tensor.detach().numpy()
            return torch.from_numpy(operator.adjoint(array) if transposed else operator(array))
        from petbench.physics.device_operators import device_operator

        on_device = device_operator(operator, tensor.device)
        return on_device.adjoint(tensor) if transposed else on_device(tensor)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None]:
        return apply(ctx.operator, gradients[0], not ctx.transposed), None, None

"""The one interface of all linear operators: NumPy arrays or torch tensors in, the same kind out, with the exact transpose."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


class LinearOperator(ABC):
    """A linear map with its transpose: <A x, y> = <x, A.adjoint(y)>.

    Arrays may be NumPy's or torch tensors; the result is of the kind, and on the device, of the argument. Through tensors gradients
    flow: that of the map is its adjoint, and the other way round. Operators work in float32.
    """

    def __call__(self, array: Any, /) -> Any:
        """Apply the operator."""
        if isinstance(array, np.ndarray):
            return self._forward(array)
        from petbench.physics.tensors import apply

        return apply(self, array, transposed=False)

    def adjoint(self, array: Any, /) -> Any:
        """Apply its transpose."""
        if isinstance(array, np.ndarray):
            return self._transpose(array)
        from petbench.physics.tensors import apply

        return apply(self, array, transposed=True)

    def on_device(self, device: Any, /) -> Any:
        """Make the operator's torch counterpart on a torch device, a `DeviceOperator`.

        Raises:
            TypeError: it has none.
        """
        raise TypeError(f"{type(self).__name__} has no torch counterpart for {device}; move its tensors to the CPU.")

    @abstractmethod
    def _forward(self, array: NDArray[np.floating], /) -> Array:
        """Apply the operator to a NumPy array."""

    @abstractmethod
    def _transpose(self, array: NDArray[np.floating], /) -> Array:
        """Apply the transpose to a NumPy array."""

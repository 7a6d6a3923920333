"""Windows: where patches or slices lie in a volume. A slice is a window one voxel thick."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError


def window_starts(shape: Sequence[int], window: Sequence[int], stride: Sequence[int]) -> NDArray[np.int32]:
    """First voxels of the windows that cover a volume.

    Windows step by `stride`; a last one is added flush with the far edge where the steps do not reach it, so that every voxel is covered.

    Args:
        shape: Volume, in voxels (3,).
        window: Window, in voxels (3,).
        stride: Step, in voxels (3,); no longer than the window, or voxels between windows would be left out.

    Returns:
        Array (number of windows, 3).

    Raises:
        InputError: the window is larger than the volume, or the stride longer than the window.
    """
    axes = []
    for axis, (size, width, step) in enumerate(zip(shape, window, stride, strict=True)):
        if width > size:
            raise InputError(f"window: {width} voxels along axis {axis} exceed the volume's {size}; make the window smaller.")
        if not 1 <= step <= width:
            raise InputError(f"stride: {step} along axis {axis} must lie between 1 and the window's {width}.")
        starts = list(range(0, size - width + 1, step))
        if starts[-1] != size - width:
            starts.append(size - width)
        axes.append(starts)
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.int32)


def window_slices(start: NDArray[np.integer], window: Sequence[int]) -> tuple[slice, slice, slice]:
    """Slices of the window that begins at `start`."""
    x, y, z = (slice(int(first), int(first) + width) for first, width in zip(start, window, strict=True))
    return x, y, z


def spatial_shape(window: Sequence[int]) -> tuple[int, ...]:
    """Shape in which a network sees a window: without the axes one voxel thick."""
    return tuple(size for size in window if size > 1)

"""Windows: where patches or slices lie in a volume. A slice is a window one voxel thick."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError

EMPTY_BELOW = 0.05
"""Default of a domain's `empty_below`."""

Slices = Sequence[int] | Mapping[str, int]
"""Positions of slices, or `{"uniform": n}`: n of them, evenly spaced over the volume."""


def window_starts(shape: Sequence[int], window: Sequence[int], stride: Sequence[int], slices: Slices | None = None) -> NDArray[np.int32]:
    """First voxels of the windows that cover a volume, or chosen slices of it.

    Windows step by `stride`; a last one is added flush with the far edge where the steps do not reach it, so that every voxel is covered.

    Args:
        shape: Volume, in voxels (3,).
        window: Window, in voxels (3,).
        stride: Step, in voxels (3,); no longer than the window, or voxels between windows would be left out.
        slices: Where windows one voxel thick lie along that axis, in voxels, or how many of them; None for everywhere.

    Returns:
        Array (number of windows, 3).

    Raises:
        InputError: the window is larger than the volume, the stride longer than the window, or the slices are not in the volume or
            given to windows that are none.
    """
    axes = []
    thin, chosen = (None, []) if slices is None else slice_positions(shape, window, slices)
    for axis, (size, width, step) in enumerate(zip(shape, window, stride, strict=True)):
        if width > size:
            raise InputError(f"window: {width} voxels along axis {axis} exceed the volume's {size}; make the window smaller.")
        if not 1 <= step <= width:
            raise InputError(f"stride: {step} along axis {axis} must lie between 1 and the window's {width}.")
        starts = list(range(0, size - width + 1, step))
        if starts[-1] != size - width:
            starts.append(size - width)
        axes.append(chosen if axis == thin else starts)
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.int32)


def slice_positions(shape: Sequence[int], window: Sequence[int], slices: Slices) -> tuple[int, list[int]]:
    """The axis along which slices are chosen, the one that the window is one voxel thick along, and where they lie on it, rising.

    Uniform slices are the middles of as many equal parts of the volume.

    Raises:
        InputError: there is no such axis or more than one, a slice is not in the volume, or it has fewer slices than are asked for.
    """
    thin = thin_axis(window)
    if thin is None:
        raise InputError(
            f"slices: only windows one voxel thick along one axis have slices, and this one has {list(window)} voxels; remove slices."
        )
    size = shape[thin]
    if isinstance(slices, Mapping):
        count = slices["uniform"]
        if count > size:
            raise InputError(f"slices/uniform: {count} slices, and there are {size} along axis {thin}; lower it.")
        return thin, [(2 * number + 1) * size // (2 * count) for number in range(count)]
    if outside := [index for index in slices if not 0 <= index < size]:
        raise InputError(f"slices: slice {outside[0]} is not among the {size} along axis {thin} (0 to {size - 1}); choose others.")
    return thin, sorted(slices)


def thin_axis(window: Sequence[int]) -> int | None:
    """The axis along which a window is one voxel thick, where it is the only one: 0 for sagittal slices, 1 for coronal, 2 for axial."""
    thin = [axis for axis, width in enumerate(window) if width == 1]
    return thin[0] if len(thin) == 1 else None


def filled_slices(volume: NDArray[np.floating], axis: int, empty_below: float) -> NDArray[np.bool_]:
    """Which slices along an axis are not empty: those whose voxels add up to at least `empty_below` times the fullest slice's sum.

    A sum, unlike a maximum, is not raised by the noise of an empty slice, which is as often below zero or nearly zero.
    """
    sums = np.sum(volume, axis=tuple(other for other in range(volume.ndim) if other != axis), dtype=np.float64)
    return np.asarray(sums >= empty_below * sums.max())


def window_slices(start: NDArray[np.integer], window: Sequence[int]) -> tuple[slice, slice, slice]:
    """Slices of the window that begins at `start`."""
    x, y, z = (slice(int(first), int(first) + width) for first, width in zip(start, window, strict=True))
    return x, y, z


def half(window: Sequence[int]) -> list[int]:
    """The step between restored windows where none is given: half a window, so that its edges lie in the middle of others."""
    return [max(1, size // 2) for size in window]


def taper(window: Sequence[int]) -> NDArray[np.float64]:
    """Weights of a window's voxels where windows overlap, (window): a squared sine along each axis, from nearly 0 at the edges to 1 inside.

    What a network says of the edge of its window it says of voxels whose neighbours it does not see. Weights are positive, so that a voxel
    which only one window covers has that window's value; windows that step by half their size have weights of one sum everywhere.
    """
    axes = [np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2 for size in window]
    return np.asarray(np.einsum("x,y,z->xyz", *axes))


def spatial_shape(window: Sequence[int]) -> tuple[int, ...]:
    """Shape in which a network sees a window: without the axes one voxel thick."""
    return tuple(size for size in window if size > 1)

"""What a method sees of a window: a cut of a volume, or what follows from where the window lies, computed with it and never stored."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.preprocess.windows import spatial_shape, thin_axis, window_slices

REACH = 2
"""Neighbouring slices on either side, as CDM sees them."""
Volumes = Mapping[str, NDArray[Any]]
"""Volumes of one subject by kind, all of one shape (x, y, z)."""


def coordinates(volumes: Volumes, start: NDArray[np.integer], window: Sequence[int]) -> NDArray[np.float32]:
    """Where each voxel of a window lies in its volume, (3, *window): along x, y and z, from -1 at the first voxel to 1 at the last (CSRD).

    Args:
        volumes: The subject's volumes, of which the shape is taken.
        start: First voxel of the window, (3,).
        window: Its size in voxels, (3,).
    """
    shape = next(iter(volumes.values())).shape
    axes = [2 * (first + np.arange(width)) / max(1, size - 1) - 1 for first, width, size in zip(start, window, shape, strict=True)]
    return np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)


def neighbours(volumes: Volumes, start: NDArray[np.integer], window: Sequence[int], kind: str) -> NDArray[np.float32]:
    """A slice between those below and above it, (2 * REACH + 1, *window); where the volume ends, the slice itself stands in (CDM).

    Args:
        volumes: The subject's volumes.
        start: First voxel of the slice, (3,).
        window: Its size in voxels, (3,).
        kind: The volume that is cut.

    Raises:
        InputError: the window is no slice.
    """
    axis = thin_axis(window)
    if axis is None:
        raise InputError(f"neighbours: a window of {list(window)} voxels is no slice; train on a domain that is one voxel thick.")
    cuts = []
    for step in range(-REACH, REACH + 1):
        at = np.array(start)
        if 0 <= at[axis] + step < volumes[kind].shape[axis]:
            at[axis] += step
        cuts.append(volumes[kind][window_slices(at, window)])
    return np.stack(cuts)


PLACED: dict[str, Callable[[Volumes, NDArray[np.integer], Sequence[int]], NDArray[np.float32]]] = {
    "coordinates": coordinates,
    "neighbours": partial(neighbours, kind="low_dose"),
    "standard_dose_neighbours": partial(neighbours, kind="standard_dose"),
}
"""By the name that `restore/inputs` or `train/supervision` give it: from a subject's volumes, a window's first voxel and its size, channels
(C, *window)."""


def placed_among(kinds: Sequence[str]) -> list[str]:
    """Those kinds of data that follow from where a window lies."""
    return [kind for kind in kinds if kind in PLACED]


def cut(kind: str, volumes: Volumes, start: NDArray[np.integer], window: Sequence[int]) -> NDArray[Any]:
    """One kind of data in one window, (C, *spatial): without the axes that the window is one voxel thick along.

    Args:
        kind: The name of a volume, or one of `PLACED`.
        volumes: See `PLACED`, as `start` and `window`.
        start: See `volumes`.
        window: See `volumes`.
    """
    found = PLACED[kind](volumes, start, window) if kind in PLACED else volumes[kind][window_slices(start, window)]
    return found.reshape(-1, *spatial_shape(window))

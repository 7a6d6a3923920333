"""How much of an image is restored: slices with signal that are asked for, inside the working grid; elsewhere it stays the low dose."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.nifti import Image, canonical
from petbench.preprocess.grid import box_of, from_grid
from petbench.preprocess.windows import filled_slices, thin_axis

BLEND = "taper"
"""Default of `restore/blend`."""
FADE = 4
"""Voxels over which a restored image fades into the low dose at an edge of the working grid that has image beyond it."""


@dataclass(frozen=True)
class Slices:
    """Which slices of a working grid are restored.

    Attributes:
        axis: The axis that they are stacked along.
        restored: For each slice, whether it is.
        why: What the others are, in sentences for the sidecar.
    """

    axis: int
    restored: NDArray[np.bool_]
    why: tuple[str, ...]


def slices_restored(
    low_dose: NDArray[np.floating] | None,
    shape: Sequence[int],
    window: Sequence[int],
    empty_below: float | None = None,
    wanted: Sequence[int] | None = None,
) -> Slices | None:
    """Which slices are restored: those that are wanted and, as in training, not empty.

    A network that was never shown an empty slice invents something there.

    Args:
        low_dose: Volume (x, y, z), which alone decides what is empty; none where the subject has none, and no slice counts as empty.
        shape: Its shape, that of the working grid.
        window: Window in voxels, (3,).
        empty_below: See `petbench.preprocess.prepare.emptiness`; none where training left out no empty slice.
        wanted: Positions of slices on the grid; none for all.

    Returns:
        None where windows are no slices: every window is restored.
    """
    axis = thin_axis(window)
    if axis is None:
        return None
    restored, why = np.ones(shape[axis], dtype=bool), []
    if wanted is not None:
        restored &= np.isin(np.arange(shape[axis]), wanted)
        why.append(f"{np.count_nonzero(~restored)} slices are the low dose: they are not evaluated, or not among those listed for training")
    if empty_below is not None and low_dose is not None:
        empty = restored & ~filled_slices(low_dose, axis, empty_below)
        restored &= ~empty
        why.append(
            f"{np.count_nonzero(empty)} slices are the low dose: as those that training leaves out, they hold below {empty_below:g} of"
            " the fullest one's signal"
        )
    return Slices(axis, restored, tuple(reason for reason in why if not reason.startswith("0 ")))


def grid_slices(image: Image, affine: NDArray[np.floating], axis: int, slices: Sequence[int]) -> list[int]:
    """Slices of a working grid that slices of an image depend on.

    Args:
        image: The image; its slices are counted along its axes nearest to right, front and head, as those of `evaluation/slices` are.
        affine: Affine of the working grid, (4, 4).
        axis: The axis that slices are stacked along.
        slices: Positions of the image's slices.

    Returns:
        Positions on the grid, rising; some may lie beyond it.
    """
    to_index = np.linalg.inv(affine) @ canonical(image).affine
    zoom = abs(to_index[axis, axis])
    found: set[int] = set()
    for position in to_index[axis, axis] * np.asarray(slices) + to_index[axis, 3]:
        if abs(position - round(position)) < 1e-3 and abs(zoom - 1) < 1e-3:
            found.add(round(position))
        else:  # interpolated, and blurred before where the image's voxels are larger
            reach = 4 * np.sqrt(max(zoom**2 - 1, 0) / 12)
            found.update(range(floor(position - reach), ceil(position + reach) + 1))
    return sorted(found)


def put_back(
    restored: NDArray[np.floating], affine: NDArray[np.floating], image: Image, slices: Slices | None, blend: str
) -> tuple[NDArray[np.float32], dict[str, Any]]:
    """Bring a restored volume back to its image's grid; what was not restored is the image itself, to the last bit.

    Beyond the working grid nothing is known, so the low dose stays, noise and all. Tapered, the restored image fades into it over `FADE`
    voxels, as windows do into one another; where the grid ends with the image nothing fades.

    Args:
        restored: Volume on the working grid, in the image's units.
        affine: Affine of that grid, (4, 4).
        image: The low dose.
        slices: Which slices were restored; none for all.
        blend: `taper`, or `average` for an edge without fading.

    Returns:
        The whole image, and what the sidecar says of it: slices and voxels are counted in the image's file, from 0.
    """
    fade = FADE if blend == "taper" else 0
    box = box_of(image, restored.shape, affine)
    to_index = np.linalg.inv(affine) @ np.asarray(image.affine)
    shares: list[NDArray[np.float32]] = []
    facts: dict[str, Any] = {"RestoredBox": [[first, last - 1] for first, last in box]}
    for axis, (length, bounds) in enumerate(zip(image.shape, box, strict=True)):
        share = _inside(length, bounds, fade)
        along = int(np.argmax(np.abs(to_index[:3, axis])))
        if slices is not None and along == slices.axis:
            positions = np.round(to_index[along, axis] * np.arange(length) + to_index[along, 3], 6)
            share *= np.interp(positions, np.arange(len(slices.restored)), slices.restored.astype(float))
            if not slices.restored.all():
                facts["UnrestoredSlices"] = {"axis": axis, "slices": _ranges(np.flatnonzero(share == 0))}
        shares.append(share.astype(np.float32))
    share_of_all = np.einsum("x,y,z->xyz", *shares)
    back = share_of_all * from_grid(restored, affine, image) + (1 - share_of_all) * np.asarray(image.dataobj, dtype=np.float32)
    why = [] if slices is None else list(slices.why)
    if any(last - first < length for (first, last), length in zip(box, image.shape, strict=True)):
        edge = f"; at its edge the restored image fades into it over {fade} voxels" if fade else ""
        why.append(f"outside RestoredBox the image is the low dose{edge}")
    return np.asarray(back), {**facts, "Unrestored": why}


def _inside(length: int, bounds: tuple[int, int], fade: int) -> NDArray[np.float64]:
    """Share of the restored image along one axis: 1 inside the grid, 0 outside, rising over `fade` voxels where the image goes on."""
    first, last = bounds
    index = np.arange(length)
    below = (index - first + 0.5) / fade if fade and first > 0 else np.where(index >= first, 1.0, 0.0)
    above = (last - index - 0.5) / fade if fade and last < length else np.where(index < last, 1.0, 0.0)
    return np.asarray(np.clip(below, 0, 1) * np.clip(above, 0, 1))


def _ranges(numbers: NDArray[np.intp]) -> list[list[int]]:
    """Runs of consecutive numbers, each its first and its last."""
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) > 1) + 1)
    return [[int(run[0]), int(run[-1])] for run in runs if len(run)]

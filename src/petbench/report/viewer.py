"""Packs volumes into 8-bit sprite sheets, so that a page without a server can show their slices."""

import base64
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError

STANDARD_DOSE = "standard_dose"


@dataclass(frozen=True)
class ViewerSubject:
    """One subject at one dose, restored by several methods.

    Attributes:
        volumes: NIfTI file by method entry name, with `low_dose`, `standard_dose` and, where known, `true_activity` among them;
            the order is the order on the page, and all share the grid of `standard_dose`.
        labels: Label map on that grid, lesions from 101 up, where there is one.
    """

    dataset: str
    dose: str
    subject: str
    volumes: Mapping[str, Path]
    labels: Path | None = None


def display_window(standard_dose: NDArray[np.floating]) -> float:
    """The grey level shown as full scale: the 99.9th percentile of the standard-dose voxels above zero, so that one hot voxel dims nothing.

    Raises:
        InputError: no voxel is above zero.
    """
    positive = standard_dose[standard_dose > 0]
    if positive.size == 0:
        raise InputError("standard_dose: no voxel is above zero, so there is nothing to show; check the reconstruction.")
    return float(np.percentile(positive, 99.9))


def head_box(standard_dose: NDArray[np.floating], margin: int = 2) -> tuple[slice, slice, slice]:
    """The smallest box that holds every voxel above 5 % of the display window, `margin` voxels wider on each side."""
    inside = standard_dose > 0.05 * display_window(standard_dose)
    box = []
    for axis in range(3):
        filled = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        box.append(slice(max(0, int(filled[0]) - margin), min(inside.shape[axis], int(filled[-1]) + 1 + margin)))
    return box[0], box[1], box[2]


def pack(volume: NDArray[np.floating], full_scale: float) -> tuple[NDArray[np.uint8], int]:
    """Lay the axial slices of `volume`, (x, y, z), out as one sheet of tiles, in rows from the lowest slice up.

    Each tile has anterior at the top and the subject's left at the left. Values from 0 to `full_scale` become 0 to 255; others are clipped.

    Returns:
        The sheet, (rows * y, columns * x), and its number of tile columns.
    """
    width, height, count = volume.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    grey = np.round(np.clip(volume / full_scale, 0, 1) * 255).astype(np.uint8)
    tiles = np.zeros((rows * columns, height, width), dtype=np.uint8)
    tiles[:count] = grey.transpose(2, 1, 0)[:, ::-1]
    return tiles.reshape(rows, columns, height, width).transpose(0, 2, 1, 3).reshape(rows * height, columns * width), columns


def unpack(sheet: NDArray[np.uint8], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Undo `pack`: the 8-bit volume of `shape` (x, y, z) that a sheet holds."""
    width, height, count = shape
    tiles = sheet.reshape(sheet.shape[0] // height, height, sheet.shape[1] // width, width).transpose(0, 2, 1, 3)
    return tiles.reshape(-1, height, width)[:count, ::-1].transpose(2, 1, 0)


def png(sheet: NDArray[np.uint8]) -> str:
    """`sheet` as a data URI of a greyscale PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def sprites(subject: ViewerSubject, titles: Mapping[str, str]) -> dict[str, Any]:
    """What the page's viewer needs of one subject: sheets on one window, their geometry, and the window in Bq/ml.

    Raises:
        InputError: `standard_dose` is missing, a volume cannot be read, or two do not share a grid.
    """
    from petbench.data.nifti import voxel_mm

    arrays, image, _ = load(subject)
    full_scale = display_window(arrays[STANDARD_DOSE])
    box = head_box(arrays[STANDARD_DOSE])
    sheets = []
    for method, array in arrays.items():
        sheet, columns = pack(array[box], full_scale)
        sheets.append({"method": method, "title": titles.get(method, method), "png": png(sheet)})
    width, height, count = arrays[STANDARD_DOSE][box].shape
    edges = voxel_mm(image)
    return {
        "dataset": subject.dataset,
        "dose": subject.dose,
        "subject": subject.subject,
        "width": width,
        "height": height,
        "slices": count,
        "columns": columns,
        "aspect": float(edges[1] / edges[0]),
        "window": full_scale,
        "volumes": sheets,
    }


def load(subject: ViewerSubject) -> tuple[dict[str, NDArray[np.floating]], Any, NDArray[np.floating] | None]:
    """Read a subject's volumes, turned so that x runs to the right, y to the front and z up.

    Returns:
        The volumes by method, the image of the standard dose, and the label map or None.

    Raises:
        InputError: `standard_dose` is missing, a volume cannot be read, or does not share its grid.
    """
    import nibabel

    from petbench.data.nifti import read_volume, same_grid

    if STANDARD_DOSE not in subject.volumes:
        raise InputError(f"{subject.subject}: no {STANDARD_DOSE} volume to compare with; add it to the subject's volumes.")
    paths = {**subject.volumes} | ({} if subject.labels is None else {"labels": subject.labels})
    images = {name: nibabel.as_closest_canonical(read_volume(path)) for name, path in paths.items()}
    reference = images[STANDARD_DOSE]
    for name, image in images.items():
        if not same_grid(image, reference):
            raise InputError(f"{paths[name]}: not on the grid of {paths[STANDARD_DOSE]}; resample it first.")
    arrays = {name: image.get_fdata(dtype=np.float32) for name, image in images.items()}
    labels = arrays.pop("labels", None)
    return arrays, reference, labels

"""Packs volumes into 16-bit sprite sheets, so that a page without a server can show their slices and errors."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from petbench.data.bids import read_sidecar, unit
from petbench.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

STANDARD_DOSE = "standard_dose"
STEPS = 1024  # grey levels between zero and the display window: a screen shows 256; more only make the page larger
CODES = 2**16 - 1


class Unit(NamedTuple):
    """What values are shown in: their label, and how many image units one of them is."""

    label: str
    size: float


KBQ_ML = Unit("kBq/ml", 1000.0)
IMAGE_UNITS = Unit("image units", 1.0)
NORMALISED = Unit("normalised units", 1.0)
TOLD = {"bqml": KBQ_ML, "kbqml": Unit("kBq/ml", 1.0), "suv": Unit("SUV", 1.0)}
"""Units by what a sidecar says, in `petbench.data.bids.unit`'s spelling."""


def unit_of(dataset: Mapping[str, Any], image: Path | None = None) -> Unit:
    """The unit of a data set's images: of a phantom's by its making, of a lab's by the sidecar of one of them; PET of MR has none.

    Args:
        dataset: Its entry.
        image: One of its PET images; none where no lab's sidecar is at hand.
    """
    if dataset.get("preprocess", {}).get("scaling", {}).get("mode") == "min_max":
        return NORMALISED
    if dataset["source"] in ("phantom", "brainweb"):
        return KBQ_ML
    return TOLD.get(unit(read_sidecar(image).get("Units", "")), IMAGE_UNITS) if image is not None else IMAGE_UNITS


@dataclass(frozen=True)
class ViewerSubject:
    """One subject at one dose, restored by several methods.

    Attributes:
        volumes: NIfTI file by method entry name, with `low_dose`, `standard_dose` and, where known, `true_activity` among them;
            the order is the order on the page, and all share the grid of `standard_dose`.
        labels: Label map on that grid, where there is one.
        truth: What `petbench.data.phantom_files.read_truth` reads, with the kinds of the lesions in `labels`, where there is one.
        slices: Axial slices that are evaluated, and alone shown, as methods of slices restore no others. None for all.
    """

    dataset: str
    dose: str
    subject: str
    volumes: Mapping[str, Path]
    labels: Path | None = None
    truth: Path | None = None
    slices: Sequence[int] | None = None


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


def encode(volume: NDArray[np.floating], window: float) -> tuple[NDArray[np.uint16], float, float]:
    """Give each voxel a 16-bit code, value = offset + step * code, that clips nothing: neither hot voxels nor negative ones.

    Zero has a code of its own. A step is `window` / STEPS, or wider where the volume's range asks for it.

    Returns:
        Codes (x, y, z), offset and step in the units of `volume`.

    Raises:
        InputError: a value is NaN or infinite.
    """
    values = volume.astype(np.float64)
    if not np.isfinite(values).all():
        raise InputError("volume: a value is NaN or infinite, so it cannot be shown; restore it again.")
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    step = max(window / STEPS, (high - low) / (CODES - 1))
    below = math.ceil(-low / step)
    return np.round(values / step + below).astype(np.uint16), -below * step, step


def pack(codes: NDArray[np.uint16]) -> tuple[NDArray[np.uint16], int]:
    """Lay the axial slices of `codes`, (x, y, z), out as one sheet of tiles, in rows from the lowest slice up.

    Each tile has anterior at the top and the subject's left at the left.

    Returns:
        The sheet, (rows * y, columns * x), and its number of tile columns.
    """
    width, height, count = codes.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    tiles = np.zeros((rows * columns, height, width), dtype=np.uint16)
    tiles[:count] = codes.transpose(2, 1, 0)[:, ::-1]
    return tiles.reshape(rows, columns, height, width).transpose(0, 2, 1, 3).reshape(rows * height, columns * width), columns


def unpack(sheet: NDArray[np.uint16], shape: tuple[int, int, int]) -> NDArray[np.uint16]:
    """Undo `pack`: the codes of `shape` (x, y, z) that a sheet holds."""
    width, height, count = shape
    tiles = sheet.reshape(sheet.shape[0] // height, height, sheet.shape[1] // width, width).transpose(0, 2, 1, 3)
    return tiles.reshape(-1, height, width)[:count, ::-1].transpose(2, 1, 0)


def picture(sheet: NDArray[np.uint16]) -> str:
    """`sheet` as a data URI of a picture: the high byte of each code in red, the low byte in green, as browsers decode 8 bits a channel."""
    from PIL import Image

    channels = np.stack([sheet >> 8, sheet & 255, np.zeros_like(sheet)], axis=-1).astype(np.uint8)
    return lossless(Image.fromarray(channels))


def lossless(image: "Picture") -> str:
    """A picture as a data URI of WebP without loss: three quarters of a PNG's size for sheets, half for drawings."""
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", lossless=True, exact=True)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def viewer_data(subjects: Sequence[ViewerSubject], titles: Mapping[str, str], units: Mapping[str, Unit]) -> dict[str, Any]:
    """What the page's viewer needs.

    Args:
        subjects: What to show.
        titles: Method entry name to title.
        units: Data set to the unit that its values are shown in.

    Returns:
        `sheets`, each different picture once (a standard dose serves every low dose of its subject), and `items`, one a subject and
        dose: its geometry, display window, unit, and for each volume the number of its sheet and the offset and step of its codes.

    Raises:
        InputError: `standard_dose` is missing, a volume cannot be read or shown, or two do not share a grid.
    """
    sheets: dict[str, int] = {}
    items = [_item(subject, titles, units[subject.dataset], sheets) for subject in subjects]
    return {"sheets": list(sheets), "items": items}


def _item(subject: ViewerSubject, titles: Mapping[str, str], unit: Unit, sheets: dict[str, int]) -> dict[str, Any]:
    """One of the `items`; its pictures are added to `sheets`."""
    from petbench.data.nifti import voxel_mm

    arrays, image, _ = load(subject)
    window = display_window(arrays[STANDARD_DOSE])
    box = head_box(arrays[STANDARD_DOSE])
    volumes = []
    for method, array in arrays.items():
        try:
            codes, offset, step = encode(array[box], window)
        except InputError as error:
            raise InputError(f"{subject.volumes[method]}: {error}") from None
        sheet, columns = pack(codes)
        number = sheets.setdefault(picture(sheet), len(sheets))
        volumes.append({"method": method, "title": titles.get(method, method), "sheet": number, "offset": offset, "step": step})
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
        "window": window,
        "unit": unit.label,
        "unit_size": unit.size,
        "volumes": volumes,
    }


def load(subject: ViewerSubject) -> tuple[dict[str, NDArray[np.floating]], Any, NDArray[np.floating] | None]:
    """Read a subject's volumes, turned so that x runs to the right, y to the front and z up, cut to the slices that are shown.

    Returns:
        The volumes by method, the image of the standard dose, and the label map or None.

    Raises:
        InputError: `standard_dose` is missing, a volume cannot be read, or does not share its grid.
    """
    from petbench.data.nifti import canonical, read_volume, same_grid

    if STANDARD_DOSE not in subject.volumes:
        raise InputError(f"{subject.subject}: no {STANDARD_DOSE} volume to compare with; add it to the subject's volumes.")
    paths = {**subject.volumes} | ({} if subject.labels is None else {"labels": subject.labels})
    images = {name: canonical(read_volume(path)) for name, path in paths.items()}
    reference = images[STANDARD_DOSE]
    for name, image in images.items():
        if not same_grid(image, reference):
            raise InputError(f"{paths[name]}: not on the grid of {paths[STANDARD_DOSE]}; resample it first.")
    shown = slice(None) if subject.slices is None else sorted(subject.slices)
    arrays = {name: image.get_fdata(dtype=np.float32)[:, :, shown] for name, image in images.items()}
    labels = arrays.pop("labels", None)
    return arrays, reference, labels

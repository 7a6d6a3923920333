"""BrainWeb's twenty normal models: their files, and the labels inside.

Aubert-Broche et al., IEEE Trans Med Imaging 25 (2006) 1410: segmented heads of twenty volunteers. A file is the gzip of headerless
little-endian 16-bit words, (z, y, x) = (362, 434, 362) voxels of 0.5 mm, whose upper twelve bits are the label; the lower four are noise.
Nothing of BrainWeb is distributed with petbench.
"""

import gzip
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.files import checksum

MODELS = tuple(f"{number:02d}" for number in (4, 5, 6, 18, 20, 38, *range(41, 55)))
# The label of a tissue is its place here.
TISSUES = ("air", "csf", "grey", "white", "fat", "muscle", "skin", "skull", "vessels", "around_fat", "dura", "marrow")
SHAPE_ZYX = (362, 434, 362)
VOXEL_MM = 0.5
# Middle of the first voxel in stereotaxic space (RAS mm), x to the right, y to the front, z up.
ORIGIN_MM = np.array([-90.25, -126.25, -72.25])
BYTES = 2 * SHAPE_ZYX[0] * SHAPE_ZYX[1] * SHAPE_ZYX[2]
# No brain of an adult has less or more grey or white matter, in litres.
PLAUSIBLE_LITRES = (0.2, 2.0)

# Where models placed by hand are looked for.
FOLDER = "data/brainweb"


@dataclass(frozen=True)
class Model:
    """One model: its number, its labels (x, y, z) as indices of `TISSUES`, and the SHA-256 of the file they came from."""

    number: str
    labels: NDArray[np.uint8]
    sha256: str


def model_numbers(subjects: int | Sequence[int | str]) -> list[str]:
    """Two-digit numbers of the models an entry asks for: so many of the first, or these.

    Raises:
        InputError: more models than there are, or a number that is none of theirs.
    """
    known = f"BrainWeb's models are {' '.join(MODELS)}"
    if isinstance(subjects, int):
        if not 1 <= subjects <= len(MODELS):
            raise InputError(f"subjects: BrainWeb has {len(MODELS)} models, not {subjects}; ask for 1 to {len(MODELS)}.")
        return list(MODELS[:subjects])
    numbers = [str(subject).zfill(2) for subject in subjects]  # YAML reads an unquoted 04 as the number 4
    for number in numbers:
        if number not in MODELS:
            raise InputError(f"subjects: there is no model {number!r}; {known}.")
    return numbers


def file_name(model: str) -> str:
    """Name of a model's file, as the Python package `brainweb` gives it."""
    return f"subject_{model}.bin.gz"


def hand_placed(folder: str | Path, model: str) -> Path | None:
    """A model's file that a user put into `folder`, under the package's name or the web site's; None if there is none.

    Raises:
        InputError: there are several.
    """
    name = re.compile(rf"subject_?{model}(?!\d).*\.gz", re.IGNORECASE)
    found = sorted(path for path in Path(folder).glob("*.gz") if name.fullmatch(path.name))
    if len(found) > 1:
        raise InputError(f"{folder}: holds {' and '.join(path.name for path in found)} for model {model}; keep one.")
    return found[0] if found else None


def problem_of(path: str | Path) -> str | None:
    """What keeps a file from being a model, None if nothing does: it is read whole."""
    try:
        _read_labels(path)
    except _NoModelError as error:
        return str(error)
    return None


def read_model(path: str | Path, model: str, sha256: str | None = None) -> Model:
    """Read and check a model's file.

    Args:
        path: The file.
        model: The model's two-digit number.
        sha256: What the file's SHA-256 must be, if it is known.

    Raises:
        InputError: there is no such file, it is no gzip, is cut short or damaged, has not the size of a model, does not hold a labelled
            head, or has another checksum.
    """
    mend = f"delete it and run again, or put model {model} in its place: crisp, raw short, compressed with gnuzip"
    try:
        labels, found = _read_labels(path), checksum(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; put model {model} there.") from None
    except _NoModelError as error:
        raise InputError(f"{path}: {error}; {mend}.") from None
    if sha256 is not None and found != sha256.lower():
        raise InputError(f"{path}: has the SHA-256 {found}, and brainweb/sha256 says {sha256.lower()}; {mend}.")
    return Model(model, labels, found)


class _NoModelError(Exception):
    """Why a file is no model."""


def _read_labels(path: str | Path) -> NDArray[np.uint8]:
    words = np.frombuffer(_unzip(path), dtype="<u2").reshape(SHAPE_ZYX)
    highest = int(words.max()) >> 4
    if highest >= len(TISSUES):
        raise _NoModelError(f"it holds label {highest}, and BrainWeb's are 0 to {len(TISSUES) - 1}")
    labels = (words >> 4).astype(np.uint8)
    for name in ("grey", "white"):
        litres = np.count_nonzero(labels == TISSUES.index(name)) * VOXEL_MM**3 / 1e6
        if not PLAUSIBLE_LITRES[0] < litres < PLAUSIBLE_LITRES[1]:
            raise _NoModelError(f"it holds {litres:.2f} litres of {name} matter, which is no head of an adult")
    return np.ascontiguousarray(labels.transpose(2, 1, 0))


def _unzip(path: str | Path) -> bytes:
    try:
        with gzip.open(path) as file:
            content = file.read(BYTES)
            beyond = len(file.read(1))  # also reads the checksum behind the last byte
    except FileNotFoundError:
        raise
    except EOFError:
        raise _NoModelError("the gzip file is cut short") from None
    except (OSError, zlib.error) as error:
        with open(path, "rb") as opened:
            page = opened.read(1) == b"<"
        raise _NoModelError("it is a web page, not a gzip file" if page else f"it cannot be read as gzip ({error})") from None
    if len(content) + beyond != BYTES:
        size = f"more than {BYTES:,}" if beyond else f"{len(content):,}"
        raise _NoModelError(f"it holds {size} bytes uncompressed, and a model {BYTES:,}")
    return content

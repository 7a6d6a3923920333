"""A measured or simulated scan on disk: what a reconstruction at any dose needs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.files import atomic
from petbench.physics.scanner import Scanner

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Acquisition:
    """The standard dose's data; every array has the shape (radial bins, views, planes).

    Attributes:
        prompts: Counts recorded.
        attenuation: Attenuation factors in (0, 1].
        background: Expected randoms and scatter.
        scale: Counts per Bq/ml cm.
        expected: Expected prompts, known for a simulation only; independent draws of a lower dose need it.
        metadata: How the data came about, such as scanner, counts and seed.
    """

    prompts: NDArray[np.uint32]
    attenuation: Array
    background: Array
    scale: float
    expected: Array | None
    metadata: dict[str, Any]


def write_acquisition(path: str | Path, acquisition: Acquisition) -> None:
    """Write an acquisition as an uncompressed `.npz`."""
    arrays = {"prompts": acquisition.prompts, "attenuation": acquisition.attenuation, "background": acquisition.background}
    if acquisition.expected is not None:
        arrays["expected"] = acquisition.expected
    metadata = json.dumps(acquisition.metadata, allow_nan=False)
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, scale=np.float64(acquisition.scale), metadata=np.str_(metadata), **arrays)


def read_acquisition(path: str | Path, scanner: Scanner) -> Acquisition:
    """Read what `write_acquisition` wrote and check it against the scanner.

    Raises:
        InputError: the file is missing, damaged, lacks an array, or belongs to another geometry.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            content = {name: stored[name] for name in stored.files}
        metadata = json.loads(str(content["metadata"]))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path.") from None
    except KeyError:
        raise InputError(f"{path}: has no metadata; write it with petbench.physics.acquisition.") from None
    except Exception as error:  # numpy and zipfile each raise their own kinds for a broken file
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: cannot be read as an acquisition ({reason}); simulate it again.") from None
    for name in ("prompts", "attenuation", "background", "scale"):
        if name not in content:
            raise InputError(f"{path}: has no {name}; simulate it again.")
    for name in ("prompts", "attenuation", "background", "expected"):
        if name in content and content[name].shape != scanner.sinogram_shape:
            raise InputError(
                f"{path}: {name} has shape {content[name].shape}, scanner {scanner.name} has {scanner.sinogram_shape}; simulate it again."
            )
    return Acquisition(
        content["prompts"], content["attenuation"], content["background"], float(content["scale"]), content.get("expected"), metadata
    )

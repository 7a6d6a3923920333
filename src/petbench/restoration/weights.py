"""Trained weights on disk: safetensors with all that is needed to run them, loaded without executing code."""

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from petbench.device import place
from petbench.errors import InputError
from petbench.files import atomic
from petbench.methods.base import Restorer
from petbench.methods.build import build

KEY = "petbench"


@dataclass(frozen=True)
class Description:
    """What weights were trained as.

    Attributes:
        module: Module of `petbench.methods`.
        train: The entry's `train` block.
        preprocess: The data set's `preprocess` block.
        window: Window in voxels, (3,).
        voxel_mm: Voxel edges of the working grid, (3,).
        dataset: Data set, dose and fold of the training.
        dose: See `dataset`.
        fold: See `dataset`.
        code: Hash of the code that trained them.
        domain: The data set's domain: `slices` and `empty_below` say which slices they were trained on. Empty for weights of before it was
            written.
        inputs: What the method is given.
        people: What was measured of each subject trained on, see `petbench.preprocess.likeness`; empty for weights of before it was.
    """

    module: str
    train: dict[str, Any]
    preprocess: dict[str, Any]
    window: list[int]
    voxel_mm: list[float]
    dataset: str
    dose: str
    fold: str
    code: str
    domain: dict[str, Any] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=lambda: ["low_dose", "mr"])
    people: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Raises ValueError where `domain` is none: it decides what is restored."""
        below = self.domain.get("empty_below", 0.0)
        if isinstance(below, bool) or not isinstance(below, int | float) or not 0 <= below <= 1:
            raise ValueError(f"domain/empty_below is {below!r}, not a number from 0 to 1")


def save_weights(path: str | Path, state: Mapping[str, torch.Tensor], description: Description) -> None:
    """Write weights and their description, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata={KEY: json.dumps(asdict(description), sort_keys=True)})


def read_description(path: str | Path) -> Description:
    """Read what a weights file was trained as, without its tensors.

    Raises:
        InputError: the file is missing, damaged, or was not written by petbench.
    """
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > Path(path).stat().st_size:
                raise ValueError("header longer than the file")
            header = json.loads(file.read(length))
        return Description(**json.loads(header["__metadata__"][KEY]))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the path of a model.safetensors.") from None
    except (AttributeError, KeyError, TypeError, ValueError, OSError, struct.error) as error:
        raise InputError(f"{path}: is not a weights file of petbench ({error}); give a model.safetensors that it trained.") from None


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a safetensors file.

    Raises:
        InputError: the file is damaged.
    """
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cannot be read as safetensors ({error}); copy or train it again.") from None


def load_restorer(path: str | Path, device: str) -> tuple[Restorer, Description]:
    """Build the method a weights file belongs to and fill it, ready to restore.

    Raises:
        InputError: the file is missing or damaged, or does not fit the method as it is now.
    """
    description = read_description(path)
    restorer = build(description.module, description.train)
    fill(restorer, path)
    return place(restorer, device).eval(), description


def fill(restorer: Restorer, path: str | Path, part: str | None = None) -> None:
    """Load weights into a method, or those of one of its sub-modules into that; every name and shape must fit.

    Args:
        restorer: The method.
        path: `model.safetensors`.
        part: Name of the sub-module, such as `generator`; all when left out.

    Raises:
        InputError: a tensor is missing, left over, or of another shape, or there is no such part; names the first.
    """
    tensors = read_tensors(path)
    if part is not None:
        own = {name: tensor for name, tensor in tensors.items() if name.startswith(f"{part}.")}
        if not own:
            there = ", ".join(sorted({name.split(".", 1)[0] for name in tensors}))
            raise InputError(f"{path}: init_from: part: these weights have no {part!r}; choose one of {there}.")
        tensors = {name: tensor for name, tensor in restorer.weights().items() if not name.startswith(f"{part}.")} | own
    try:
        restorer.load_weights(tensors)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None

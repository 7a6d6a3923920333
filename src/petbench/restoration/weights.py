"""Trained weights on disk: safetensors with all that is needed to run them, loaded without executing code."""

import hashlib
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

KEY, CHECKSUM = "petbench", "sha256"


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
        scans: What the sidecars of the scans trained on say of their acquisition, see `petbench.data.acquired`, each once.
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
    scans: list[dict[str, Any]] = field(default_factory=list)
    people: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Raises ValueError where `domain` is none: it decides what is restored."""
        below = self.domain.get("empty_below", 0.0)
        if isinstance(below, bool) or not isinstance(below, int | float) or not 0 <= below <= 1:
            raise ValueError(f"domain/empty_below is {below!r}, not a number from 0 to 1")


def save_weights(path: str | Path, state: Mapping[str, torch.Tensor], description: Description) -> None:
    """Write weights and their description, with a checksum of both, atomically."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    told = asdict(description)
    # In one key: safetensors writes several in any order.
    metadata = {KEY: json.dumps(told | {CHECKSUM: _checksum(told, tensors)}, sort_keys=True)}
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def _checksum(told: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of a description and of the tensors, by name, with type and shape."""
    found = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def read_description(path: str | Path) -> Description:
    """Read what a weights file was trained as, without its tensors.

    Raises:
        InputError: the file is missing, damaged, or was not written by petbench.
    """
    told, _ = _told(path)
    try:
        return Description(**told)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is not a weights file of petbench ({error}); give a model.safetensors that it trained.") from None


def _told(path: str | Path) -> tuple[dict[str, Any], str | None]:
    """What a weights file says of itself, and the checksum of all it holds."""
    try:
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > Path(path).stat().st_size:
                raise ValueError("header longer than the file")
            told = dict(json.loads(json.loads(file.read(length))["__metadata__"][KEY]))
        return told, told.pop(CHECKSUM, None)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give the path of a model.safetensors.") from None
    except (AttributeError, KeyError, TypeError, ValueError, OSError, RecursionError, struct.error) as error:
        raise InputError(f"{path}: is not a weights file of petbench ({error}); give a model.safetensors that it trained.") from None


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a weights file, and check that they and their description are what was written.

    Raises:
        InputError: the file is damaged, or has no checksum.
    """
    told, written = _told(path)
    try:
        tensors = dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as safetensors ({error}); copy or train it again.") from None
    if written is None:
        raise InputError(f"{path}: has no checksum of its weights, as those of today have; train it again.")
    if written != _checksum(told, tensors):
        raise InputError(f"{path}: is damaged, its checksum is not that of its weights and description; copy or train it again.")
    return tensors


def load_restorer(path: str | Path, device: str) -> tuple[Restorer, Description]:
    """Build the method a weights file belongs to and fill it, ready to restore.

    Raises:
        InputError: the file is missing or damaged, or does not fit the method as it is now.
    """
    description, tensors = read_description(path), read_tensors(path)
    restorer = build(description.module, description.train)
    _load(restorer, tensors, path)
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
    _load(restorer, tensors, path)


def _load(restorer: Restorer, tensors: Mapping[str, torch.Tensor], path: str | Path) -> None:
    try:
        restorer.load_weights(tensors)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None

"""Training windows: views into memory-mapped volumes, in an order that follows from a seed and the step alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.files import open_array, read_json
from petbench.methods.base import ACQUISITION, NEGATIVES, Batch
from petbench.physics.plane_scans import PlaneScans, ScanFile, open_scan
from petbench.preprocess.places import PLACED, cut, placed_among
from petbench.preprocess.windows import thin_axis

DIAGNOSIS = "diagnosis"
"""What a training may be told of a person beside volumes."""
CONTRASTED = "negatives"
"""Slices of other subjects that a training may be given beside each of its own."""
NEAR = 2.0
"""Standard deviation of how many slices away from its own place a negative lies, as in CDM's code."""


class Samples(Protocol):
    """What the engine trains on: samples by number."""

    def batch(self, numbers: Sequence[int], /) -> Mapping[str, Any]:
        """Gather some samples: a batch of tensors for each kind of data."""
        ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class Windows:
    """All training windows of some subjects.

    Attributes:
        volumes: For each subject, its volumes by kind, memory-mapped; all have the same kinds.
        placed: Kinds of data that follow from where a window lies, of `petbench.preprocess.places`.
        contrasted: Whether windows come with negatives.
        diagnosis: For each subject, 1 in the group that is looked for and 0 in the other; empty where it is not asked for.
        index: Subject number and first voxel of each window, (number of windows, 4).
        window: Size of a window in voxels, (3,).
        scans: For each subject, its scan, memory-mapped; empty where it is not asked for.
    """

    volumes: list[dict[str, NDArray[np.generic]]]
    placed: list[str]
    contrasted: bool
    diagnosis: list[float]
    index: NDArray[np.int32]
    window: tuple[int, ...]
    scans: Sequence[ScanFile] = ()

    def batch(self, numbers: Sequence[int]) -> Batch:
        """Gather windows by number.

        Tensors (B, C, *spatial) for each kind of data, C being 1 for volumes, and (B,) for the diagnosis; the scans of windows.
        """
        gathered: dict[str, Any] = {}
        for kind in (*self.volumes[0], *self.placed):
            parts = [cut(kind, self.volumes[self.index[n, 0]], self.index[n, 1:], self.window) for n in numbers]
            gathered[kind] = torch.from_numpy(np.stack(parts))
        if self.scans:
            gathered[ACQUISITION] = PlaneScans.cat(
                [self.scans[self.index[n, 0]].windows(self.index[n, 3:], self.window[2]) for n in numbers]
            )
        if self.diagnosis:
            gathered[DIAGNOSIS] = torch.tensor([self.diagnosis[self.index[n, 0]] for n in numbers])
        if self.contrasted:
            random = np.random.default_rng(numbers)  # a window's negatives change with those that it is gathered with
            gathered[CONTRASTED] = torch.from_numpy(np.stack([self._negatives(n, random) for n in numbers]))
        return cast(Batch, gathered)

    def _negatives(self, number: int, random: np.random.Generator) -> NDArray[np.float32]:
        """Slices of other subjects' standard dose near a window's place, (NEGATIVES, *spatial)."""
        own, *start = self.index[number]
        axis = thin_axis(self.window)
        others = [subject for subject in range(len(self.volumes)) if subject != own]
        drawn = []
        for subject in random.choice(others, NEGATIVES):
            at, volumes = np.array(start), self.volumes[subject]
            moved = at[axis] + int(random.normal(0, NEAR))
            if 0 <= moved < volumes["standard_dose"].shape[axis]:
                at[axis] = moved
            drawn.append(cut("standard_dose", volumes, at, self.window))
        return np.concatenate(drawn)

    def __len__(self) -> int:
        return len(self.index)


def open_windows(
    parameters: Sequence[str], kinds: Sequence[str], contexts: Sequence[str] = (), acquisitions: Sequence[str] = ()
) -> Windows:
    """Open the prepared volumes of some subjects.

    Args:
        parameters: Their `prepared.json` files; the volumes and the index lie beside each.
        kinds: What is read: volumes such as `low_dose`, `mr`, `standard_dose` and `regions`, and `diagnosis`, nothing else; and what
            follows from a window's place, which is not read, as are `negatives`.
        contexts: The context of each subject, where it is among the kinds: it lies elsewhere, as each fold has its own.
        acquisitions: The `acquisition.json` of each subject, where it is among the kinds.

    Raises:
        InputError: a subject lacks what is asked for, the subjects were cut into windows of different sizes, or their voxels or the scaling
            of their intensities differ, or the geometries or resolutions of their scans do.
    """
    folders = [Path(path).parent for path in parameters]
    prepared = [read_json(path) for path in parameters]
    windows = {tuple(content["window"]) for content in prepared}
    if len(windows) != 1:
        raise InputError(f"{folders[0]}: windows of several sizes {sorted(windows)}; give the data sets trained together one window.")
    for folder, content in zip(folders, prepared, strict=True):
        if not np.allclose(content["voxel_mm"], prepared[0]["voxel_mm"], rtol=0.01):
            raise InputError(
                f"{folder}: voxels of {content['voxel_mm']} mm, where {folders[0]} has {prepared[0]['voxel_mm']} mm;"
                " give the data set preprocess/grid/voxel_mm, so that one network sees voxels of one size."
            )
        if content["scaling"] != prepared[0]["scaling"]:
            raise InputError(f"{folder}: scaled otherwise than {folders[0]}; give both one preprocess/scaling.")
    beside = [kind for kind in kinds if kind not in ("context", ACQUISITION, CONTRASTED, *PLACED)]
    for folder, content in zip(folders, prepared, strict=True):
        for kind in beside:
            if not (DIAGNOSIS in content if kind == DIAGNOSIS else (folder / f"{kind}.npy").exists()):
                raise InputError(
                    f"{folder}: has no {kind}, which the entry's restore/inputs or train/supervision names; take it out there, or train on"
                    " a data set that has it."
                )
    volumes = [{kind: open_array(folder / f"{kind}.npy") for kind in beside if kind != DIAGNOSIS} for folder in folders]
    if "context" in kinds:
        for volume, path in zip(volumes, contexts, strict=True):
            volume["context"] = open_array(path)
    diagnosis = [float(content[DIAGNOSIS]) for content in prepared if DIAGNOSIS in kinds]
    starts = [open_array(folder / "index.npy") for folder in folders]
    index = np.concatenate([np.column_stack([np.full(len(start), subject, np.int32), start]) for subject, start in enumerate(starts)])
    if CONTRASTED in kinds and (len(folders) < 2 or thin_axis(prepared[0]["window"]) is None):
        raise InputError(f"{folders[0]}: train/supervision: negatives are slices of other subjects; train on slices, of at least two.")
    return Windows(volumes, placed_among(kinds), CONTRASTED in kinds, diagnosis, index, windows.pop(), _open_scans(acquisitions))


def _open_scans(parameters: Sequence[str]) -> list[ScanFile]:
    """The scans of some subjects, which a batch takes planes of together."""
    scans = [open_scan(path) for path in parameters]
    for path, scan in zip(parameters, scans, strict=True):
        if (scan.scanner, scan.psf_mm) != (scans[0].scanner, scans[0].psf_mm):
            raise InputError(
                f"{path}: a scan of another scanner or resolution (reconstruction/psf_mm) than {parameters[0]}; train on data sets of one."
            )
    return scans


def batch_numbers(count: int, batch_size: int, step: int, seed: int) -> list[int]:
    """Window numbers of one training step.

    Windows are shuffled anew each epoch; the last batch of an epoch is topped up from the next, so that each step has the same size.
    The order follows from `seed` and `step` alone, so that a resumed training sees what an uninterrupted one would.
    """
    numbers: list[int] = []
    first = step * batch_size
    while len(numbers) < batch_size:
        epoch, offset = divmod(first + len(numbers), count)
        order = _order(count, seed, epoch)
        numbers.extend(int(n) for n in order[offset : offset + batch_size - len(numbers)])
    return numbers


@lru_cache(maxsize=2)
def _order(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(count)

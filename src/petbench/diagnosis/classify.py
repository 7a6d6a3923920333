"""Classifiers of one fold of a diagnosis study: trained by the one engine, tested on people whom neither they nor any generator saw."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.evaluation.scores import write_scores
from petbench.files import atomic, checksum, read_json
from petbench.methods.base import Progress, Step, Trained
from petbench.networks.volume_classifier import VolumeClassifier
from petbench.preprocess.places import placed_among
from petbench.restoration.restore import stitch
from petbench.restoration.weights import load_restorer
from petbench.training.fit import fit_model

Array = NDArray[np.float32]


@dataclass(frozen=True)
class People:
    """Volumes and labels of some subjects.

    Attributes:
        volumes: (n, channels, x, y, z): MR and, where a row has it, PET.
        ill: 1 for patients, (n,).
    """

    volumes: Array
    ill: Array

    def batch(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """Gather subjects by number."""
        return {"volumes": torch.from_numpy(self.volumes[list(numbers)]), "ill": torch.from_numpy(self.ill[list(numbers)])}

    def __len__(self) -> int:
        return len(self.ill)


class Classification(Trained):
    """A classifier under binary cross-entropy, each group weighted by the other's share, so that neither is preferred for its size.

    Args:
        network: The classifier.
        patients: Share of patients among those it trains on.
    """

    def __init__(self, network: VolumeClassifier, patients: float):
        super().__init__()
        self.network, self.patients = network, patients

    def optimised(self) -> dict[str, Iterable[nn.Parameter]]:
        """One optimiser, `classifier`."""
        return {"classifier": self.parameters()}

    def losses(self, batch: Mapping[str, Tensor], progress: Progress) -> Iterator[Step]:
        """One step on a batch of `People`."""
        ill = batch["ill"]
        weights = torch.where(ill > 0, 0.5 / self.patients, 0.5 / (1 - self.patients))
        logits = self.network(batch["volumes"]).float()
        loss = nn.functional.binary_cross_entropy_with_logits(logits, ill, weights)
        right = ((logits.detach() > 0) == (ill > 0)).float().mean()
        yield Step("classifier", loss, {"accuracy": right})


def classify(
    plan: Mapping[str, Any],
    classifier: Mapping[str, Any],
    files: Mapping[str, Sequence[str]],
    checkpoints: str | Path,
    device: str,
    threads: int,
    out: Mapping[str, str],
    code: str,
    checkpoint_seconds: float = 60.0,
) -> None:
    """Train and test the classifiers of one fold, one a row and repeat.

    Args:
        plan: `dataset`, `dose`, `classifier`, `study` and `fold`; `train` and `test`, subjects whose `files["train"]` and
            `files["test"]` are in that order; `ill` by subject; and `rows`: for each, None for MR alone, or by subject the place of its
            generator in `files["generators"]`, None for its own PET.
        classifier: The classifier entry: `network`, `train`, `repeats`, and where given `inputs`, keywords of `as_inputs`.
        files: `prepared.json` of `train` and `test`, weights of `generators`.
        checkpoints: Folder for resume checkpoints.
        device: `cpu` or `cuda`.
        threads: CPU threads.
        out: Files to write: `scores` and `history`.
        code: Hash of the code.
        checkpoint_seconds: Time between checkpoints.

    Raises:
        InputError: those trained on are one group alone, a generator was trained on other volumes, or a training diverges.
    """
    import pandas as pd

    torch.set_num_threads(threads)
    groups = {plan["ill"][subject] for subject in plan["train"]}
    if len(groups) < 2:
        alone = "nobody" if not groups else "patients alone" if groups == {1} else "controls alone"
        raise InputError(
            f"config/datasets/{plan['dataset']}.yaml: fold {plan['fold']} of the study {plan['study']} trains a classifier on {alone};"
            " give the data set patients and controls with PET, or another split."
        )
    subjects = [*plan["train"], *plan["test"]]
    prepared = dict(zip(subjects, [*files["train"], *files.get("test", [])], strict=True))
    channels = _channels(plan["rows"], prepared, files.get("generators", []), device)
    ill = np.array([plan["ill"][subject] for subject in subjects], dtype=np.float32)
    last = len(plan["train"])
    inputs = {name: [checksum(path) for path in paths] for name, paths in sorted(files.items())}
    scores, histories = [], []
    for row, volumes in channels.items():
        volumes = as_inputs(volumes, last, **classifier.get("inputs", {}))
        make = partial(_make, volumes.shape[1:], classifier["network"], float(ill[:last].mean()))
        for repeat in range(classifier["repeats"]):
            train = {**classifier["train"], "seed": classifier["train"]["seed"] + repeat}
            identity = {"train": train, "classifier": classifier, "row": row, "plan": plan, "inputs": inputs, "code": code}
            trained: list[Trained] = []
            with tempfile.TemporaryDirectory(prefix="petbench-") as folder:
                fit_model(
                    make=make,
                    samples=People(volumes[:last], ill[:last]),
                    train=train,
                    identity=identity,
                    checkpoints=Path(checkpoints) / f"{row}-{repeat}",
                    device=device,
                    threads=threads,
                    out={"history": f"{folder}/history.tsv", "cost": f"{folder}/cost.json"},
                    save=trained.append,
                    checkpoint_seconds=checkpoint_seconds,
                )
                histories.append(pd.read_csv(f"{folder}/history.tsv", sep="\t").assign(row=row, repeat=repeat))
            score = predict(trained[0], volumes[last:], train["batch_size"], device)
            tested = {"subject": plan["test"], "ill": ill[last:].astype(int), "score": score}
            scores.append(pd.DataFrame({"row": row, "repeat": repeat, **tested}))
    place = {name: plan[name] for name in ("dataset", "dose", "classifier", "study", "fold")}
    with atomic(out["history"]) as temporary:
        pd.concat(histories).to_csv(temporary, sep="\t", index=False)
    write_scores(out["scores"], pd.concat(scores).assign(**place))


def as_inputs(volumes: Array, train: int, pool: int = 1, by_mean: bool = False, standardise: bool = False) -> Array:
    """Volumes as a classifier sees them.

    Args:
        volumes: (n, channels, x, y, z), those trained on first.
        train: How many are trained on.
        pool: Voxels along each edge of the cubes that are averaged; it divides the grid.
        by_mean: Divide each image by its own mean, as uptake is read over that of the whole brain.
        standardise: Take each voxel less its mean over the volumes trained on, in units of its standard deviation among them, so that
            what differs between people counts the same wherever it lies. Deviations below a fifth of the mean one of the voxels that
            are not background, a tenth of the brightest, count as that, and background is zero.

    Raises:
        InputError: the grid cannot be divided into such cubes.
    """
    count, channels, *grid = volumes.shape
    if any(side % pool for side in grid):
        raise InputError(f"classifiers: inputs/pool {pool} does not divide a grid of {' x '.join(map(str, grid))}; choose another.")
    cubes = volumes.reshape(count, channels, *(part for side in grid for part in (side // pool, pool)))
    seen: Array = cubes.mean(axis=(3, 5, 7), dtype=np.float64)
    if by_mean:
        seen = seen / np.maximum(seen.mean(axis=(2, 3, 4), keepdims=True), 1e-12)
    if standardise:
        mean, deviation = seen[:train].mean(axis=0), seen[:train].std(axis=0)
        inside = mean > 0.1 * mean.max(axis=(1, 2, 3), keepdims=True)
        typical = np.mean(deviation, axis=(1, 2, 3), keepdims=True, where=inside)
        seen = np.where(inside, (seen - mean) / np.maximum(deviation, 0.2 * typical + 1e-12), 0)
    return seen.astype(np.float32)


def _make(shape: Sequence[int], network: Mapping[str, Any], patients: float) -> Classification:
    width, *grid = shape
    return Classification(VolumeClassifier(width, grid, **network), patients)


@torch.inference_mode()
def predict(trained: Trained, volumes: Array, batch_size: int, device: str) -> NDArray[np.float64]:
    """Probability of being ill, (n,), of volumes (n, channels, x, y, z)."""
    trained.eval()
    parts = [torch.from_numpy(volumes[first : first + batch_size]).to(device) for first in range(0, len(volumes), batch_size)]
    assert isinstance(trained, Classification)
    scores = [trained.network(part).float().sigmoid().cpu().numpy() for part in parts]
    return np.asarray(np.concatenate(scores), dtype=np.float64)


def _channels(
    rows: Mapping[str, Mapping[str, int | None] | None], prepared: Mapping[str, str], generators: Sequence[str], device: str
) -> dict[str, Array]:
    """Volumes of every subject, (n, channels, x, y, z), by row; each generator is read once and makes PET of those it is for."""
    folders = {subject: Path(path).parent for subject, path in prepared.items()}
    mr = {subject: np.load(folder / "mr.npy") for subject, folder in folders.items()}
    wanted: dict[int, set[str]] = {}
    for makers in rows.values():
        for subject, place in (makers or {}).items():
            if place is not None:
                wanted.setdefault(place, set()).add(subject)
    generated: dict[tuple[int, str], Array] = {}
    for place, subjects in wanted.items():
        restorer, description = load_restorer(generators[place], device)
        for subject in sorted(subjects):
            window = read_json(prepared[subject])["window"]
            if list(description.window) != window:
                raise InputError(
                    f"{generators[place]}: was trained on windows of {description.window}, and {prepared[subject]} has {window}."
                )
            generated[place, subject] = stitch(
                restorer, None, mr[subject], window, window, 1, device, placed=placed_among(description.inputs)
            )

    def pet(subject: str, place: int | None) -> Array:
        return np.load(folders[subject] / "standard_dose.npy") if place is None else generated[place, subject]

    return {
        row: np.stack(
            [np.stack([mr[subject], *([] if makers is None else [pet(subject, makers[subject])])]) for subject in prepared]
        ).astype(np.float32)
        for row, makers in rows.items()
    }

"""Which weights a restored volume comes from, what those saw, and the proof that they never saw the subject under test."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from petbench.errors import InputError
from petbench.preprocess.splits import ALL, folds, people_of, train_subjects


@dataclass(frozen=True, order=True)
class Training:
    """One training job: a method on a fold of a data set at a dose."""

    dataset: str
    dose: str
    method: str
    fold: str


@dataclass(frozen=True, order=True)
class Sample:
    """One subject of a data set at a dose."""

    dataset: str
    dose: str
    subject: str


def weights_of(entries: Mapping[str, Any], wanted: Training) -> Training:
    """The training whose weights a method runs with: its own, or those that `weights_of` refers to."""
    entry = entries["methods"][wanted.method]
    if "weights_of" not in entry:
        return wanted
    return weights_of(entries, _referred(entry["weights_of"], wanted))


def starting_point(entries: Mapping[str, Any], training: Training) -> Training | None:
    """The training whose weights another begins with (`init_from`), or none."""
    reference = entries["methods"][training.method].get("init_from")
    return None if reference is None else weights_of(entries, _referred(reference, training))


def _referred(reference: Mapping[str, str], own: Training) -> Training:
    return replace(own, **reference)


def training_samples(entries: Mapping[str, Any], training: Training) -> list[Sample]:
    """What a training reads: its fold's training subjects, and all of `also_train_on` (of its own data set, the fold's only)."""
    datasets = entries["datasets"]

    def of(dataset: str, dose: str, fold: str) -> list[Sample]:
        entry = datasets[dataset]
        return [Sample(dataset, dose, subject) for subject in train_subjects(people_of(entry), entry["split"], fold)]

    samples = of(training.dataset, training.dose, training.fold)
    for other in entries["methods"][training.method].get("also_train_on", []):
        same = other["dataset"] == training.dataset
        samples += of(other["dataset"], other["dose"], training.fold if same else ALL)
    return samples


def seen(entries: Mapping[str, Any], training: Training) -> Iterator[Sample]:
    """Every sample that shaped a training's weights, back through all starting points."""
    yield from training_samples(entries, training)
    start = starting_point(entries, training)
    if start is not None:
        yield from seen(entries, start)


def check_unseen(entries: Mapping[str, Any], method: str, dataset: str, dose: str) -> None:
    """Check that no person is restored by weights that saw it: the subject at whatever dose, or another copy of its phantom.

    Raises:
        InputError: one would be; names the method, the subject and the mend.
    """
    entry = entries["methods"][method]
    for part in entry.get("ensemble", []):
        check_unseen(entries, part, dataset, dose)
    if "ensemble" in entry:
        return
    own = entries["datasets"][dataset]
    people = people_of(own)
    for fold, tests in folds(people, own["split"]).items():
        weights = weights_of(entries, Training(dataset, dose, method, fold))
        known = {_identity(entries, sample.dataset, sample.subject) for sample in seen(entries, weights)}
        for subject in tests:
            if _identity(entries, dataset, subject) in known:
                shown = repr(subject) if people[subject] == subject else f"{subject!r} (phantom {people[subject]!r})"
                raise InputError(
                    f"config/methods/{method}.yaml: fold {fold} of {dataset!r} tests subject {shown}, which its weights"
                    f" ({weights.method} on {weights.dataset!r}, fold {weights.fold}) were trained on;"
                    " leave `fold` out of the reference, or refer to another data set."
                )


def _identity(entries: Mapping[str, Any], dataset: str, subject: str) -> tuple[str, str, str]:
    """Who a subject is, over all data sets.

    Entries that read one BIDS folder share its subjects, and entries made of BrainWeb its models; other phantoms of differently named
    entries are different people.
    """
    entry = entries["datasets"][dataset]
    place = {"bids": str(Path(entry.get("bids", "")).resolve()), "brainweb": ""}.get(entry["source"], dataset)
    return entry["source"], place, people_of(entry)[subject]

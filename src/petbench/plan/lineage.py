"""Which weights a restored volume comes from, what those saw, and the proof that they never saw the subject under test."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from petbench.errors import InputError
from petbench.evaluation.definitions import MR_ALONE, REAL_PET
from petbench.preprocess.splits import ALL, folds, pair_of, people_of, train_subjects


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
    if reference is None:
        return None
    return weights_of(entries, _referred({key: value for key, value in reference.items() if key != "part"}, training))


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
    for fold, tests in [*folds(people, own["split"]).items(), (ALL, own.get("mr_only", []))]:
        weights = weights_of(entries, Training(dataset, dose, method, fold))
        known = {_identity(entries, sample.dataset, sample.subject) for sample in seen(entries, weights)}
        for subject in tests:
            if _identity(entries, dataset, subject) in known:
                shown = repr(subject) if people.get(subject, subject) == subject else f"{subject!r} (phantom {people[subject]!r})"
                raise InputError(
                    f"config/methods/{method}.yaml: fold {fold} of {dataset!r} tests subject {shown}, which its weights"
                    f" ({weights.method} on {weights.dataset!r}, fold {weights.fold}) were trained on;"
                    " leave `fold` out of the reference, or refer to another data set."
                )


def is_ill(entry: Mapping[str, Any], subject: str) -> int:
    """Whether somebody in a data set entry with labels is a patient, 1, or a control, 0."""
    return int(entry["labels"][subject] == entry["diagnosis"]["positive"])


def check_told(entries: Mapping[str, Any], training: Training) -> None:
    """Check that a training that is told the diagnosis of people (`train/supervision`) reads labelled people of both groups.

    Raises:
        InputError: it does not; names the entry and the mend.
    """
    if "diagnosis" not in entries["methods"][training.method].get("train", {}).get("supervision", []):
        return
    groups = set[int]()
    for sample in training_samples(entries, training):
        entry = entries["datasets"][sample.dataset]
        if sample.subject not in entry.get("labels", {}):
            raise InputError(
                f"config/methods/{training.method}.yaml: train/supervision: the method learns from the diagnosis, and data set"
                f" {sample.dataset!r} has none; give it the block diagnosis, or choose another method."
            )
        groups.add(is_ill(entry, sample.subject))
    if len(groups) < 2:
        alone = "nobody" if not groups else "patients alone" if groups == {1} else "controls alone"
        raise InputError(
            f"config/datasets/{training.dataset}.yaml: split: fold {training.fold} trains {training.method!r}, which learns from the"
            f" diagnosis, on {alone}; give fewer folds or more subjects, or take another seed."
        )


@dataclass(frozen=True)
class Study:
    """One fold of a diagnosis study: who trains a classifier, who tests it, and where the PET of each comes from.

    Attributes:
        train: Subjects that it trains on.
        test: Subjects that it is tested on: those of a fold, or those with MR only.
        pet: By row and subject, the training whose weights make its PET, or None where it is the subject's own; without the rows that
            have no PET.
    """

    train: list[str]
    test: list[str]
    pet: dict[str, dict[str, Training | None]]


def study_of(entries: Mapping[str, Any], dataset: str, dose: str, rows: Sequence[str], train_pet: str, fold: str) -> Study:
    """One fold of a diagnosis study, worked out from the entries alone.

    Generated PET of a tested subject comes from a generator that trained on the classifier's training subjects; that of a training
    subject, from one that saw neither it nor anybody tested: for fold k and a subject of fold f, the generator of the pair (k, f). The
    classifier for those with MR only is trained on everybody with PET, whose generated PET comes from their own fold's generator.

    Args:
        entries: Resolved entries.
        dataset: Data set entry with labels.
        dose: Its dose.
        rows: `mr`, `real_pet`, or methods.
        train_pet: `generated`, or `real` to train the classifiers of generated PET on real PET.
        fold: A fold of the data set, or `all`.

    Raises:
        InputError: generated PET to train on is wanted of somebody whom no fold tests.
    """
    entry = entries["datasets"][dataset]
    people, split = people_of(entry), entry["split"]
    train = train_subjects(people, split, fold)
    test = list(entry["mr_only"]) if fold == ALL else folds(people, split)[fold]
    tested_by = {subject: own for own, tests in folds(people, split).items() for subject in tests}

    def maker(row: str, subject: str) -> Training | None:
        if row == REAL_PET or (train_pet == "real" and subject not in test):
            return None
        if subject not in test and subject not in tested_by:
            raise InputError(
                f"config/datasets/{dataset}.yaml: split: no fold tests {subject!r}, so that no PET of it is generated out of fold;"
                " split by k_fold, or give the classifier train_pet: real."
            )
        return weights_of(entries, Training(dataset, dose, row, fold if subject in test else _other(fold, tested_by[subject])))

    with_pet = [row for row in rows if row != MR_ALONE and not (row == REAL_PET and fold == ALL)]
    return Study(train, test, {row: {subject: maker(row, subject) for subject in [*train, *test]} for row in with_pet})


def _other(fold: str, own: str) -> str:
    """The fold of the generator that makes the PET of a subject of fold `own`, on which a classifier of `fold` trains."""
    return own if fold == ALL else pair_of(fold, own)


def check_study(entries: Mapping[str, Any], dataset: str, dose: str, study: Study) -> None:
    """Check that nobody tested was trained on, by the classifier or any generator behind it, and that no generator saw whose PET it makes.

    Raises:
        InputError: somebody was; names the method, the subject and the mend.
    """
    tested = {_identity(entries, dataset, subject) for subject in study.test}
    if both := [subject for subject in study.train if _identity(entries, dataset, subject) in tested]:
        raise InputError(f"config/datasets/{dataset}.yaml: subject {both[0]!r} trains the classifier that it tests; list it once.")
    by_maker: dict[Training, set[tuple[str, str, str]]] = {}
    for row, makers in study.pet.items():
        for subject, maker in makers.items():
            if maker is None:
                continue
            if maker not in by_maker:
                by_maker[maker] = {_identity(entries, sample.dataset, sample.subject) for sample in seen(entries, maker)}
            known = by_maker[maker]
            if found := known & (tested | {_identity(entries, dataset, subject)}):
                raise InputError(
                    f"config/methods/{row}.yaml: PET of subject {subject!r} of {dataset!r} is made by weights ({maker.method} on"
                    f" {maker.dataset!r}, fold {maker.fold}) that were trained on {sorted(found)[0][2]!r};"
                    " leave `fold` out of the reference, or refer to another data set."
                )
            if not known:
                raise InputError(
                    f"config/datasets/{dataset}.yaml: split/folds: fold {maker.fold} leaves nobody to train a generator on;"
                    " give three folds or more."
                )


def _identity(entries: Mapping[str, Any], dataset: str, subject: str) -> tuple[str, str, str]:
    """Who a subject is, over all data sets.

    Entries that read one BIDS folder share its subjects, and entries made of BrainWeb its models; other phantoms of differently named
    entries are different people.
    """
    entry = entries["datasets"][dataset]
    source = entry["source"]
    place = str(Path(entry[source]).resolve()) if source in ("bids", "table") else {"brainweb": ""}.get(source, dataset)
    return source, place, entry.get("phantoms", {}).get(subject, {}).get("phantom", subject)

"""Which weights a restored volume comes from, what those saw, and the proof that they never saw the subject under test."""

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from petbench.errors import InputError
from petbench.evaluation.definitions import MR_ALONE, REAL_PET
from petbench.preprocess.splits import ALL, fold_unseen, folds, people_of, person_of, train_subjects

Person = tuple[str, str, str]
"""Who a subject is: the kind and place of its data set's source, and its name there."""


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


def out_of_fold(entries: Mapping[str, Any], wanted: Training, subject: str, mend: str = "") -> Training:
    """Who restores a subject that a fold trains on: the same method on a fold that saw neither it nor anybody that the fold tests.

    Args:
        entries: Resolved entries.
        wanted: Data set, dose and method, and the fold that trains on the subject.
        subject: The subject.
        mend: Another way out than another split, for the message.

    Raises:
        InputError: the split has no such fold.
    """
    entry = entries["datasets"][wanted.dataset]
    try:
        return replace(wanted, fold=fold_unseen(people_of(entry), entry["split"], wanted.fold, subject))
    except InputError as error:
        if "inner" in entry["split"]:
            raise InputError(f"config/datasets/{wanted.dataset}.yaml: {error}") from None
        raise InputError(
            f"config/datasets/{wanted.dataset}.yaml: split: no fold tests {subject!r}, so that {wanted.method!r} cannot restore it out of"
            f" fold; split by k_fold, give split/inner (2 or more){mend}."
        ) from None


def context_of(entries: Mapping[str, Any], restoring: Training) -> Training | None:
    """Who makes the context of a subject that a method restores by the weights of a fold, or none: the `context` entry on that fold."""
    context = entries["methods"][restoring.method].get("context")
    return None if context is None else replace(restoring, method=context["method"])


def contexts(entries: Mapping[str, Any], training: Training) -> dict[Sample, Training]:
    """Who makes the context of each subject that a training reads, out of fold; nothing where its method takes none.

    Raises:
        InputError: the split of a data set has no fold for it.
    """
    return {
        sample: out_of_fold(entries, replace(wanted, dataset=sample.dataset, dose=sample.dose, fold=fold), sample.subject)
        for sample in training_samples(entries, training)
        if (wanted := context_of(entries, training)) is not None
        for fold in [training.fold if sample.dataset == training.dataset else ALL]
    }


def seen(entries: Mapping[str, Any], training: Training) -> Iterator[Sample]:
    """Every sample that shaped a training's weights, back through all starting points and all that made contexts."""
    yield from training_samples(entries, training)
    start = starting_point(entries, training)
    before = {weights_of(entries, maker) for maker in contexts(entries, training).values()} | ({start} if start is not None else set())
    for earlier in sorted(before):
        yield from seen(entries, earlier)


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
        if not tests:
            continue
        weights = weights_of(entries, Training(dataset, dose, method, fold))
        check_contexts(entries, weights, {_identity(entries, dataset, subject) for subject in tests})
        context = context_of(entries, Training(dataset, dose, method, fold))
        for restoring in [weights, *([] if context is None else [weights_of(entries, context)])]:
            known = identities(entries, restoring)
            for subject in tests:
                if _identity(entries, dataset, subject) in known:
                    shown = repr(subject) if people.get(subject, subject) == subject else f"{subject!r} (phantom {people[subject]!r})"
                    raise InputError(
                        f"config/methods/{method}.yaml: fold {fold} of {dataset!r} tests subject {shown}, which its weights"
                        f" ({restoring.method} on {restoring.dataset!r}, fold {restoring.fold}) were trained on;"
                        " leave `fold` out of the reference, or refer to another data set."
                    )


def check_contexts(entries: Mapping[str, Any], training: Training, tested: Set[Person]) -> None:
    """Check that whatever made the context of those that a training reads saw neither them nor anybody tested.

    Raises:
        InputError: it did; names the method, the subject and the mend.
    """
    known: dict[Training, set[Person]] = {}
    for sample, maker in contexts(entries, training).items():
        weights = weights_of(entries, maker)
        if weights not in known:
            known[weights] = identities(entries, weights)
            check_contexts(entries, weights, tested)
        if not known[weights]:
            raise InputError(
                f"config/datasets/{sample.dataset}.yaml: split: fold {weights.fold} leaves nobody to train {weights.method!r} on, which"
                f" {training.method!r} takes as context; give three folds or more."
            )
        if found := known[weights] & (tested | {_identity(entries, sample.dataset, sample.subject)}):
            raise InputError(
                f"config/methods/{training.method}.yaml: context: that of subject {sample.subject!r}, on which fold {training.fold} of"
                f" {training.dataset!r} trains, is made by weights ({weights.method} on {weights.dataset!r}, fold {weights.fold}) that were"
                f" trained on {sorted(found)[0][2]!r}; leave `fold` out of the references of {maker.method!r}, or name another method."
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
    subject, from one that saw neither it nor anybody tested: for fold k and a subject of fold f, the generator of the pair (k, f), or
    of a group of fold k (see `fold_unseen`). The classifier for those with MR only is trained on everybody with PET, whose generated PET
    comes from their own fold's generator.

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

    def maker(row: str, subject: str) -> Training | None:
        if row == REAL_PET or (train_pet == "real" and subject not in test):
            return None
        own = Training(dataset, dose, row, fold)
        real = ", or give the classifier train_pet: real"
        return weights_of(entries, own if subject in test else out_of_fold(entries, own, subject, mend=real))

    with_pet = [row for row in rows if row != MR_ALONE and not (row == REAL_PET and fold == ALL)]
    return Study(train, test, {row: {subject: maker(row, subject) for subject in [*train, *test]} for row in with_pet})


def check_study(entries: Mapping[str, Any], dataset: str, dose: str, study: Study) -> None:
    """Check that nobody tested was trained on, by the classifier or any generator behind it, and that no generator saw whose PET it makes.

    Raises:
        InputError: somebody was; names the method, the subject and the mend.
    """
    tested = {_identity(entries, dataset, subject) for subject in study.test}
    if both := [subject for subject in study.train if _identity(entries, dataset, subject) in tested]:
        raise InputError(f"config/datasets/{dataset}.yaml: subject {both[0]!r} trains the classifier that it tests; list it once.")
    by_maker: dict[Training, set[Person]] = {}
    for row, makers in study.pet.items():
        for subject, maker in makers.items():
            if maker is None:
                continue
            if maker not in by_maker:
                by_maker[maker] = identities(entries, maker)
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


def identities(entries: Mapping[str, Any], training: Training) -> set[Person]:
    """Who shaped a training's weights."""
    return {_identity(entries, sample.dataset, sample.subject) for sample in seen(entries, training)}


def _identity(entries: Mapping[str, Any], dataset: str, subject: str) -> Person:
    """Who a subject is, over all data sets.

    Entries that read one BIDS folder or one data set of OpenNeuro share its subjects, and entries made of BrainWeb its models; other
    phantoms of differently named entries are different people.
    """
    entry = entries["datasets"][dataset]
    source = entry["source"]
    if source == "openneuro":
        return source, entry[source]["accession"], person_of(entry, subject)
    place = str(Path(entry[source]).resolve()) if source in ("bids", "table") else {"brainweb": ""}.get(source, dataset)
    return source, place, person_of(entry, subject)

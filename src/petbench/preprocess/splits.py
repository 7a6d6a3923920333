"""Splits by person: which fold tests whom. A pure function of the data set entry.

Everywhere, `people` maps each subject of a data set to the person it shows: rotated copies of a phantom show one, as do the sessions of
somebody, and are always on the same side of a split.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from petbench.errors import InputError

ALL = "all"
"""The fold that trains on every subject and tests none."""
PAIR = "-"
"""Between folds, such as `0-2`: the fold that trains on those whom neither of the two tests."""
INNER = "."
"""Between a fold and a group of its training subjects, such as `0.1`: the fold that trains on the others of them."""

People = Mapping[str, str]


def people_of(entry: Mapping[str, Any]) -> dict[str, str]:
    """The person that each subject of a resolved data set entry shows: the phantom it is a copy of, whose session it is, or itself."""
    return {subject: person_of(entry, subject) for subject in entry["subjects"]}


def person_of(entry: Mapping[str, Any], subject: str) -> str:
    """The person that one subject shows."""
    copies, scans = entry.get("phantoms", {}), entry.get("scans", {})
    return str(copies[subject]["phantom"] if subject in copies else scans[subject]["subject"] if subject in scans else subject)


def folds(people: People, split: Mapping[str, Any]) -> dict[str, list[str]]:
    """Assign people to the folds that test them.

    Args:
        people: The person each subject shows.
        split: `scheme: leave_one_out`; `scheme: k_fold` with `folds` (their number) and `seed` (of the shuffle); or `scheme: holdout`,
            one fold, with `test` and `validation` (numbers of people) and `seed`. With `strata`, the group of each person, folds of
            `k_fold` share each group out evenly.

    Returns:
        Test subjects by fold (`0`, `1`, ...). Every subject is in one fold, whose sizes differ by one person at most; of a holdout only
        the tested are.

    Raises:
        InputError: more folds than people, or a holdout that leaves nobody to train on.
    """
    persons = list(dict.fromkeys(people.values()))
    if split["scheme"] == "leave_one_out":
        return {str(fold): _showing(people, [person]) for fold, person in enumerate(persons)}
    if split["scheme"] == "holdout":
        return {"0": _showing(people, _held_out(persons, split)[0])}
    count = split["folds"]
    if count > len(persons):
        raise InputError(f"split/folds: {count} folds need as many {_kind(people)}, and there are {len(persons)}; lower it.")
    order = _shuffled(persons, split)
    if "strata" in split:
        order.sort(key=split["strata"].__getitem__)
    return {str(fold): _showing(people, order[fold::count]) for fold in range(count)}


def validation_subjects(people: People, split: Mapping[str, Any]) -> list[str]:
    """Subjects that a holdout keeps out of training and test alike; none of the other schemes."""
    if split["scheme"] != "holdout":
        return []
    return _showing(people, _held_out(list(dict.fromkeys(people.values())), split)[1])


def subjects_tested(people: People, split: Mapping[str, Any]) -> list[str]:
    """Subjects that some fold tests, in their own order: those that are restored, measured and shown."""
    tested = {subject for tests in folds(people, split).values() for subject in tests}
    return [subject for subject in people if subject in tested]


def train_subjects(people: People, split: Mapping[str, Any], fold: str) -> list[str]:
    """Subjects that a fold trains on: all but those it tests and those kept for validation; for a pair of folds, those that neither tests.

    Raises:
        InputError: there is no such fold.
    """
    outer, inner, group = fold.rpartition(INNER)
    if inner:
        left_out = inner_folds(people, split, outer)[group]
        return [subject for subject in train_subjects(people, split, outer) if subject not in left_out]
    if fold == ALL:
        return list(people)
    tests = folds(people, split)
    parts = fold.split(PAIR)
    if not set(parts) <= set(tests):
        raise InputError(f"fold {fold!r} does not exist; the folds are {', '.join(tests)} and {ALL}.")
    tested = {*(subject for part in parts for subject in tests[part]), *validation_subjects(people, split)}
    return [subject for subject in people if subject not in tested]


def inner_folds(people: People, split: Mapping[str, Any], fold: str) -> dict[str, list[str]]:
    """The groups that a fold's training subjects are dealt into, `split/inner` of them, by number (`0`, `1`, ...).

    Raises:
        InputError: there are more groups than people.
    """
    persons = list(dict.fromkeys(people[subject] for subject in train_subjects(people, split, fold)))
    count = split["inner"]
    if count > len(persons):
        raise InputError(f"split/inner: {count} groups need as many {_kind(people)}, and fold {fold} trains on {len(persons)}; lower it.")
    order = _shuffled(persons, split)
    return {str(group): _showing(people, order[group::count]) for group in range(count)}


def fold_unseen(people: People, split: Mapping[str, Any], fold: str, subject: str) -> str:
    """The fold whose training saw neither a subject that `fold` trains on nor anybody that `fold` tests: who makes images of it for `fold`.

    With `split/inner` it trains on the other groups of the fold's training subjects, else on those whom neither `fold` nor the fold that
    tests the subject tests.

    Raises:
        InputError: there is no `split/inner`, and no fold tests the subject.
    """
    if "inner" in split:
        groups = inner_folds(people, split, fold)
        return f"{fold}{INNER}{next(group for group, subjects in groups.items() if subject in subjects)}"
    own = fold_testing(people, split, subject)
    return own if fold == ALL else pair_of(fold, own)


def fold_testing(people: People, split: Mapping[str, Any], subject: str) -> str:
    """The fold whose training did not see `subject`.

    Raises:
        InputError: no fold tests this subject.
    """
    for fold, tests in folds(people, split).items():
        if subject in tests:
            return fold
    raise InputError(f"subject {subject!r} is in no fold; the subjects tested are {', '.join(subjects_tested(people, split))}.")


def another(people: People, split: Mapping[str, Any], subject: str) -> str:
    """Whose images stand in for a tested subject's: the next of another person that its fold tests or, where it tests one, trains on.

    Raises:
        InputError: no fold tests the subject.
    """
    fold = fold_testing(people, split, subject)
    order = list(people)
    after = order[order.index(subject) :] + order[: order.index(subject)]
    pools = [folds(people, split)[fold], train_subjects(people, split, fold)]
    return next(other for pool in pools for other in after if other in pool and people[other] != people[subject])


def pair_of(fold: str, other: str) -> str:
    """The name of the fold that leaves out what either of two folds tests; each may be a pair itself."""
    return PAIR.join(sorted({*fold.split(PAIR), *other.split(PAIR)}, key=int))


def _showing(people: People, persons: list[str]) -> list[str]:
    shown = set(persons)
    return sorted(subject for subject, person in people.items() if person in shown)


def _shuffled(persons: list[str], split: Mapping[str, Any]) -> list[str]:
    return [persons[index] for index in np.random.default_rng(split.get("seed", 0)).permutation(len(persons))]


def _held_out(persons: list[str], split: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The tested and those kept for validation."""
    test, validation = split["test"], split["validation"]
    if test + validation >= len(persons):
        raise InputError(
            f"split: {test} for test and {validation} for validation leave none of {len(persons)} to train on; lower test or validation."
        )
    order = _shuffled(persons, split)
    return order[:test], order[test : test + validation]


def _kind(people: People) -> str:
    return "subjects" if len(set(people.values())) == len(people) else "phantoms"

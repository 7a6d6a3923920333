"""Splits by subject: which fold tests whom. A pure function of the data set entry."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from petbench.errors import InputError

ALL = "all"
"""The fold that trains on every subject and tests none."""


def folds(subjects: Sequence[str], split: Mapping[str, Any]) -> dict[str, list[str]]:
    """Assign each subject to the one fold that tests it.

    Args:
        subjects: Subject labels.
        split: `scheme: leave_one_out`, or `scheme: k_fold` with `folds` (their number) and `seed` (of the shuffle).

    Returns:
        Test subjects by fold (`0`, `1`, ...); sizes differ by one at most.

    Raises:
        InputError: more folds than subjects.
    """
    if split["scheme"] == "leave_one_out":
        return {str(fold): [subject] for fold, subject in enumerate(subjects)}
    count = split["folds"]
    if count > len(subjects):
        raise InputError(f"split/folds: {count} folds need as many subjects, and there are {len(subjects)}; lower it.")
    order = np.random.default_rng(split.get("seed", 0)).permutation(len(subjects))
    return {str(fold): sorted(subjects[index] for index in order[fold::count]) for fold in range(count)}


def train_subjects(subjects: Sequence[str], split: Mapping[str, Any], fold: str) -> list[str]:
    """Subjects that a fold trains on: all but those it tests.

    Raises:
        InputError: there is no such fold.
    """
    if fold == ALL:
        return list(subjects)
    tests = folds(subjects, split)
    if fold not in tests:
        raise InputError(f"fold {fold!r} does not exist; the folds are {', '.join(tests)} and {ALL}.")
    return [subject for subject in subjects if subject not in tests[fold]]


def fold_testing(subjects: Sequence[str], split: Mapping[str, Any], subject: str) -> str:
    """The fold whose training did not see `subject`.

    Raises:
        InputError: no fold tests this subject.
    """
    for fold, tests in folds(subjects, split).items():
        if subject in tests:
            return fold
    raise InputError(f"subject {subject!r} is in no fold; the subjects are {', '.join(subjects)}.")

"""Who is in a data set: the labels of its subjects, and the rotated copies of its phantoms."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from petbench.data.brainweb import model_numbers
from petbench.errors import InputError
from petbench.files import digest


def with_subjects(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Give a data set entry the labels of its subjects.

    With `rotations` every phantom `NN` is there as `NNr1`, `NNr2`, ..., and `phantoms` says of each copy which `phantom` it shows and its
    `rotation_deg` about the scanner's axis. The angle follows from the data set's seed, the phantom and the number of the copy alone.

    Args:
        entry: A resolved entry, whose `subjects` may still be a number.

    Returns:
        The entry with `subjects` as a list of labels and, with `rotations`, `phantoms`.

    Raises:
        InputError: a subject is listed twice, BrainWeb has no such model, or the rotations make no sense; begins with the key.
    """
    subjects = entry["subjects"]
    if entry["source"] == "brainweb":
        labels = model_numbers(subjects)
    elif isinstance(subjects, int):
        width = max(2, len(str(subjects)))
        labels = [f"{number:0{width}d}" for number in range(1, subjects + 1)]
    else:
        labels = list(subjects)
    if len(set(labels)) < len(labels):
        raise InputError("subjects: a subject is listed twice; list each once.")
    if "rotations" not in entry:
        return {**entry, "subjects": labels}
    phantoms = _copies(labels, entry)
    return {**entry, "subjects": list(phantoms), "phantoms": phantoms}


def _copies(labels: list[str], entry: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    if entry["source"] == "bids":
        raise InputError("rotations: scans as measured cannot be turned in the scanner; remove it.")
    low, high = entry["rotations"]["degrees"]
    if low > high:
        raise InputError(f"rotations/degrees: [{low:g}, {high:g}] does not rise; give [lowest, highest].")
    numbers = range(1, entry["rotations"]["count"] + 1)
    return {
        f"{label}r{number}": {"phantom": label, "rotation_deg": _angle(entry["seed"], label, number, low, high)}
        for label in labels
        for number in numbers
    }


def _angle(seed: int, phantom: str, number: int, low: float, high: float) -> float:
    rng = np.random.default_rng(int(digest([seed, phantom, number])[:16], 16))
    return round(float(rng.uniform(low, high)), 3)

"""Who is in a data set: the labels of its subjects, the rotated copies of its phantoms, and the images of a lab's people."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from petbench.data.bids import ENTITIES, entities, find_image, find_subjects
from petbench.data.brainweb import model_numbers
from petbench.data.cohort import read_cohort
from petbench.errors import InputError
from petbench.files import digest
from petbench.workflow.names import STANDARD


def with_subjects(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Give a data set entry the labels of its subjects.

    With `rotations` every phantom `NN` is there as `NNr1`, `NNr2`, ..., and `phantoms` says of each copy which `phantom` it shows and its
    `rotation_deg` about the scanner's axis. The angle follows from the data set's seed, the phantom and the number of the copy alone.

    Args:
        entry: A resolved entry, whose `subjects` may still be a number or `all`.

    With `sessions` every subject `01` is there as `01ses1`, `01ses2`, ..., and `scans` says of each which `subject` and `session` it is.
    With `incomplete: leave_out` those that lack an image are left out, and `left_out` says why.

    With `diagnosis`, `labels` says of every subject whether it is ill, `mr_only` lists those without PET, and folds share the labels out.
    Of a lab's cohort all this is read from its table.

    Returns:
        The entry with `subjects` as a list of labels and, with `rotations`, `phantoms`, with `sessions`, `scans`, and with `diagnosis`,
        `mr_only` and `labels`.

    Raises:
        InputError: a subject is listed twice, BrainWeb has no such model, the rotations make no sense, or a cohort is not one; begins
            with the key.
    """
    if "diagnosis" in entry:
        return _with_labels(entry)
    subjects = entry["subjects"]
    if entry["source"] == "brainweb":
        labels = model_numbers(subjects)
    elif subjects == "all":
        labels = [name.removeprefix("sub-") for name in find_subjects(entry["bids"])]
    elif isinstance(subjects, int):
        width = max(2, len(str(subjects)))
        labels = [f"{number:0{width}d}" for number in range(1, subjects + 1)]
    else:
        labels = list(subjects)
    if len(set(labels)) < len(labels):
        raise InputError("subjects: a subject is listed twice; list each once.")
    if "rotations" not in entry:
        return _with_scans(entry, labels) if entry["source"] == "bids" else {**entry, "subjects": labels}
    phantoms = _copies(labels, entry)
    return {**entry, "subjects": list(phantoms), "phantoms": phantoms}


def taken(entry: Mapping[str, Any]) -> list[str]:
    """Doses that a lab's data set has images of."""
    return [STANDARD, *(dose for dose, block in entry.get("doses", {}).items() if "rec" in block)]


def image_of_lab(entry: Mapping[str, Any], subject: str, dose: str | None) -> Path:
    """A subject's PET image at a dose, or its T1-weighted one, in the BIDS data set of a lab.

    Args:
        entry: A data set entry of source `bids`, with `scans` where it has sessions.
        subject: Its label there.
        dose: `standard` or a dose with a `rec`; None for MR, of PET's own session if there is one and the entry's `t1w` says no other.

    Raises:
        InputError: there is none, or more than one.
    """
    scan = entry.get("scans", {}).get(subject, {"subject": subject})
    name, session = f"sub-{scan['subject']}", {"ses": scan["session"]} if "session" in scan else {}
    block = entry["standard"] if dose in (None, STANDARD) else entry["doses"][dose]
    pet = find_image(entry["bids"], name, "pet", session | {key: block[key] for key in ENTITIES["pet"] if key in block})
    return pet if dose else find_image(entry["bids"], name, "T1w", entry.get("t1w", {}), beside=entities(pet).get("ses"))


def missing_images(entry: Mapping[str, Any], subject: str) -> Iterator[str]:
    """What a lab's data set lacks of a subject, a line each."""
    for dose in (None, *taken(entry)):
        try:
            image_of_lab(entry, subject, dose)
        except InputError as error:
            yield str(error)


def _with_scans(entry: Mapping[str, Any], labels: list[str]) -> dict[str, Any]:
    """The entry with a subject for each session of each, and without those that lack an image where they are to be left out."""
    if "sessions" in entry and any("ses" in block for block in (entry["standard"], *entry.get("doses", {}).values())):
        raise InputError("sessions: an image's own `ses` says which session it is of; give one of the two.")
    if "sessions" in entry:
        scans = {f"{label}ses{session}": {"subject": label, "session": session} for label in labels for session in entry["sessions"]}
        if len(scans) < len(labels) * len(entry["sessions"]):
            raise InputError("sessions: two scans have one name; rename a session.")
        entry, labels = {**entry, "scans": scans}, list(scans)
    if entry.get("incomplete") != "leave_out":
        return {**entry, "subjects": labels}
    lacking = {label: list(dict.fromkeys(missing_images(entry, label))) for label in labels}
    left_out = [f"{label} is left out: {line}" for label, lines in lacking.items() for line in lines[:1]]
    if not (whole := [label for label in labels if not lacking[label]]):
        raise InputError(f"subjects: nobody has all images; {left_out[0]}")
    return {**entry, "subjects": whole, "left_out": left_out}


def _with_labels(entry: Mapping[str, Any]) -> dict[str, Any]:
    if "rotations" in entry:
        raise InputError("rotations: the subjects of a diagnosis study are people, not copies; remove it.")
    diagnosis = entry["diagnosis"]
    positive, negative = diagnosis["positive"], diagnosis["negative"]
    if positive == negative:
        raise InputError(f"diagnosis: positive and negative are both {positive!r}; give two labels.")
    files: dict[str, Any] = {}
    if entry["source"] == "phantom":
        paired, alone = entry["subjects"], entry.get("mr_only", 0)
        width = max(2, len(str(paired + alone)))
        names = [f"{number:0{width}d}" for number in range(1, paired + alone + 1)]
        subjects, mr_only = names[:paired], names[paired:]
        # Patients come at even distances, so that each part of the cohort has its share of them.
        share = diagnosis["share"]
        labels = {
            name: positive if int((place + 1) * share + 1e-9) > int(place * share + 1e-9) else negative
            for part in (subjects, mr_only)
            for place, name in enumerate(part)
        }
    else:
        members = read_cohort(entry)
        subjects = [name for name, member in members.items() if member.pet is not None]
        mr_only = [name for name, member in members.items() if member.pet is None]
        labels = {name: member.label for name, member in members.items()}
        files = {"images": {name: {"t1w": member.t1w, "pet": member.pet} for name, member in members.items()}}
    for part, chosen in (("subjects with PET", subjects), ("subjects with MR only", mr_only)):
        if chosen and len({labels[name] for name in chosen}) < 2:
            raise InputError(f"diagnosis: all {part} are {labels[chosen[0]]}; a study needs {positive} and {negative}.")
    split = entry["split"] | ({"strata": {name: labels[name] for name in subjects}} if entry["split"]["scheme"] == "k_fold" else {})
    return {**entry, "subjects": subjects, "mr_only": mr_only, "labels": labels, "split": split, **files}


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

"""Who is in a lab's diagnosis study: the label of each subject and its images, from a BIDS data set or from a table of files."""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from petbench.data.bids import LABEL, find_image, find_subjects, images_of
from petbench.errors import InputError

TABLE_COLUMNS = ("subject", "t1w", "pet")


class Member(NamedTuple):
    """One subject: its diagnosis, its T1-weighted MR, and its PET or none."""

    label: str
    t1w: str
    pet: str | None


def read_cohort(entry: Mapping[str, Any]) -> dict[str, Member]:
    """Read who is in a cohort, by subject without `sub-`.

    Args:
        entry: A data set entry with the block `diagnosis`, of source `bids` (a folder with `participants.tsv`) or `table` (a table of
            files with the columns `subject`, `t1w`, `pet` and the diagnosis; paths are relative to it, PET may be empty).

    Raises:
        InputError: a table is missing or lacks a column, a subject is listed twice, a label is unknown, a subject with a label has no
            MR, or one with images has no label.
    """
    return (_from_table if entry["source"] == "table" else _from_bids)(entry)


def _from_bids(entry: Mapping[str, Any]) -> dict[str, Member]:
    root = Path(entry["bids"])
    present = [name.removeprefix("sub-") for name in find_subjects(root)]
    path = root / "participants.tsv"
    labels = {row["participant_id"]: label for row, label in _labelled(path, "participant_id", entry["diagnosis"])}
    if unlabelled := sorted(set(present) - labels.keys()):
        raise InputError(f"{path}: sub-{unlabelled[0]} has images and no row; add its diagnosis, or take its folder out.")
    if imageless := sorted(labels.keys() - set(present)):
        raise InputError(f"{path}: sub-{imageless[0]} has a diagnosis and no folder in {root}; add its images, or take the row out.")
    standard, anatomy = entry.get("standard", {}), entry.get("t1w", {})
    return {
        subject: Member(labels[subject], str(find_image(root, f"sub-{subject}", "T1w", anatomy)), _pet(root, f"sub-{subject}", standard))
        for subject in present
    }


def _pet(root: Path, subject: str, wanted: Mapping[str, str]) -> str | None:
    """A subject's PET image; None where it has no PET at all."""
    return str(find_image(root, subject, "pet", wanted)) if images_of(root, subject, "pet") else None


def _from_table(entry: Mapping[str, Any]) -> dict[str, Member]:
    path = Path(entry["table"])
    members: dict[str, Member] = {}
    for row, label in _labelled(path, "subject", entry["diagnosis"], TABLE_COLUMNS):
        files = {kind: path.parent / row[kind] for kind in ("t1w", "pet") if row[kind] not in ("", "n/a")}
        if "t1w" not in files:
            raise InputError(f"{path}: subject {row['subject']} has a diagnosis and no t1w; give its MR, or take the row out.")
        if missing := [file for file in files.values() if not file.is_file()]:
            raise InputError(f"{path}: subject {row['subject']}: {missing[0]} does not exist; mend the path.")
        members[row["subject"]] = Member(label, str(files["t1w"]), str(files["pet"]) if "pet" in files else None)
    return members


def _labelled(path: Path, key: str, diagnosis: Mapping[str, str], needed: Sequence[str] = ()) -> list[tuple[dict[str, str], str]]:
    """Rows of a table with the label of each."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); a diagnosis study needs this table.") from None
    try:
        rows = list(csv.DictReader(text.splitlines(), delimiter="\t" if "\t" in text.partition("\n")[0] else ",", restval=""))
    except csv.Error as error:
        raise InputError(f"{path}: is no table ({error}); a quotation mark may be left open, mend or remove it.") from None
    column = diagnosis.get("column", "diagnosis")
    if any(None in row for row in rows):
        raise InputError(f"{path}: a row has more cells than there are columns; mend it.")
    have = list(rows[0]) if rows else []
    if missing := [name for name in (key, column, *needed) if name not in have]:
        raise InputError(f"{path}: has no column {missing[0]!r} (it has {', '.join(have)[:200] or 'no row'}); add it.")
    known = (diagnosis["positive"], diagnosis["negative"])
    found: dict[str, tuple[dict[str, str], str]] = {}
    for row in rows:
        name, label = row[key].removeprefix("sub-"), row[column]
        if not re.fullmatch(LABEL, name):
            raise InputError(f"{path}: {key} {row[key][:60]!r}: labels are letters a to z and digits; rename it.")
        if name in found:
            raise InputError(f"{path}: {row[key]} is listed twice, with `sub-` or without; keep one row.")
        if label in ("", "n/a", None):
            raise InputError(f"{path}: {row[key]} has no {column}; add it, or take the row out.")
        if label not in known:
            raise InputError(f"{path}: {row[key]}: {column} {label[:60]!r} is unknown; it is {' or '.join(known)}.")
        found[name] = row | {key: name}, label
    return list(found.values())

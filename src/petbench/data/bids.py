"""BIDS data sets: find the images of a user's, describe phantoms and what was restored.

Names and fields follow BIDS 1.11 (Gorgolewski et al., Sci Data 3 (2016) 160044; PET: Norgaard et al., Sci Data 9 (2022) 65). Nothing
of a user's own sidecars is copied.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from petbench.errors import InputError
from petbench.files import atomic, read_json, write_json

BIDS_VERSION = "1.11.0"
FOLDERS = {"T1w": "anat", "pet": "pet"}
ENTITIES = {"T1w": ("ses", "acq", "rec", "run"), "pet": ("ses", "trc", "rec", "run")}
"""The labels that tell a subject's images of a kind apart, in the order of names."""
LABEL = "[A-Za-z0-9+]+"
POINTER = b"/annex/objects/"
"""What git-annex leaves in place of an unlocked file that was not fetched begins so."""
IGNORED = ("*.html", "**/*.html", "logs/", "dicom/")
COLUMNS = {
    "phantom": "The head that this one is a turned copy of",
    "rotation_deg": "Angle in degrees by which it is turned about the scanner's axis",
    "diagnosis": "The group of a study of diagnosis that the head was made for",
}
RAW_README = """# {name}

Simulated PET and MR of heads that nobody has, made by petbench. Sidecars say how each image was simulated, and
`NotSimulated` names what BIDS asks for and no simulation had; such a field is 0 or n/a.
"""
DERIVATIVE_README = """# Restored PET

Low-dose PET restored by petbench with trained weights: research results, not for diagnosis. Each image has a sidecar,
which says what restored it and what of it was left as it was; of a lab's own scans there is a page beside it, by which to check it.
"""
ANY: Mapping[str, str] = MappingProxyType({})


def sidecar_path(image: str | Path) -> Path:
    """The JSON file that describes an image `*.nii.gz` or `*.nii`."""
    image = Path(image)
    return image.with_name(image.name.removesuffix(".gz").removesuffix(".nii") + ".json")


def write_dataset_description(path: str | Path, name: str, references: Sequence[str] = (), version: str = "0") -> None:
    """Write the `dataset_description.json` of a raw data set that petbench made, and a README beside it."""
    description: dict[str, Any] = {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "raw",
        "License": "n/a",
        "Authors": ["petbench"],
    }
    description["GeneratedBy"] = [{"Name": "petbench", "Version": version, "Description": "Simulation: nobody was scanned"}]
    if references:
        description["ReferencesAndLinks"] = list(references)
    write_json(path, description)
    _write_text(Path(path).with_name("README.md"), RAW_README.format(name=name))


def write_derivative(folder: str | Path, version: str, sources: Sequence[str] = ()) -> None:
    """Write what makes a folder of volumes that petbench restored a BIDS derivative: its description, a README, and what is no part of it.

    Args:
        folder: Where to.
        version: The version of petbench.
        sources: URLs or DOIs of the data sets they came from. Of one that has none nothing is said: a folder's name may tell of whom it is.
    """
    folder = Path(folder)
    description: dict[str, Any] = {
        "Name": "petbench restored PET",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "petbench", "Version": version, "Description": "Restoration of low-dose PET; not for diagnosis"}],
    }
    if sources:
        description["SourceDatasets"] = [{"DOI" if source.startswith("doi:") else "URL": source} for source in sources]
    write_json(folder / "dataset_description.json", description)
    _write_text(folder / "README.md", DERIVATIVE_README)
    _write_text(folder / ".bidsignore", "".join(f"{pattern}\n" for pattern in IGNORED))


def _write_text(path: Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_participants(path: str | Path, subjects: Sequence[str], columns: Mapping[str, Sequence[object]] | None = None) -> None:
    """Write `participants.tsv`, a row a subject, `participant_id` and further columns, and `participants.json`, which describes these.

    None becomes n/a.

    Raises:
        InputError: a column is not as long as the list of subjects, or a subject is named twice.
    """
    columns = columns or {}
    if len(set(subjects)) != len(subjects):
        raise InputError(f"{path}: a subject is named twice; keep one of each.")
    for name, values in columns.items():
        if len(values) != len(subjects):
            raise InputError(f"{path}: column {name} has {len(values)} values for {len(subjects)} subjects; give one each.")
    rows = [["participant_id", *columns], *(list(row) for row in zip(subjects, *columns.values(), strict=True))]
    text = "".join("\t".join("n/a" if cell is None else str(cell) for cell in row) + "\n" for row in rows)
    _write_text(Path(path), text)
    write_json(Path(path).with_suffix(".json"), {name: {"Description": COLUMNS.get(name, name)} for name in columns})


def find_subjects(root: str | Path) -> list[str]:
    """Names (`sub-…`) of the subjects of a BIDS data set, sorted.

    Raises:
        InputError: there is no such folder, no subject in it, or one whose label is none.
    """
    root = Path(root)
    if not os.path.isdir(root):  # Path.is_dir raises on a name that is too long
        raise InputError(f"{root}: no such folder; give the folder that holds the sub-… folders.")
    subjects = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name.startswith("sub-"))
    if not subjects:
        raise InputError(
            f"{root}: holds no sub-… folder; give the top folder of a BIDS data set, and bring DICOM in with `petbench import`."
        )
    if wrong := [name for name in subjects if not re.fullmatch(f"sub-{LABEL}", name)]:
        raise InputError(f"{root}: {wrong[0]!r} names no subject, whose label is letters and digits; rename the folder or take it out.")
    return subjects


def find_subject(root: str | Path, label: str) -> str:
    """The name (`sub-…`) of the subject of a label as it was typed, with `sub-` or without.

    Raises:
        InputError: there is none of exactly this label.
    """
    subjects, name = find_subjects(root), f"sub-{label.removeprefix('sub-')}"
    if name not in subjects:
        raise InputError(f"{root}: has no subject {name}; it has {_listed(subjects)}.")
    return name


def entities(image: str | Path) -> dict[str, str]:
    """What the name of a file says of it: `{"sub": "01", "ses": "02"}`, in the name's order."""
    stem = Path(image).name.partition(".")[0]
    return dict(part.split("-", 1) for part in stem.split("_") if "-" in part)


def images_of(root: str | Path, subject: str, kind: str) -> list[Path]:
    """All images of a subject of a given kind, in its folder and in its sessions, as they are named there: links are not followed.

    Args:
        root: The data set.
        subject: As `sub-01`.
        kind: `T1w` or `pet`.

    Raises:
        InputError: there is no such kind or subject.
    """
    if kind not in FOLDERS:
        raise InputError(f"{kind}: not a kind of image looked for; choose {' or '.join(FOLDERS)}.")
    folder = Path(root) / find_subject(root, subject)
    return [
        path
        for pattern in (f"{FOLDERS[kind]}/{subject}_*", f"ses-*/{FOLDERS[kind]}/{subject}_*")
        for path in sorted(folder.glob(pattern))
        if path.name.endswith((f"_{kind}.nii", f"_{kind}.nii.gz"))
    ]


def find_image(root: str | Path, subject: str, kind: str, wanted: Mapping[str, str] = ANY, beside: str | None = None) -> Path:
    """The one image of a subject of a given kind, in its folder or in one of its sessions; a link by its own name, not its target's.

    Args:
        root: The data set.
        subject: As `sub-01`.
        kind: `T1w` or `pet`.
        wanted: Labels that its name must have, such as `{"ses": "02", "rec": "drf4"}`; the others may be any.
        beside: A session whose image is taken before those of other sessions, unless one is wanted.

    Raises:
        InputError: no image fits, more than one does, or the one that does is not here.
    """
    images, folder = images_of(root, subject, kind), Path(root) / subject
    found = [path for path in images if wanted.items() <= entities(path).items()]
    if beside is not None and "ses" not in wanted:
        found = [path for path in found if entities(path).get("ses") == beside] or found
    labels = [f"{key}-{value}" for key, value in wanted.items()]
    described = " ".join([kind, "image", *(["with", " and ".join(labels)] if labels else [])])
    if not found:
        others = f", only {_listed([path.name for path in images])}" if images else ""
        raise InputError(f"{folder}: has no {described} under {FOLDERS[kind]}/ or ses-*/{FOLDERS[kind]}/{others}; add or rename it.")
    if len(found) > 1:
        names = _listed([path.relative_to(folder).as_posix() for path in found])
        differing = [name for name in ENTITIES[kind] if len({entities(path).get(name) for path in found}) > 1]
        by = f"say which by its {' or '.join(differing)} label" if differing else "keep one"
        raise InputError(f"{folder}: has {len(found)} {described}s, {names}; {by}.")
    if not _is_here(found[0]):
        raise InputError(
            f"{found[0]}: is a link to a file that is not here; fetch it (`datalad get` of its name), or leave its subject out."
        )
    return found[0]


def _is_here(path: Path) -> bool:
    """Whether a file's content is: not where a link leads nowhere, or git-annex has left a pointer in its place."""
    try:
        with path.open("rb") as file:
            return file.read(len(POINTER)) != POINTER
    except FileNotFoundError:
        return False
    except OSError:
        return True  # reading it whole says what is wrong


def read_sidecar(image: str | Path) -> dict[str, Any]:
    """All that JSON files say of an image, by BIDS's inheritance.

    They are those of the data set, the subject, the session and its own, of which the nearer ones win. An image that lies in no `sub-…`
    folder has its own alone.

    Raises:
        InputError: one of them is no JSON object.
    """
    image = Path(image)
    own, suffix = entities(image), sidecar_path(image).stem.rpartition("_")[2]
    content: dict[str, Any] = {}
    for folder in reversed(_above(image)):
        named = [path for path in folder.glob("*.json") if path.stem.rpartition("_")[2] == suffix]
        files = [path for path in named if entities(path).items() <= own.items()]
        for path in sorted(files, key=lambda path: len(entities(path))):
            content |= _read_object(path)
    sidecar = sidecar_path(image)
    return content | (_read_object(sidecar) if sidecar.exists() else {})


def unit(told: object) -> str:
    """A unit as a sidecar spells it, in one spelling: `Bq/mL`, `BQML` and `bq / ml` are one."""
    return re.sub(r"[^a-z0-9%]", "", str(told).casefold())


def _above(image: Path) -> list[Path]:
    """Folders whose sidecars an image of a BIDS data set inherits, nearest first."""
    folders = list(image.parents)[:4]
    places = [number for number, folder in enumerate(folders[:3]) if folder.name.startswith("sub-")]
    return folders[: places[0] + 2] if places else []


def _read_object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: is not a JSON object; write it as BIDS describes, or remove it.")
    return content


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

"""BIDS data sets: find the images of a user's, describe phantoms and what was restored.

Names and fields follow BIDS 1.11 (Gorgolewski et al., Sci Data 3 (2016) 160044; PET: Norgaard et al., Sci Data 9 (2022) 65). Nothing
of a user's own sidecars is copied.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from petbench.errors import InputError
from petbench.files import atomic, write_json

BIDS_VERSION = "1.11.0"
FOLDERS = {"T1w": "anat", "pet": "pet"}


def sidecar_path(image: str | Path) -> Path:
    """The JSON file that describes an image `*.nii.gz` or `*.nii`."""
    image = Path(image)
    return image.with_name(image.name.removesuffix(".gz").removesuffix(".nii") + ".json")


def write_dataset_description(path: str | Path, name: str, references: Sequence[str] = ()) -> None:
    """Write the `dataset_description.json` of a raw data set."""
    description: dict[str, Any] = {"Name": name, "BIDSVersion": BIDS_VERSION, "DatasetType": "raw"}
    if references:
        description["ReferencesAndLinks"] = list(references)
    write_json(path, description)


def write_derivative_description(path: str | Path, sources: Sequence[str], version: str) -> None:
    """Write the `dataset_description.json` of volumes petbench restored.

    Args:
        path: Where to.
        sources: URLs or DOIs of the data sets they came from, or paths relative to the derivative.
        version: The version of petbench.
    """
    write_json(
        path,
        {
            "Name": "petbench restored PET",
            "BIDSVersion": BIDS_VERSION,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "petbench", "Version": version, "Description": "Restoration of low-dose PET; not for diagnosis"}],
            "SourceDatasets": [{"DOI" if source.startswith("doi:") else "URL": source} for source in sources],
        },
    )


def write_participants(path: str | Path, subjects: Sequence[str], columns: Mapping[str, Sequence[object]] | None = None) -> None:
    """Write `participants.tsv`: a row a subject, `participant_id` and further columns; None becomes n/a.

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
    with atomic(path) as temporary:
        temporary.write_text(text)


def find_subjects(root: str | Path) -> list[str]:
    """Names (`sub-…`) of the subjects of a BIDS data set, sorted.

    Raises:
        InputError: there is no such folder, or no subject in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder that holds the sub-… folders.")
    subjects = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and entry.name.startswith("sub-"))
    if not subjects:
        raise InputError(f"{root}: holds no sub-… folder; give the top folder of a BIDS data set.")
    return subjects


def find_image(root: str | Path, subject: str, kind: str, rec: str | None = None, session: str | None = None) -> Path:
    """The one image of a subject of a given kind, in its folder or in one of its sessions.

    Args:
        root: The data set.
        subject: As `sub-01`.
        kind: `T1w` or `pet`.
        rec: The image's `rec-` label, such as `drf4`; None takes any.
        session: Its `ses-` label; None takes any.

    Raises:
        InputError: no image fits, or more than one does.
    """
    if kind not in FOLDERS:
        raise InputError(f"{kind}: not a kind of image looked for; choose {' or '.join(FOLDERS)}.")
    subjects = find_subjects(root)
    if subject not in subjects:
        raise InputError(f"{root}: has no subject {subject}; it has {_listed(subjects)}.")
    folder = Path(root) / subject
    images = [
        path
        for pattern in (f"{FOLDERS[kind]}/{subject}_*", f"ses-*/{FOLDERS[kind]}/{subject}_*")
        for path in sorted(folder.glob(pattern))
        if path.name.endswith((f"_{kind}.nii", f"_{kind}.nii.gz"))
    ]
    wanted = [f"{key}-{value}" for key, value in (("rec", rec), ("ses", session)) if value is not None]
    found = [path for path in images if set(wanted) <= set(path.name.split("_"))]
    described = " ".join([kind, "image", *(["with", " and ".join(wanted)] if wanted else [])])
    if not found:
        others = f", only {_listed([path.name for path in images])}" if images else ""
        raise InputError(f"{folder}: has no {described} under {FOLDERS[kind]}/ or ses-*/{FOLDERS[kind]}/{others}; add or rename it.")
    if len(found) > 1:
        names = _listed([path.relative_to(folder).as_posix() for path in found])
        raise InputError(f"{folder}: has {len(found)} {described}s, {names}; say which by its rec or ses label, or keep one.")
    return found[0]


def _listed(names: Sequence[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")

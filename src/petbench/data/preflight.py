"""A look at a lab's own images before anything depends on them: all problems at once."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from petbench.data.bids import sidecar_path
from petbench.data.nifti import Image, read_acquired, same_grid, voxel_mm
from petbench.errors import InputError
from petbench.files import read_json, write_json


def check_images(subjects: Mapping[str, Sequence[str]], out: str) -> None:
    """Read every image whole, its header and its sidecar, and record its grid.

    Args:
        subjects: By label, NIfTI files of each subject: MR and, unless it has MR alone, standard dose and low doses.
        out: JSON file to write: by label, shape and voxel size (mm) of each image; no path, as a file's name may tell who it is of.

    Raises:
        InputError: some cannot be read, are not three-dimensional, hold NaN, are the same everywhere, or do not say where their voxels
            lie in millimetres; a sidecar is no JSON object; two images have the same voxels, so that a subject would be tested
            and trained on, or a standard dose restored from itself; or a subject's PET images are not on one grid, in one unit and of
            one activity. Lists all problems.
    """
    problems: list[str] = []
    seen: dict[bytes, str] = {}
    grids: dict[str, list[Any]] = {label: [] for label in subjects}
    for label, (mr, *pet) in subjects.items():
        images = {path: _checked(path, problems) for path in (mr, *pet)}
        standard = images[pet[0]] if pet else None
        for path in (mr, *pet):
            if (image := images[path]) is None:
                continue
            voxels = hashlib.sha256(np.asarray(image.dataobj).tobytes()).digest()
            if voxels in seen:
                problems.append(f"{path}: its voxels are those of {seen[voxels]}; give every subject, and every dose, an image of its own.")
            seen.setdefault(voxels, path)
            grids[label].append({"shape": list(image.shape), "voxel_mm": [float(edge) for edge in voxel_mm(image)]})
            if path in pet and standard is not None and not same_grid(image, standard):
                problems.append(f"{path}: its grid (shape {image.shape}) is not that of {pet[0]} (shape {standard.shape}); resample it.")
        sidecars = {path: _sidecar(path, problems) for path in (mr, *pet)}
        problems += _unlike_activity(pet, images, sidecars)
    if problems:
        raise InputError("\n".join(problems))
    write_json(out, grids)


def _checked(path: str, problems: list[str]) -> Image | None:
    try:
        return read_acquired(path)
    except InputError as error:
        problems.append(str(error))
        return None


def _sidecar(path: str, problems: list[str]) -> dict[str, Any]:
    """An image's sidecar; empty where there is none or it is bad."""
    sidecar = sidecar_path(path)
    try:
        content = read_json(sidecar) if sidecar.exists() else {}
        if not isinstance(content, dict):
            raise InputError(f"{sidecar}: is not a JSON object; write it as BIDS describes, or remove it.")
    except InputError as error:
        problems.append(str(error))
        return {}
    return content


def _unlike_activity(pet: Sequence[str], images: dict[str, Image | None], sidecars: dict[str, dict[str, Any]]) -> list[str]:
    """What tells that a subject's doses do not show the same activity in the same units; restoring would only learn the factor."""
    problems = []
    units = {path: sidecars[path].get("Units") for path in pet if sidecars[path]}
    for path, unit in units.items():
        if unit != units.get(pet[0], unit):
            problems.append(f"{path}: Units is {unit!r}, and {units[pet[0]]!r} for {pet[0]}; bring both to Bq/mL.")
    means = {path: float(np.mean(np.asarray(image.dataobj))) for path, image in images.items() if path in pet and image is not None}
    for path, mean in means.items():
        if pet[0] in means and not 0.5 < mean / means[pet[0]] < 2:
            problems.append(
                f"{path}: its mean is {mean / means[pet[0]]:.2g} of that of {pet[0]}; every dose must show the same activity, so correct it"
                " for dose, duration and decay."
            )
    return problems

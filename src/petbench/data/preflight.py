"""A look at a lab's own images before anything depends on them: all problems at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from petbench.data.nifti import Image, read_volume, same_grid, voxel_mm
from petbench.errors import InputError
from petbench.files import write_json


def check_images(subjects: Sequence[Sequence[str]], out: str) -> None:
    """Read every image whole and record its grid.

    Args:
        subjects: NIfTI files of each subject: MR, standard dose, low doses.
        out: JSON file to write: shape and voxel size (mm) of each image.

    Raises:
        InputError: some cannot be read, are not three-dimensional, hold NaN, or are the same everywhere, or a subject's PET images are not
            on one grid; lists all problems.
    """
    problems: list[str] = []
    grids: dict[str, Any] = {}
    for mr, *pet in subjects:
        images = {path: _checked(path, problems) for path in (mr, *pet)}
        standard = images[pet[0]]
        for path, image in images.items():
            if image is None:
                continue
            grids[path] = {"shape": list(image.shape), "voxel_mm": [float(edge) for edge in voxel_mm(image)]}
            if path in pet and standard is not None and not same_grid(image, standard):
                problems.append(f"{path}: its grid (shape {image.shape}) is not that of {pet[0]} (shape {standard.shape}); resample it.")
    if problems:
        raise InputError("\n".join(problems))
    write_json(out, grids)


def _checked(path: str, problems: list[str]) -> Image | None:
    try:
        image = read_volume(path)
        if np.ptp(np.asarray(image.dataobj)) == 0:
            raise InputError(f"{path}: every voxel has the same value; supply the acquired image.")
    except InputError as error:
        problems.append(str(error))
        return None
    return image

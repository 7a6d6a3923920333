"""A look at a lab's own images before anything depends on them: all problems at once."""

from collections.abc import Sequence

import numpy as np

from petbench.data.nifti import read_volume, voxel_mm
from petbench.errors import InputError
from petbench.files import write_json


def check_images(paths: Sequence[str], out: str) -> None:
    """Read every image whole and record its grid.

    Args:
        paths: NIfTI files.
        out: JSON file to write: shape and voxel size (mm) of each image.

    Raises:
        InputError: some cannot be read, are not three-dimensional, hold NaN, or are the same everywhere; lists all of them.
    """
    problems, grids = [], {}
    for path in paths:
        try:
            image = read_volume(path)
            if np.ptp(np.asarray(image.dataobj)) == 0:
                raise InputError(f"{path}: every voxel has the same value; supply the acquired image.")
            grids[path] = {"shape": list(image.shape), "voxel_mm": [float(edge) for edge in voxel_mm(image)]}
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(problems))
    write_json(out, grids)

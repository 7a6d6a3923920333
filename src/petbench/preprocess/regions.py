"""Regions of grey matter in MNI space, for methods whose loss looks at brain regions one by one.

Images of MNI space lie where the template does, so one map of regions fits a phantom and a person alike, and needs nothing of either: each
voxel of the template's grey matter belongs to the nearest of the 300 places of Seitzman et al. (NeuroImage 206 (2020) 116290), of cortex,
basal ganglia, thalamus, hippocampus, amygdala and cerebellum. Template and places are files of the nilearn package.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petbench.data.icbm152 import average_brain
from petbench.preprocess.grid import to_grid

COUNT = 300
"""Regions; their labels are 1 to this, 0 is none."""
PLACES = "datasets/data/seitzman_2018_ROIs_300inVol_MNI_allInfo.txt"
LEAST_GREY = 0.25
"""Share of grey matter from which a voxel of the working grid belongs to a region: PET is smooth, and spills this far."""


def regions(shape: Sequence[int], affine: NDArray[np.floating]) -> NDArray[np.int16]:
    """The region of each voxel of a grid in MNI space.

    Args:
        shape: Grid, in voxels (3,).
        affine: Of the grid, voxels to MNI mm, (4, 4).

    Returns:
        Labels (x, y, z): 1 to `COUNT`, and 0 outside grey matter.
    """
    from scipy.spatial import KDTree

    x, y, z = shape
    inside = to_grid(average_brain()[1], (x, y, z), affine) >= LEAST_GREY
    places_mm = np.argwhere(inside) @ np.asarray(affine)[:3, :3].T + np.asarray(affine)[:3, 3]
    labels = np.zeros(inside.shape, np.int16)
    labels[inside] = KDTree(places()).query(places_mm)[1] + 1
    return labels


@cache
def places() -> NDArray[np.float64]:
    """Centres of the regions in MNI mm, (COUNT, 3)."""
    spec = find_spec("nilearn")  # importing it takes longer than all that is done here
    assert spec is not None
    assert spec.submodule_search_locations is not None
    found = np.loadtxt(Path(spec.submodule_search_locations[0]) / PLACES, skiprows=1, usecols=(0, 1, 2))
    assert found.shape == (COUNT, 3)
    return found

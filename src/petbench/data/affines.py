"""Where a grid lies in the world, of what needs no image to be read."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def centred_affine(shape: Sequence[int], edges_mm: Sequence[float] | NDArray[np.floating]) -> NDArray[np.float64]:
    """Voxel to world (RAS mm) of a grid whose middle, index (n - 1) / 2, is the origin, (4, 4)."""
    affine = np.diag([*edges_mm, 1.0])
    affine[:3, 3] = -np.asarray(edges_mm) * (np.asarray(shape) - 1) / 2
    return affine


def edges_mm(affine: NDArray[np.floating]) -> NDArray[np.float64]:
    """Edge lengths of a voxel along the three axes of an affine (4, 4), in millimetres."""
    return np.asarray(np.sqrt(np.sum(affine[:3, :3] ** 2, axis=0)), dtype=np.float64)

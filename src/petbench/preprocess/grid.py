"""The grid on which networks see a subject: a box in the middle of the field of view."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from nibabel.processing import resample_from_to
from numpy.typing import NDArray

from petbench.data.nifti import Image, volume, voxel_mm

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def grid_of(image: Image, grid: Mapping[str, Any]) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Shape and affine of the working grid of an image.

    Args:
        image: A PET image.
        grid: `shape` in voxels, and optionally `voxel_mm` (one length or three); without it the image's own voxels are kept, and
            going to the grid and back is cropping and padding, free of interpolation.

    Returns:
        Shape (3,) and affine (4, 4), concentric with the image and with the same axes.
    """
    shape = tuple(int(size) for size in grid["shape"])
    own = voxel_mm(image)
    wanted = np.broadcast_to(np.asarray(grid.get("voxel_mm") or own, dtype=float), 3)
    zoom = wanted / own
    centre = (np.asarray(image.shape) - 1) / 2 - zoom * (np.asarray(shape) - 1) / 2
    if np.allclose(zoom, 1.0):
        zoom, centre = np.ones(3), np.round(centre)
    affine = np.asarray(image.affine, dtype=float) @ np.block([[np.diag(zoom), centre[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]])
    return (shape[0], shape[1], shape[2]), affine


def to_grid(image: Image, shape: tuple[int, int, int], affine: NDArray[np.floating]) -> NDArray[np.float32]:
    """Resample an image to a grid (linear; zero outside the image); exact where the grids differ by whole voxels."""
    return np.asarray(resample_from_to(image, (shape, affine), order=1, mode="constant", cval=0.0).dataobj, dtype=np.float32)


def from_grid(data: NDArray[np.floating], affine: NDArray[np.floating], onto: Image) -> NDArray[np.float32]:
    """Bring data on a working grid back to an image's own grid; voxels outside the working grid keep the image's values."""
    whole = np.array(onto.dataobj, dtype=np.float32)
    inside = tuple(slice(*bounds) for bounds in box_of(onto, data.shape, affine))
    back = resample_from_to(volume(data, affine), (onto.shape, onto.affine), order=1, mode="nearest")
    whole[inside] = np.asarray(back.dataobj)[inside]
    return whole


def box_of(image: Image, shape: Sequence[int], affine: NDArray[np.floating]) -> Box:
    """The voxels of `image` whose centre lies inside a grid that shares its axes: a half-open range along each axis."""
    to_index = np.linalg.inv(affine) @ np.asarray(image.affine)
    bounds = []
    for axis, size in enumerate(shape):
        index = to_index[axis, axis] * np.arange(image.shape[axis]) + to_index[axis, 3]
        inside = np.flatnonzero((index > -0.5 + 1e-3) & (index < size - 0.5 - 1e-3))
        bounds.append((int(inside[0]), int(inside[-1]) + 1))
    return bounds[0], bounds[1], bounds[2]

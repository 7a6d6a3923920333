"""The grid on which networks see a subject: a box in the middle of the field of view."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petbench.data.nifti import Image, canonical, voxel_mm

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def grid_of(image: Image, grid: Mapping[str, Any]) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Shape and affine of the working grid of an image.

    However a file stores its axes, a network sees left-to-right, posterior-to-anterior, inferior-to-superior.

    Args:
        image: A PET image.
        grid: `shape` in voxels, and optionally `voxel_mm` (one length or three); without it the image's own voxels are kept, and
            going to the grid and back is cropping and padding, free of interpolation.

    Returns:
        Shape (3,) and affine (4, 4), concentric with the image; its axes are the image's, in the order and direction nearest RAS.
    """
    image = canonical(image)
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
    return _resample(np.asarray(image.dataobj), image.affine, shape, affine, mode="constant")


def from_grid(data: NDArray[np.floating], affine: NDArray[np.floating], onto: Image) -> NDArray[np.float32]:
    """Bring data on a working grid back to an image's own grid; voxels outside the working grid keep the image's values."""
    whole = np.array(onto.dataobj, dtype=np.float32)
    inside = tuple(slice(*bounds) for bounds in box_of(onto, data.shape, affine))
    whole[inside] = _resample(data, affine, onto.shape, onto.affine, mode="nearest")[inside]
    return whole


def _resample(
    data: NDArray[np.generic], affine: NDArray[np.floating], shape: Sequence[int], onto: NDArray[np.floating], mode: str
) -> NDArray[np.float32]:
    """Linear interpolation of data with an affine on the grid of a shape and the affine `onto`.

    Where the new voxels are larger, the data is first blurred to their size (as much variance as a box of the new width has over one of
    the old), so that noise and edges do not alias.
    """
    to_index = np.linalg.inv(affine) @ onto
    # Rounding errors of the affines would push the outermost voxels off the image.
    whole = np.round(to_index)
    to_index = np.where(np.abs(to_index - whole) < 1e-6, whole, to_index)
    zoom = np.abs(to_index[:3, :3]).sum(axis=1)
    blurred = ndimage.gaussian_filter(data.astype(np.float32), np.sqrt(np.maximum(zoom**2 - 1, 0) / 12))
    return np.asarray(ndimage.affine_transform(blurred, to_index, output_shape=tuple(shape), order=1, mode=mode))


def box_of(image: Image, shape: Sequence[int], affine: NDArray[np.floating]) -> Box:
    """The voxels of `image` whose centre lies inside a grid made by `grid_of`: a half-open range along each axis of the image."""
    to_index = np.linalg.inv(affine) @ np.asarray(image.affine)
    bounds = []
    for axis, length in enumerate(image.shape):
        along = int(np.argmax(np.abs(to_index[:3, axis])))
        index = to_index[along, axis] * np.arange(length) + to_index[along, 3]
        inside = np.flatnonzero((index > -0.5 + 1e-3) & (index < shape[along] - 0.5 - 1e-3))
        bounds.append((int(inside[0]), int(inside[-1]) + 1))
    return bounds[0], bounds[1], bounds[2]

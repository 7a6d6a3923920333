"""The grid on which networks see a subject: a box around the head."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petbench.data.nifti import Image, canonical, volume, voxel_mm
from petbench.preprocess.intensity import head_mask

MARGIN = 4
"""Voxels of the grid that are wanted between the head and its edge, over which a restored image fades into the low dose."""
HEAD_MM, HEAD_SMOOTH_MM = 4.0, 6.0
"""Voxels and smoothing (standard deviation) in which a head is looked for: its place is that of no voxel or noise."""
LEAST_HEAD_ML = 150.0
"""What stands out of an image and is smaller is no head."""

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


def grid_of(image: Image, grid: Mapping[str, Any]) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Shape and affine of the working grid of an image.

    However a file stores its axes, a network sees left-to-right, posterior-to-anterior, inferior-to-superior.

    Args:
        image: A PET image.
        grid: `shape` in voxels, and optionally `voxel_mm` (one length or three); without it the image's own voxels are kept, and
            going to the grid and back is cropping and padding, free of interpolation.

    Returns:
        Shape (3,) and affine (4, 4); its axes are the image's, in the order and direction nearest RAS. Along an axis where it holds the
        head it is concentric with the image, along another its middle is the head's.
    """
    image = canonical(image)
    own, shape = voxel_mm(image), [int(size) for size in grid["shape"]]
    wanted = np.broadcast_to(np.asarray(grid.get("voxel_mm") or own, dtype=float), 3)
    zoom = wanted / own
    half = zoom * np.asarray(shape) / 2
    middle = (np.asarray(image.shape) - 1) / 2
    if (head := head_bounds(image)) is not None:
        first, last = head
        room = np.minimum(zoom * MARGIN, half - (last - first) / 2)
        outside = (first - room < middle - half) | (last + room > middle + half)
        needed = half < (np.asarray(image.shape)) / 2  # a grid as long as the image holds it all
        middle = np.where(outside & needed, (first + last) / 2, middle)
    return (shape[0], shape[1], shape[2]), _about(image, middle, shape, zoom)


def _about(image: Image, middle: NDArray[np.floating], shape: Sequence[int], zoom: NDArray[np.floating]) -> NDArray[np.float64]:
    """Affine of a grid whose middle is at index `middle` of an image, and whose voxels are `zoom` of its."""
    corner = middle - zoom * (np.asarray(shape) - 1) / 2
    if np.allclose(zoom, 1.0):
        zoom, corner = np.ones(3), np.round(corner)
    step = np.block([[np.diag(zoom), corner[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]])
    return np.asarray(np.asarray(image.affine, dtype=float) @ step)


def head_bounds(image: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Where the head lies in an image whose axes are nearest RAS: indices (3,) of its first and last voxels; none where there is none."""
    coarse = isotropic(image, HEAD_MM)
    where = np.argwhere(head_in(coarse))
    if len(where) * np.prod(voxel_mm(coarse)) < LEAST_HEAD_ML * 1000:
        return None
    to_index = np.linalg.inv(image.affine) @ coarse.affine
    first, last = (where.min(axis=0) - 0.5, where.max(axis=0) + 0.5)
    return np.diag(to_index)[:3] * first + to_index[:3, 3], np.diag(to_index)[:3] * last + to_index[:3, 3]


def head_in(coarse: Image) -> NDArray[np.bool_]:
    """The head in a PET image in coarse voxels, (x, y, z), smoothed so that it does not hang on noise."""
    data = np.asarray(coarse.dataobj, dtype=np.float32)
    if not np.ptp(data):
        return np.zeros(data.shape, dtype=bool)
    return head_mask(ndimage.gaussian_filter(data, HEAD_SMOOTH_MM / voxel_mm(coarse)))


def share_inside(image: Image, shape: Sequence[int], affine: NDArray[np.floating]) -> float:
    """The share of the head of an image that lies inside a grid; 1 where there is no head."""
    coarse = isotropic(image, HEAD_MM)
    where = np.argwhere(head_in(coarse))
    to_index = np.linalg.inv(affine) @ coarse.affine
    index = where @ to_index[:3, :3].T + to_index[:3, 3]
    inside = np.all((index > -0.5) & (index < np.asarray(shape) - 0.5), axis=1)
    return float(inside.mean()) if len(where) else 1.0


def isotropic(image: Image, edge_mm: float) -> Image:
    """An image in cubic voxels of about `edge_mm`, in the order and direction nearest RAS; none of its own edges becomes finer."""
    image = canonical(image)
    zoom = np.maximum(edge_mm / voxel_mm(image), 1.0)
    shape = np.ceil(np.asarray(image.shape) / zoom).astype(int).tolist()
    affine = _about(image, (np.asarray(image.shape) - 1) / 2, shape, zoom)
    return volume(to_grid(image, (shape[0], shape[1], shape[2]), affine), affine)


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

"""Random smooth fields and the diffeomorphisms made of them."""

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]

SQUARINGS = 7


def smooth_field(rng: np.random.Generator, shape: tuple[int, ...], sigma_voxels: float) -> Field:
    """A Gaussian random field of mean 0 and variance 1, shape `shape`, white noise smoothed by `sigma_voxels`."""
    from scipy.ndimage import gaussian_filter

    # The noise is drawn on a wider grid, so that opposite faces are independent and the edges are as smooth as the middle.
    margin = int(np.ceil(3 * sigma_voxels))
    noise = rng.standard_normal([size + 2 * margin for size in shape], dtype=np.float32)
    inner = tuple(slice(margin, margin + size) for size in shape)
    field = gaussian_filter(noise, sigma_voxels, mode="constant")[inner]
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float32)


def exponential(velocity_mm: Field, spacing_mm: float) -> Field:
    """Displacement of the flow of a stationary velocity field for unit time, by scaling and squaring.

    Arsigny et al., "A log-Euclidean framework for statistics on diffeomorphisms", MICCAI 2006.

    Args:
        velocity_mm: (3, X, Y, Z), in mm.
        spacing_mm: Distance between grid points, in mm.

    Returns:
        Displacement u of the map x -> x + u(x), (3, X, Y, Z), in mm.
    """
    from scipy.ndimage import map_coordinates

    grid = np.indices(velocity_mm.shape[1:], dtype=np.float32)
    displacement = velocity_mm / np.float32(2**SQUARINGS)
    for _ in range(SQUARINGS):
        moved = grid + displacement / np.float32(spacing_mm)
        displacement = displacement + np.stack([map_coordinates(axis, moved, order=1, mode="nearest") for axis in displacement])
    return displacement


def jacobian_determinant(displacement_mm: Field, spacing_mm: float) -> Field:
    """Determinant of the Jacobian of x -> x + u(x), by central differences; (X, Y, Z)."""
    gradient = np.stack([np.stack(np.gradient(axis, spacing_mm)) for axis in displacement_mm])
    jacobian = np.moveaxis(gradient, (0, 1), (-2, -1)) + np.eye(3, dtype=np.float32)
    return np.asarray(np.linalg.det(jacobian), dtype=np.float32)

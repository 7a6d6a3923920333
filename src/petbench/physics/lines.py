"""Lines of response as points in space."""

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.planes import planes_of
from petbench.physics.scanner import Scanner, radial_positions, view_angles

Doubles = NDArray[np.float64]
Indices = NDArray[np.integer]


def lines_of_bins(scanner: Scanner, geometry: str, radial: Indices, view: Indices, plane: Indices) -> tuple[Doubles, Doubles]:
    """Ends of the lines of sinogram bins.

    Args:
        scanner: The geometry.
        geometry: `direct` or `oblique`, which says what `plane` counts.
        radial: Radial bin of every line, shape (N,).
        view: View of every line, shape (N,).
        plane: Plane of every line, shape (N,).

    Returns:
        Ends 1 and ends 2 in mm from the centre of the field of view, each of shape (N, 3), on the ring of detectors.

    Raises:
        InputError: a bin does not exist in the geometry.
    """
    planes = planes_of(scanner, geometry)
    check_bins(radial, view, plane, (scanner.radial_bins, scanner.views, planes.size))
    r, angle = radial_positions(scanner)[radial], view_angles(scanner)[view]
    half = half_chords(scanner)[radial]
    cosine, sine = np.cos(angle), np.sin(angle)
    middle = np.stack([r * cosine, r * sine, planes.middle_mm[plane]], axis=1)
    towards = np.stack([-half * sine, half * cosine, planes.difference_mm[plane] / 2], axis=1)
    return middle - towards, middle + towards


def half_chords(scanner: Scanner) -> Doubles:
    """Half the transaxial distance of the ends of each radial bin's lines in mm, shape (radial_bins,)."""
    return np.asarray(np.sqrt(np.maximum(scanner.ring_radius_mm**2 - radial_positions(scanner) ** 2, 0.0)))


def check_bins(radial: Indices, view: Indices, plane: Indices, shape: tuple[int, int, int]) -> None:
    """Check that events name bins that exist.

    Raises:
        InputError: an index is out of range, or the arrays differ in length.
    """
    if not (radial.ndim == 1 and radial.shape == view.shape == plane.shape):
        raise InputError(
            f"events: radial, view and plane have shapes {radial.shape}, {view.shape}, {plane.shape}; give one of each a line."
        )
    for name, index, size in zip(("radial", "view", "plane"), (radial, view, plane), shape, strict=True):
        check_range(name, index, size)


def check_range(name: str, index: Indices, size: int) -> None:
    """Check that indices lie in [0, size).

    Raises:
        InputError: one does not.
    """
    if index.size and (index.min() < 0 or index.max() >= size):
        wrong = index.min() if index.min() < 0 else index.max()
        raise InputError(f"events/{name}: {wrong} is outside [0, {size}); the events belong to another geometry.")

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from petbench.physics.scanner import Scanner

Array = NDArray[np.float32]


@pytest.fixture(params=["uniform", "arc"])
def scanner(request: pytest.FixtureRequest) -> Scanner:
    """A small scanner whose bins do not line up with its voxels; towards the edge the arc bins are much narrower than a voxel."""
    entry = {
        "name": "test scanner",
        "ring_radius_mm": 80.0,
        "crystals_per_ring": 60,
        "radial": request.param,
        "radial_bins": 38,
        "views": 18,
        "planes": 3,
        "plane_spacing_mm": 5.0,
        "image": {"shape": [28, 26, 3], "voxel_mm": [4.5, 4.5, 5.0]},
        "fov_mm": 120.0,
    }
    return Scanner.from_entry(entry)


@pytest.fixture(params=[(1, 3), (3, 4), (5, 3)], ids=["span 1", "span 3", "span 5"])
def oblique_scanner(request: pytest.FixtureRequest) -> Scanner:
    """Five rings with TOF, planes steep, bins and voxels out of line; a segment of every kind: single, whole and cut off."""
    span, max_ring_difference = request.param
    entry = {
        "name": "oblique test scanner",
        "ring_radius_mm": 70.0,
        "crystals_per_ring": 60,
        "radial": "arc",
        "radial_bins": 24,
        "views": 10,
        "planes": 9,
        "plane_spacing_mm": 5.0,
        "image": {"shape": [20, 18, 9], "voxel_mm": [4.5, 4.5, 5.0]},
        "fov_mm": 78.0,
        "oblique": {"rings": 5, "max_ring_difference": max_ring_difference, "span": span},
        "tof": {"resolution_ps": 200.0, "bins": 13, "bin_ps": 90.0},
    }
    return Scanner.from_entry(entry)


@pytest.fixture
def head_scanner() -> Scanner:
    """Bins as wide as the voxels and in line with them."""
    return Scanner.from_entry(
        {
            "name": "head scanner",
            "ring_radius_mm": 300.0,
            "crystals_per_ring": 400,
            "radial": "uniform",
            "radial_bins": 48,
            "radial_spacing_mm": 4.0,
            "views": 60,
            "planes": 4,
            "plane_spacing_mm": 4.0,
            "image": {"shape": [48, 48, 4], "voxel_mm": [4.0, 4.0, 4.0]},
            "fov_mm": 190.0,
        }
    )


@pytest.fixture
def disc() -> Callable[..., Array]:
    """Make a cylinder along z, its edge anti-aliased: the share of each voxel within `radius_mm` of (x, y)."""

    def make(scanner: Scanner, radius_mm: float, x_mm: float = 0.0, y_mm: float = 0.0, finer: int = 8) -> Array:
        edge = scanner.voxel_mm[0]
        size_x, size_y, planes = scanner.image_shape
        x, y = ((np.arange(n * finer) - (n * finer - 1) / 2) * edge / finer for n in (size_x, size_y))
        fine = (x[:, None] - x_mm) ** 2 + (y[None, :] - y_mm) ** 2 <= radius_mm**2
        shares = fine.reshape(size_x, finer, size_y, finer).mean(axis=(1, 3))
        return np.repeat(shares[:, :, None], planes, axis=2).astype(np.float32)

    return make

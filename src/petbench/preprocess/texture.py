"""Noise and smoothness of an image, measured without a reference."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

COARSE_MM = 8.0
"""Standard deviation of the Gaussian that takes anatomy's coarse part away before smoothness is measured."""
MAD_TO_SD = 1.4826


def noise(data: NDArray[np.floating], region: NDArray[np.bool_]) -> float:
    """Standard deviation of what is left of an image by second differences along all three axes at once, in its own units.

    Scaled so that white noise keeps its own. Anatomy is smooth along at least one axis nearly everywhere, and the median absolute deviation
    passes over the places where it is not.

    Args:
        data: Volume (x, y, z).
        region: Where it is measured, same shape; not empty.
    """
    left = np.asarray(data, dtype=np.float64)
    for axis in range(3):
        left = ndimage.correlate1d(left, np.array([1.0, -2.0, 1.0]) / np.sqrt(6.0), axis=axis, mode="nearest")
    return float(MAD_TO_SD * np.median(np.abs(left[region])))


def smoothness_mm(data: NDArray[np.floating], region: NDArray[np.bool_], voxel_mm: Sequence[float]) -> float:
    """Full width at half maximum of the Gaussian that makes white noise as smooth as an image's fine structure.

    Of the variance of the image without its coarse part and that of its differences between neighbours, as random-field theory measures it
    (Forman et al., Magn Reson Med 33 (1995) 636, equation 10).

    Args:
        data: Volume (x, y, z).
        region: Where it is measured, same shape; not empty.
        voxel_mm: Voxel edges (3,).
    """
    edges = np.asarray(voxel_mm, dtype=float)
    fine = data - ndimage.gaussian_filter(np.asarray(data, dtype=np.float64), COARSE_MM / edges)
    variance = float(np.var(fine[region]))
    widths = []
    for axis, edge in enumerate(edges):
        step = np.diff(fine, axis=axis)
        both = np.take(region, range(region.shape[axis] - 1), axis=axis) & np.take(region, range(1, region.shape[axis]), axis=axis)
        unlike = float(np.mean(step[both] ** 2)) / (2 * variance) if variance > 0 and both.any() else 0.0
        # neighbours of variance v that differ by 2 v (1 - r): r = exp(-2 ln 2 (edge / width)^2)
        widths.append(edge * np.sqrt(-2 * np.log(2) / np.log1p(-min(max(unlike, 1e-6), 1 - 1e-6))))
    return float(np.mean(widths))

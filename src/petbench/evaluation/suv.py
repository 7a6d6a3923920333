"""Standardised uptake values by body weight."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petbench.errors import InputError

PEAK_ML = 1.0
"""Volume of the ball of SUVpeak (Wahl et al., J Nucl Med 50 (2009) 122S)."""
PARTS = 5
"""How often a voxel is divided along each axis to find its share in the ball."""


def suv_factor(weight_kg: float, dose_bq: float) -> float:
    """What activity in Bq/ml is multiplied by to become SUV by body weight (g/ml), weight over dose.

    Args:
        weight_kg: Body weight.
        dose_bq: Injected activity, decayed to the time that the image is corrected to.

    Raises:
        InputError: one of them is not positive.
    """
    if not (0 < weight_kg < float("inf") and 0 < dose_bq < float("inf")):
        raise InputError(f"SUV: a weight of {weight_kg} kg and a dose of {dose_bq} Bq; both must be positive.")
    return weight_kg * 1000 / dose_bq


def suv_of(values: NDArray[np.floating], mask: NDArray[np.bool_], voxel_mm: ArrayLike) -> dict[str, float]:
    """SUVmean, SUVmax and SUVpeak of a region, of an image that is SUV already.

    SUVpeak is the highest mean of a ball of 1 ml whose middle is a voxel of the region; the ball may reach beyond it.

    Args:
        values: SUV (x, y, z).
        mask: The region.
        voxel_mm: Edges.

    Raises:
        InputError: the region is empty.
    """
    from scipy.ndimage import convolve

    if not mask.any():
        raise InputError("SUV: the region is empty; give one that holds a voxel.")
    ball = peak_ball(voxel_mm)
    where = np.argwhere(mask)
    margin = np.array(ball.shape) // 2
    box = tuple(slice(max(0, low - reach), high + reach + 1) for low, high, reach in zip(where.min(0), where.max(0), margin, strict=True))
    means = convolve(values[box].astype(np.float64), ball, mode="constant")
    return {
        "SUVmean": float(values[mask].mean(dtype=np.float64)),
        "SUVmax": float(values[mask].max()),
        "SUVpeak": float(means[mask[box]].max()),
    }


def peak_ball(voxel_mm: ArrayLike) -> NDArray[np.float64]:
    """Weights of voxels in a ball of 1 ml about the middle one, each by its share inside, summing to 1."""
    edges = np.asarray(voxel_mm, dtype=np.float64)
    radius = (3 * PEAK_ML * 1000 / (4 * np.pi)) ** (1 / 3)
    reach = np.ceil(radius / edges).astype(int)
    axes = [((np.arange((2 * n + 1) * PARTS) + 0.5) / PARTS - (n + 0.5)) * edge for n, edge in zip(reach, edges, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    inside = (x**2 + y**2 + z**2 <= radius**2).astype(np.float64)
    shares = inside.reshape(2 * reach[0] + 1, PARTS, 2 * reach[1] + 1, PARTS, 2 * reach[2] + 1, PARTS).sum(axis=(1, 3, 5))
    weights: NDArray[np.float64] = shares / shares.sum()
    return weights

"""Standardised uptake values by body weight, of scans whose sidecars say weight, dose and clocks; of others there is none."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petbench.data.acquired import MBQ
from petbench.data.bids import unit
from petbench.errors import InputError
from petbench.physics.isotopes import isotope

PEAK_ML = 1.0
"""Volume of the ball of SUVpeak (Wahl et al., J Nucl Med 50 (2009) 122S)."""
PARTS = 5
"""How often a voxel is divided along each axis to find its share in the ball."""
ELEMENTS = {"fluorine": "F", "gallium": "Ga", "carbon": "C", "nitrogen": "N", "oxygen": "O"}
ELEMENTS |= {"rubidium": "Rb", "zirconium": "Zr", "copper": "Cu"}
BQ_ML = {"bqml": 1.0, "kbqml": 1e3, "mbqml": 1e6}


def suv_factor(sidecar: Mapping[str, Any]) -> float:
    """What a value in the image's units is multiplied by to be an SUV (g/ml).

    SUV = c W / D, with D the dose injected, decayed to the time that the image is corrected to: the start of the scan
    (`ImageDecayCorrectionTime` 0 of the frame), or injection.

    Args:
        sidecar: PET-BIDS fields: `Units`, `PatientWeight` (kg), `InjectedRadioactivity` with its units, `TracerRadionuclide`,
            `InjectionStart` and `ImageDecayCorrectionTime` (s from `TimeZero`), `ImageDecayCorrected`.

    Raises:
        InputError: something is missing or impossible; it says what.
    """
    units = unit(sidecar.get("Units", ""))
    if units == "gml":
        return 1.0
    if units not in BQ_ML:
        raise InputError(f"SUV: units {sidecar.get('Units', 'n/a')!r} are no activity concentration; only SUV ratios may be said.")
    weight = _number(sidecar, "PatientWeight", 0.3, 400.0)
    activity = _number(sidecar, "InjectedRadioactivity", 0.0, 1e12)
    factor = MBQ.get(unit(sidecar.get("InjectedRadioactivityUnits", "")))
    if factor is None:
        raise InputError("SUV: InjectedRadioactivityUnits is missing or unknown; only SUV ratios may be said.")
    if sidecar.get("ImageDecayCorrected") is not True:
        raise InputError("SUV: the image is not said to be corrected for decay (ImageDecayCorrected); only SUV ratios may be said.")
    injected, corrected_to = (_number(sidecar, name, -1e6, 1e6) for name in ("InjectionStart", "ImageDecayCorrectionTime"))
    half_life = isotope(_isotope_name(sidecar.get("TracerRadionuclide", ""))).half_life_s
    waited = corrected_to - injected
    if not 0 <= waited <= 10 * half_life:
        raise InputError(f"SUV: {waited:.0f} s from injection to the time that decay is corrected to; its clocks disagree.")
    left = activity * factor * 1e6 * 2 ** (-waited / half_life)
    return BQ_ML[units] * weight * 1000 / left


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


def _number(sidecar: Mapping[str, Any], name: str, low: float, high: float) -> float:
    value = sidecar.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InputError(f"SUV: {name} is missing or impossible ({value!r}); only SUV ratios may be said.")
    if low == 0.0 and value == 0:
        raise InputError(f"SUV: {name} is 0; only SUV ratios may be said.")
    return float(value)


def _isotope_name(told: str) -> str:
    """`18F`, `F-18` and `^18^Fluorine` as `F18`."""
    letters, digits = "".join(c for c in told if c.isalpha()), "".join(c for c in told if c.isdigit())
    return f"{ELEMENTS.get(letters.casefold(), letters.capitalize())}{digits}"

"""What makes a value of a scan an SUV by body weight, where its sidecar says weight, dose and clocks."""

from collections.abc import Mapping
from typing import Any

from petbench.data.acquired import MBQ
from petbench.data.bids import unit
from petbench.errors import InputError
from petbench.evaluation.suv import suv_factor
from petbench.physics.isotopes import isotope

ELEMENTS = {"fluorine": "F", "gallium": "Ga", "carbon": "C", "nitrogen": "N", "oxygen": "O"}
ELEMENTS |= {"rubidium": "Rb", "zirconium": "Zr", "copper": "Cu"}
BQ_ML = {"bqml": 1.0, "kbqml": 1e3, "mbqml": 1e6}


def factor_of(sidecar: Mapping[str, Any]) -> float:
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
    return BQ_ML[units] * suv_factor(weight, left)


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

"""Doses: what each kind of low dose means for the counts of a scan, relative to the standard dose."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np

from petbench.errors import InputError
from petbench.physics.isotopes import isotope
from petbench.physics.scanner import Scanner

Block = Mapping[str, Any]

KINDS = ("fraction", "drf", "seconds", "activity", "counts")
DRAWS = ("thinning", "independent")
STANDARD: Block = {"fraction": 1.0}
DEFAULT_ISOTOPE = "F18"
TOLERANCE_DB = 0.1

POSITIVE = ("counts", "seconds", "activity", "scatter_fwhm_mm")
FROM_ZERO = ("psf_mm", "randoms_fraction", "scatter_fraction")
CHOICES = {"geometry": ("direct", "oblique"), "counts_scope": ("volume", "slice"), "format": ("sinogram", "list_mode")}


@dataclass(frozen=True)
class Dose:
    """One dose relative to the standard dose.

    Attributes:
        kind: How it was given, one of `KINDS`; a scan shorter as well as of another activity counts as `activity`.
        value: The number given, or drawn where a range was given: share of counts, dose reduction factor, s, MBq or expected prompts.
        draw: `thinning` keeps each count of the standard dose with probability `fraction`; `independent` is a scan of its own.
        fraction: Expected trues and scatter over those of the standard dose; the ratio of the count scales. An independent scan of
            `counts` may have another share of randoms and scatter: there it is the ratio of expected prompts.
        randoms_ratio: Expected randoms over those of the standard dose, if it has their share of the prompts.
        seconds: Duration of the scan, None where the standard dose's is not given.
        activity_mbq: Injected activity, None where the standard dose's is not given.
    """

    kind: str
    value: float
    draw: str
    fraction: float
    randoms_ratio: float
    seconds: float | None = None
    activity_mbq: float | None = None


def resolve_dose(block: Block, standard: Block, seed: int) -> Dose:
    """Work out a dose block against the standard dose.

    A smaller share of the counts, be it by resampling or a shorter scan, lowers trues, scatter and randoms alike. A smaller injected
    activity lowers randoms with its square, as both photons of a random come from different decays, and cannot be had by thinning.

    Args:
        block: Exactly one of `fraction` in (0, 1], `drf` (1 / fraction), `seconds`, `activity` (MBq) and `counts` (expected prompts, or
            the ends of a range that each subject draws from uniformly), or `activity` with `seconds`; optionally `draw`. Independent
            draws may have `simulation` and `reconstruction`, differences from those of the standard dose, which the caller merges;
            `randoms_fraction` and `scatter_fraction` may differ with `counts` only, as the other kinds fix trues, scatter and randoms.
        standard: Of the standard dose: `counts`, and where the kind needs it `seconds`, `activity`, `isotope`.
        seed: The subject's seed.

    Raises:
        InputError: the block does not have exactly one kind, a number is out of range, or the standard dose lacks what the kind needs.
    """
    given = [kind for kind in KINDS if kind in block]
    if len(given) != 1 and given != ["seconds", "activity"]:
        here = " and ".join(given) or "none"
        raise InputError(f"doses: give exactly one of {', '.join(KINDS)}, or activity with seconds (here: {here}).")
    kind = given[-1]
    draw = draw_of(block)
    if draw not in DRAWS:
        raise InputError(f"doses/draw: {draw!r} is neither thinning nor independent.")
    if draw == "thinning":
        if kind == "activity":
            raise InputError("doses/draw: a smaller injected activity is no thinning, as randoms fall with its square; use independent.")
        for key in ("simulation", "reconstruction"):
            if key in block:
                raise InputError(f"doses/{key}: a thinned dose shares the scan of the standard dose; set draw to independent or remove it.")
    for key in ("randoms_fraction", "scatter_fraction"):
        if kind != "counts" and key in block.get("simulation", {}):
            raise InputError(f"doses/simulation/{key}: {kind} keeps the standard dose's share; give the dose in counts or remove the key.")
    value = _number(block, kind, seed)
    shorter = _of_seconds(_number(block, "seconds", seed), standard) if len(given) > 1 else 1.0
    fraction = _FRACTIONS[kind](value, standard)
    if draw == "thinning" and fraction > 1:
        raise InputError(f"doses/{kind}: {value:g} is more than the standard dose has, which thinning cannot reach; use independent.")
    seconds = float(block["seconds"]) if "seconds" in block else standard.get("seconds")
    activity = value if kind == "activity" else standard.get("activity")
    randoms = fraction**2 if kind == "activity" else fraction
    return Dose(kind, value, draw, shorter * fraction, shorter * randoms, seconds, activity)


def is_independent(block: Block) -> bool:
    """Whether a dose is a scan of its own rather than drawn from the standard dose's counts."""
    return draw_of(block) == "independent"


def draw_of(block: Block) -> str:
    """How a dose is drawn, said or by default."""
    return str(block.get("draw", "independent" if "activity" in block else "thinning"))


def check_fraction(fraction: float) -> None:
    """Check the share of the standard dose's counts.

    Raises:
        InputError: it is outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise InputError(f"doses/fraction: {fraction:g} is outside (0, 1]; give the share of the standard dose's counts.")


def is_amount(value: Any) -> bool:
    """Whether a value is a finite number from zero."""
    return isinstance(value, Real) and 0 <= float(value) < np.inf


def check_settings(simulation: Block) -> None:
    """Check each setting of a simulation by itself.

    Raises:
        InputError: a number is out of range or none, or a choice or the isotope is unknown.
    """
    for key in (*POSITIVE, *FROM_ZERO):
        value, wanted = simulation.get(key, 1), "number from zero" if key in FROM_ZERO else "positive number"
        if not is_amount(value) or (value == 0 and key in POSITIVE):
            raise InputError(f"simulation/{key}: {value!r} is no {wanted}; give one.")
    for key, choices in CHOICES.items():
        if (value := simulation.get(key, choices[0])) not in choices:
            raise InputError(f"simulation/{key}: {value!r} is unknown; choose {' or '.join(choices)}.")
    isotope(str(simulation.get("isotope", DEFAULT_ISOTOPE)))


def check_simulation(simulation: Block, scanner: Scanner) -> None:
    """Check a simulation's settings, that the scanner can do what they ask for, and that they fit each other.

    Raises:
        InputError: a setting is out of range, or they do not.
    """
    check_settings(simulation)
    if simulation.get("tof", False) and scanner.tof is None:
        raise InputError(f"simulation/tof: {scanner.name} has no time of flight; add tof to the scanner entry or set tof to false.")
    oblique = simulation.get("geometry", "direct") == "oblique"
    if oblique and scanner.rings is None:
        raise InputError(f"simulation/geometry: {scanner.name} has no rings; add oblique to the scanner entry or use direct.")
    if oblique and simulation.get("counts_scope", "volume") == "slice":
        raise InputError("simulation/counts_scope: oblique planes are no slices; use volume, or the direct geometry.")
    if simulation.get("format", "sinogram") == "list_mode" and "seconds" not in simulation:
        raise InputError("simulation/seconds: is missing, and list-mode events have times; give the duration of the standard dose in s.")


def check_doses(doses: Mapping[str, Block], simulation: Block, reconstruction: Block, scanner: Scanner) -> None:
    """Check a data set's simulation and all its doses, those in `psnr` too, before anything runs.

    Raises:
        InputError: one of them cannot be simulated or reconstructed; names the dose.
    """
    check_simulation(simulation, scanner)
    for name, dose in doses.items():
        try:
            own = {**simulation, **dose.get("simulation", {})}
            if "psnr" in dose:
                check_target(dose, own)
            else:
                resolve_dose(dose, simulation, seed=0)
            for end in dose["counts"] if isinstance(dose.get("counts"), list | tuple) else ():
                resolve_dose({**dose, "counts": end}, simulation, seed=0)
            check_simulation(own, scanner)
            subsets = {**reconstruction, **dose.get("reconstruction", {})}.get("subsets", 1)
            if subsets > scanner.views:
                raise InputError(f"reconstruction/subsets: {subsets} subsets exceed the scanner's {scanner.views} views; lower it.")
        except InputError as error:
            raise InputError(f"doses/{name}: {str(error).removeprefix('doses: ').removeprefix('doses/')}") from None


def check_target(dose: Block, simulation: Block) -> None:
    """Check a dose given as the PSNR its image is to have, for which the standard dose's counts are thinned.

    Raises:
        InputError: a number is out of range, the dose is given otherwise too, is no thinning, or events would have to be thinned.
    """
    target, tolerance = dose["psnr"], dose.get("tolerance_db", TOLERANCE_DB)
    if not isfinite(target):
        raise InputError(f"doses/psnr: {target} is not finite; give the PSNR in dB.")
    if not 0 < tolerance < np.inf:
        raise InputError(f"doses/tolerance_db: {tolerance:g} is not positive; give the difference in dB that is small enough.")
    if also := [kind for kind in KINDS if kind in dose]:
        raise InputError(f"doses/psnr: the counts follow from it, and {also[0]} gives them too; remove either.")
    if draw_of(dose) != "thinning":
        raise InputError("doses/draw: a PSNR is met by thinning the standard dose; remove draw, or give the dose in counts.")
    if simulation.get("format", "sinogram") != "sinogram":
        raise InputError("simulation/format: a PSNR is met by thinning a sinogram; use sinogram.")


def decayed_fraction(seconds: float, standard_seconds: float, half_life_s: float) -> float:
    """Share of a scan's decays that fall into its first `seconds`: (1 - 2^(-s/h)) / (1 - 2^(-T/h))."""
    rate = np.log(2.0) / half_life_s
    return float(np.expm1(-rate * seconds) / np.expm1(-rate * standard_seconds))


def derived_seed(seed: int, purpose: str) -> int:
    """A seed of its own for one purpose, so that no two draws of a subject share their random numbers."""
    return int(np.random.SeedSequence([seed, zlib.crc32(purpose.encode())]).generate_state(1, np.uint64)[0])


def _number(block: Block, kind: str, seed: int) -> float:
    """The block's number, drawn by the subject's seed where it is a range."""
    value = block[kind]
    if isinstance(value, list | tuple):
        if kind != "counts" or len(value) != 2:
            raise InputError(f"doses/{kind}: {value} is no single number; only counts may be a range [low, high].")
        low, high = (float(end) for end in value)
        if not 0 < low <= high:
            raise InputError(f"doses/counts: the range [{low:g}, {high:g}] must rise from above zero; give [low, high].")
        return float(np.random.default_rng(derived_seed(seed, f"counts {low:.9g} {high:.9g}")).uniform(low, high))
    if not value > 0:
        raise InputError(f"doses/{kind}: {value} is not positive; give a number above zero.")
    return float(value)


def _of_fraction(value: float, standard: Block) -> float:
    check_fraction(value)
    return value


def _of_drf(value: float, standard: Block) -> float:
    if not value >= 1:
        raise InputError(f"doses/drf: {value:g} is below 1; the dose reduction factor divides the standard dose.")
    return 1.0 / value


def _of_seconds(value: float, standard: Block) -> float:
    total = _standard_number(standard, "seconds", "the duration of the standard dose in s")
    if value > total:
        raise InputError(f"doses/seconds: {value:g} s are longer than the standard dose's {total:g} s; give at most that.")
    return decayed_fraction(value, total, isotope(standard.get("isotope", DEFAULT_ISOTOPE)).half_life_s)


def _of_activity(value: float, standard: Block) -> float:
    return value / _standard_number(standard, "activity", "the injected activity of the standard dose in MBq")


def _of_counts(value: float, standard: Block) -> float:
    return value / _standard_number(standard, "counts", "the expected prompts of the standard dose")


_FRACTIONS = {"fraction": _of_fraction, "drf": _of_drf, "seconds": _of_seconds, "activity": _of_activity, "counts": _of_counts}


def _standard_number(standard: Block, key: str, meaning: str) -> float:
    if key not in standard:
        raise InputError(f"simulation/{key}: is missing, and a dose is given relative to it; give {meaning}.")
    return float(standard[key])

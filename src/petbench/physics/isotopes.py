"""Positron emitters: what decides how far a positron travels and how many there are."""

from dataclasses import dataclass

from petbench.errors import InputError


@dataclass(frozen=True)
class Isotope:
    """A positron emitter: its beta-plus spectrum, the positrons a decay gives, and its half-life."""

    name: str
    end_point_kev: float
    mean_energy_kev: float
    positron_yield: float
    half_life_s: float


MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

ISOTOPES = {
    entry.name: entry
    for entry in (
        Isotope("F18", 633.9, 250.0, 0.968, 109.77 * MINUTE),
        Isotope("C11", 960.5, 385.0, 0.998, 20.36 * MINUTE),
        Isotope("N13", 1198.5, 492.0, 0.998, 9.967 * MINUTE),
        Isotope("O15", 1735.0, 735.0, 0.999, 122.27),
        Isotope("Ga68", 1899.0, 829.0, 0.889, 67.71 * MINUTE),
        Isotope("Rb82", 3381.0, 1475.0, 0.954, 75.45),
        Isotope("Cu64", 653.0, 278.0, 0.174, 12.701 * HOUR),
        Isotope("I124", 2138.0, 819.0, 0.229, 4.176 * DAY),
        Isotope("Zr89", 902.0, 394.0, 0.228, 78.41 * HOUR),
    )
}


def isotope(name: str) -> Isotope:
    """Look up an isotope by name, written `F18`, `F-18` or `18F`.

    Raises:
        InputError: the isotope is not in the table.
    """
    letters = "".join(c for c in name if c.isalpha()).capitalize()
    key = letters + "".join(c for c in name if c.isdigit())
    if key not in ISOTOPES:
        raise InputError(f"isotope: {name!r} is unknown; choose one of {', '.join(ISOTOPES)}.")
    return ISOTOPES[key]

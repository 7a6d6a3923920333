"""Positron emitters: what decides how far a positron travels and how many there are."""

from dataclasses import dataclass

from petbench.errors import InputError


@dataclass(frozen=True)
class Branch:
    """One beta-plus branch of a decay: its end point, its positrons a decay, and whether it is unique first forbidden."""

    end_point_kev: float
    intensity: float
    unique_first_forbidden: bool = False


@dataclass(frozen=True)
class Isotope:
    """A positron emitter: its beta-plus spectrum, the positrons a decay gives, and its half-life.

    `daughter_charge` is the atomic number of the nucleus the positron leaves. `branches` holds what makes up all but a thousandth of
    the positrons, after the decay data of the MIRD and DDEP evaluations.
    """

    name: str
    end_point_kev: float
    mean_energy_kev: float
    positron_yield: float
    half_life_s: float
    daughter_charge: int
    branches: tuple[Branch, ...]

    @property
    def mass_number(self) -> int:
        """Nucleons, as in the name."""
        return int("".join(c for c in self.name if c.isdigit()))


MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0

ISOTOPES = {
    entry.name: entry
    for entry in (
        Isotope("F18", 633.9, 250.0, 0.968, 109.77 * MINUTE, 8, (Branch(633.9, 0.968),)),
        Isotope("C11", 960.5, 385.0, 0.998, 20.36 * MINUTE, 5, (Branch(960.5, 0.998),)),
        Isotope("N13", 1198.5, 492.0, 0.998, 9.967 * MINUTE, 6, (Branch(1198.5, 0.998),)),
        Isotope("O15", 1735.0, 735.0, 0.999, 122.27, 7, (Branch(1735.0, 0.999),)),
        Isotope("Ga68", 1899.0, 829.0, 0.889, 67.71 * MINUTE, 30, (Branch(1899.0, 0.877), Branch(821.7, 0.012))),
        Isotope("Rb82", 3381.0, 1475.0, 0.954, 75.45, 36, (Branch(3381.0, 0.818), Branch(2604.0, 0.131))),
        Isotope("Cu64", 653.0, 278.0, 0.174, 12.701 * HOUR, 28, (Branch(653.0, 0.174),)),
        Isotope(
            "I124",
            2138.0,
            819.0,
            0.229,
            4.176 * DAY,
            52,
            (Branch(2138.0, 0.107, unique_first_forbidden=True), Branch(1535.0, 0.117), Branch(812.0, 0.003)),
        ),
        Isotope("Zr89", 902.0, 394.0, 0.228, 78.41 * HOUR, 39, (Branch(902.0, 0.228),)),
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

"""The data files Geant4 reads at its start: its own, or tables generated here that are enough for positrons.

Positron transport (ionisation, multiple scattering, annihilation) is analytic in Geant4's standard electromagnetic physics. What is read
from files is bremsstrahlung and what becomes of photons. `embedded` writes those tables from textbook formulas, so that the real Geant4
runs without its gigabytes of data. The approximation touches radiative energy loss alone, which takes less than 1 % of a positron's
energy in tissue at the energies of PET isotopes, and there it is right to a quarter; photons must be killed at birth, for their cross
sections are not to be trusted. Photon transport and ion sources need Geant4's own data.
"""

import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError

Array = NDArray[np.float64]

# What the standard electromagnetic physics opens: the variable, the start of the folder's name as Geant4 distributes it, and a file
# or folder that must be in it.
DATA_SETS = {
    "G4LEDATA": ("G4EMLOW", "brem_SB"),
    "G4LEVELGAMMADATA": ("PhotonEvaporation", "."),
    "G4RADIOACTIVEDATA": ("RadioactiveDecay", "."),
    "G4PARTICLEXSDATA": ("G4PARTICLEXS", "."),
    "G4ENSDFSTATEDATA": ("G4ENSDFSTATE", "ENSDFSTATE.dat"),
}

FINE_STRUCTURE = 1 / 137.035999
ELECTRON_MASS_MEV = 0.51099895
THOMSON_BARN = 0.665246
# alpha times the classical electron radius squared, in millibarn.
BREMSSTRAHLUNG_MB = 0.579472
# Geant4 tabulates bremsstrahlung at these energies; above the last used, where no positron of a PET isotope gets, the table is flat.
TABLE_MEV = np.geomspace(1e-3, 1e4, 57)
FLAT_ABOVE_MEV = 50.0


def geant4_environment(data: str, folder: Path, materials: Iterable[str]) -> dict[str, str]:
    """Environment variables under which opengate finds its data; they must be set before it is imported.

    Args:
        data: `embedded`; `download`, for opengate's own way (it fetches gigabytes into its folder on its first import); or the path of a
            folder with Geant4's data sets as they are distributed.
        folder: Where `embedded` may write its tables, some hundred kilobytes.
        materials: GATE's names of the materials in use.

    Raises:
        InputError: the folder is missing, lacks a data set, or holds one twice.
    """
    if data == "download":
        return {}
    if data == "embedded":
        write_tables(folder, elements_of(materials))
        variables = {variable: str(folder / start) for variable, (start, _) in DATA_SETS.items()}
    else:
        variables = {variable: str(_installed(Path(data), start, holds)) for variable, (start, holds) in DATA_SETS.items()}
    # opengate downloads nothing and sets no paths of its own if this is set.
    return {**variables, "GATEONRTD": "1"}


def _installed(data: Path, start: str, holds: str) -> Path:
    if not data.is_dir():
        raise InputError(f"gate/data: {str(data)!r} is no folder; give Geant4's data folder, `embedded` or `download`.")
    found = [folder for folder in sorted(data.iterdir()) if re.fullmatch(re.escape(start) + r"[\d.]+", folder.name)]
    if len(found) > 1:
        raise InputError(f"gate/data: {data} holds {' and '.join(folder.name for folder in found)}; keep the one opengate was built with.")
    if not found or not (found[0] / holds).exists():
        raise InputError(f"gate/data: {data} lacks Geant4's data set {start} or part of it; install it there, or use `embedded`.")
    return found[0]


def material_database() -> Path:
    """GATE's table of materials, as opengate ships it; opengate itself is not imported."""
    found = importlib.util.find_spec("opengate")
    if found is None or found.origin is None:
        raise InputError("gate: opengate is not installed; install it with `pip install opengate`.")
    return Path(found.origin).parent / "contrib" / "GateMaterials.db"


def elements_of(materials: Iterable[str]) -> list[int]:
    """Atomic numbers of the elements in materials of GATE's table.

    Raises:
        InputError: a material is not in it.
    """
    text = material_database().read_text()
    charges = {name: int(charge) for name, charge in re.findall(r"^(\w+):\s*S=.*?Z=\s*(\d+)", text, re.MULTILINE)}
    found: set[int] = set()
    for material in materials:
        # A material is a line that begins with its name, then a line for each constituent.
        block = re.search(rf"^{re.escape(material)}:\s*d=.*\n((?:[ \t]+\+el:.*\n)+)", text, re.MULTILINE)
        if block is None:
            raise InputError(f"material: {material!r} is not in GATE's table; choose one of {material_database()}.")
        found.update(charges[element] for element in re.findall(r"name\s*=\s*(\w+)", block[1]))
    return sorted(found)


def write_tables(folder: Path, elements: Iterable[int]) -> None:
    """Write what Geant4 opens to transport positrons in materials made of `elements` (atomic numbers)."""
    for start, _ in DATA_SETS.values():
        (folder / start).mkdir(parents=True, exist_ok=True)
    (folder / "G4ENSDFSTATE" / "ENSDFSTATE.dat").write_text("")
    bremsstrahlung = folder / "G4EMLOW" / "brem_SB"
    photoelectric = folder / "G4EMLOW" / "epics2017" / "phot"
    bremsstrahlung.mkdir(exist_ok=True)
    photoelectric.mkdir(parents=True, exist_ok=True)
    for charge in elements:
        (bremsstrahlung / f"br{charge}").write_text(_bremsstrahlung_table(charge))
        binding = 13.6e-6 * charge**2
        energies = np.geomspace(binding, 1e5, 100)
        points = zip(energies, photoelectric_barn(charge, energies) * energies**3, strict=True)
        header = f"{energies[0]:.7g} {energies[-1]:.7g} {len(energies)}\n{len(energies)}\n"
        (photoelectric / f"pe-cs-{charge}.dat").write_text(header + "".join(f"{energy:.7g} {value:.7g}\n" for energy, value in points))
        # One shell: its binding energy and the six coefficients of a fit in inverse powers of the energy.
        shell = f"1 1 {binding:.7g}\n{binding:.7g}" + 6 * " 1e-6" + "\n"
        for part in ("high", "low"):
            (photoelectric / f"pe-{part}-{charge}.dat").write_text(shell)


def _bremsstrahlung_table(charge: int) -> str:
    shares = np.linspace(0, 1, 32)
    rows = [shares, np.log(TABLE_MEV), *(scaled_bremsstrahlung_mb(charge, energy, shares) for energy in TABLE_MEV)]
    lines = (" ".join(f"{value:.6g}" for value in row) for row in rows)
    return f"1 {len(shares)} {len(TABLE_MEV)}\n" + "\n".join(lines) + "\n"


def scaled_bremsstrahlung_mb(charge: int, energy_mev: float, shares: Array) -> Array:
    """Bremsstrahlung as Seltzer and Berger scale it, (beta / Z)^2 k dsigma/dk, in millibarn.

    Formula 3BN of Koch and Motz (Rev. Mod. Phys. 31 (1959) 920): Born approximation, no screening, with Elwert's Coulomb factor. At the
    ends of the spectrum, where it diverges or vanishes, it is held constant.

    Args:
        charge: Atomic number Z.
        energy_mev: The electron's kinetic energy.
        shares: Photon energy over `energy_mev`, from 0 to 1.
    """
    kinetic = min(energy_mev, FLAT_ABOVE_MEV) / ELECTRON_MASS_MEV
    k = np.clip(shares, 0.02, 0.999) * kinetic
    e0, e = 1 + kinetic, 1 + kinetic - k
    p0, p = np.sqrt(e0**2 - 1), np.sqrt(e**2 - 1)
    log0, log1 = 2 * np.log(e0 + p0), 2 * np.log(e + p)
    both = 2 * np.log((e0 * e + p0 * p - 1) / k)
    braces = 4 / 3 - 2 * e0 * e * (p**2 + p0**2) / (p * p0) ** 2 + log0 * e / p0**3 + log1 * e0 / p**3 - log0 * log1 / (p0 * p)
    crossed = (e0 * e + p0**2) * log0 / p0**3 - (e0 * e + p**2) * log1 / p**3 + 2 * k * e0 * e / (p * p0) ** 2
    braces += both * (8 * e0 * e / (3 * p0 * p) + k**2 * ((e0 * e) ** 2 + (p0 * p) ** 2) / (p0 * p) ** 3 + k / (2 * p0 * p) * crossed)
    beta0, beta = p0 / e0, p / e
    strength = 2 * np.pi * FINE_STRUCTURE * charge
    elwert = beta0 / beta * np.expm1(-strength / beta0) / np.expm1(-strength / beta)
    scaled: Array = beta0**2 * BREMSSTRAHLUNG_MB * p / p0 * braces * elwert
    return scaled


def photoelectric_barn(charge: int, energy_mev: Array) -> Array:
    """Photoelectric cross section an atom: the K shell in Born approximation (Heitler, The Quantum Theory of Radiation), and a quarter
    of it for the outer shells.
    """
    k_shell: Array = THOMSON_BARN * 4 * np.sqrt(2) * FINE_STRUCTURE**4 * charge**5 * (ELECTRON_MASS_MEV / energy_mev) ** 3.5
    return 1.25 * k_shell

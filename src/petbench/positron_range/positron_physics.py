"""What happens to a positron in a material: collisions, radiation, scattering and annihilation, an electron or an atom at a time.

- Collision stopping power, restricted: Berger and Seltzer for positrons (ICRU Report 37, 1984), with Sternheimer and Peierls' density
  effect (Phys. Rev. B 3 (1971) 3681).
- Single large losses: Bhabha (Proc. R. Soc. A 154 (1936) 195); straggling below them: the second moment of his cross section.
- Radiative stopping power: the integral of `geant4_data.scaled_bremsstrahlung_mb`.
- Elastic scattering: Rutherford's cross section with Moliere's screening (Z. Naturforsch. 2a (1947) 133) and McKinley and Feshbach's
  factor for positrons (Phys. Rev. 74 (1948) 1759), Z (Z + 1) taking in the electrons.
- Annihilation in flight into two photons: Heitler (The Quantum Theory of Radiation, 1954).

Energies are kinetic, in MeV; lengths in cm. Compositions are those of GATE's table, so that either
engine simulates the same matter.
"""

import re
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.materials import material
from petbench.positron_range.geant4_data import ELECTRON_MASS_MEV, FINE_STRUCTURE, material_database, scaled_bremsstrahlung_mb

Array = NDArray[np.float64]

AVOGADRO = 6.02214076e23
ELECTRON_RADIUS_CM = 2.8179403e-13
# 2 pi r_e^2 m c^2 in MeV cm2.
COLLISION = 2 * np.pi * ELECTRON_RADIUS_CM**2 * ELECTRON_MASS_MEV
MILLIBARN_CM2 = 1e-27
# Mean excitation energies of elements in eV (ICRU Report 37), by atomic number; a compound's is Bragg's mean, as Geant4 takes it.
EXCITATION_EV = {1: 19.2, 6: 81.0, 7: 82.0, 8: 95.0, 11: 149.0, 12: 156.0, 15: 173.0, 16: 180.0, 17: 174.0, 18: 188.0, 19: 190.0, 20: 191.0}


@dataclass(frozen=True)
class Matter:
    """A material as positrons see it: its elements' atomic numbers and atoms a cm3, its electrons a cm3, mean excitation energy in MeV."""

    charges: tuple[int, ...]
    atoms_cm3: tuple[float, ...]
    density_g_cm3: float

    @property
    def electrons_cm3(self) -> float:
        """Electrons a cm3."""
        return sum(charge * atoms for charge, atoms in zip(self.charges, self.atoms_cm3, strict=True))

    @property
    def excitation_mev(self) -> float:
        """Bragg's mean over the electrons."""
        logs = [charge * atoms * np.log(EXCITATION_EV[charge] * 1e-6) for charge, atoms in zip(self.charges, self.atoms_cm3, strict=True)]
        return float(np.exp(sum(logs) / self.electrons_cm3))


@cache
def matter(name: str) -> Matter:
    """Look up a material, named as in `petbench.physics.materials`, in GATE's table; the density is `Material.density_g_cm3`.

    Raises:
        InputError: an unknown material, or one that holds an element without a mean excitation energy here.
    """
    entry, text = material(name), material_database().read_text()
    elements = {
        found[1]: (int(found[2]), float(found[3]))
        for found in re.finditer(r"^(\w+):\s*S=.*?Z=\s*(\d+)\.?\s*;\s*A=\s*([\d.]+)", text, re.MULTILINE)
    }
    block = re.search(rf"^{re.escape(entry.gate_name)}:\s*d=.*\n((?:[ \t]+\+el:.*\n)+)", text, re.MULTILINE)
    if block is None:
        raise InputError(f"material: {entry.gate_name!r} is not in GATE's table; choose one of {material_database()}.")
    parts = re.findall(r"name\s*=\s*(\w+)\s*;\s*([fn])\s*=\s*([\d.]+)", block[1])
    # a part is given by its mass or by its number of atoms
    masses = {elements[part]: float(amount) * (elements[part][1] if kind == "n" else 1.0) for part, kind, amount in parts}
    if unknown := [charge for charge, _ in masses if charge not in EXCITATION_EV]:
        raise InputError(
            f"material: {name!r} holds the element of atomic number {unknown[0]}, which has no mean excitation energy here; use gate."
        )
    atoms = tuple(entry.density_g_cm3 * mass / sum(masses.values()) * AVOGADRO / weight for (_, weight), mass in masses.items())
    return Matter(tuple(charge for charge, _ in masses), atoms, entry.density_g_cm3)


def beta_squared(energy_mev: Array) -> Array:
    """Velocity squared, in units of light's."""
    gamma = 1 + energy_mev / ELECTRON_MASS_MEV
    return 1 - 1 / gamma**2


def collision_stopping_power(of: Matter, energy_mev: Array, largest_mev: Array | float = np.inf) -> Array:
    """Energy lost a length to collisions that cost no more than `largest_mev` each (all, if left out), in MeV a cm."""
    tau = energy_mev / ELECTRON_MASS_MEV
    cut = np.minimum(largest_mev, energy_mev) / ELECTRON_MASS_MEV
    beta2, y = beta_squared(energy_mev), 1 / (tau + 2)
    series = tau + 2 * cut - 1.5 * cut**2 * y - (cut - cut**3 / 3) * y**2 - (cut**2 / 2 - tau * cut**3 / 3 + cut**4 / 4) * y**3
    logs = np.log(2 * (tau + 2) / (of.excitation_mev / ELECTRON_MASS_MEV) ** 2) + np.log(tau * cut)
    stopping: Array = COLLISION * of.electrons_cm3 / beta2 * (logs - beta2 / tau * series - density_effect(of, energy_mev))
    return stopping


def density_effect(of: Matter, energy_mev: Array) -> Array:
    """Sternheimer and Peierls' general formula for condensed matter."""
    plasma_mev = 28.816e-6 * np.sqrt(of.electrons_cm3 / AVOGADRO)
    constant = 1 + 2 * np.log(of.excitation_mev / plasma_mev)
    light = of.excitation_mev < 100e-6
    high = 2.0 if light else 3.0
    limit, offset = (3.681, 1.0) if light else (5.215, 1.5)
    low = 0.2 if constant < limit else 0.326 * constant - offset
    gamma = 1 + energy_mev / ELECTRON_MASS_MEV
    x = np.log10(np.sqrt(gamma**2 - 1))
    bend = (constant - 2 * np.log(10) * low) / (high - low) ** 3
    delta = 2 * np.log(10) * x - constant + np.where(x < high, bend * np.maximum(high - x, 0) ** 3, 0)
    return np.where(x > low, delta, 0.0)


def bhabha_factor(energy_mev: Array, share: Array) -> Array:
    """Bhabha's cross section at losses of a share of the energy, over its limit of small ones; it lies between 0 and 1."""
    tau = energy_mev / ELECTRON_MASS_MEV
    beta2, y = beta_squared(energy_mev), 1 / (tau + 2)
    b1, b4 = 2 - y**2, (1 - 2 * y) ** 3
    b2, b3 = (1 - 2 * y) * (3 + y**2), (1 - 2 * y) ** 2 + b4
    factor: Array = 1 - beta2 * (b1 * share - b2 * share**2 + b3 * share**3 - b4 * share**4)
    return factor


def bhabha_limit(of: Matter, energy_mev: Array, least_mev: Array) -> Array:
    """Collisions a cm that cost more than `least_mev` in the limit of small losses, where their number falls as the loss squared.

    Of them the share `bhabha_factor` is real.
    """
    strength = COLLISION * of.electrons_cm3 / beta_squared(energy_mev)
    return np.where(energy_mev > least_mev, strength * (1 / least_mev - 1 / energy_mev), 0.0)


def straggling(of: Matter, energy_mev: Array, largest_mev: Array) -> Array:
    """Variance of the energy lost a cm to collisions that cost no more than `largest_mev`, in MeV2 a cm."""
    cut = np.minimum(largest_mev, energy_mev)
    share = (np.arange(64) + 0.5)[:, None] / 64 * (cut / energy_mev)
    mean: Array = COLLISION * of.electrons_cm3 / beta_squared(energy_mev) * cut * bhabha_factor(energy_mev, share).mean(axis=0)
    return mean


def radiative_stopping_power(of: Matter, energy_mev: Array) -> Array:
    """Energy lost a length to bremsstrahlung, in MeV a cm."""
    shares = np.linspace(0, 1, 65)
    total = np.zeros_like(energy_mev)
    # a smooth function of the energy, of which a few points are enough
    points = np.geomspace(energy_mev.min(), energy_mev.max(), 12)
    for charge, atoms in zip(of.charges, of.atoms_cm3, strict=True):
        found = [np.trapezoid(scaled_bremsstrahlung_mb(charge, float(energy), shares), shares) for energy in points]
        scaled = np.interp(np.log(energy_mev), np.log(points), found)
        # the electrons radiate as well, which Z (Z + 1) in place of Z^2 takes in
        total += atoms * charge * (charge + 1) * scaled * MILLIBARN_CM2
    return total * energy_mev / beta_squared(energy_mev)


def transport_cross_section(of: Matter, energy_mev: Array) -> Array:
    """Inverse of the first transport mean free path, the mean of 1 - cos(angle) gathered a cm."""
    gamma = 1 + energy_mev / ELECTRON_MASS_MEV
    beta2 = beta_squared(energy_mev)
    momentum2 = gamma**2 - 1  # in units of (m c)^2
    # sin^2 (angle / 2), in steps of equal ratio down to where screening has made an end of it
    t = np.geomspace(1e-9, 1, 400)[:, None]
    total = np.zeros_like(energy_mev)
    for charge, atoms in zip(of.charges, of.atoms_cm3, strict=True):
        coupling2 = (FINE_STRUCTURE * charge) ** 2 / beta2
        screening = (FINE_STRUCTURE * charge ** (1 / 3) / 0.885) ** 2 / (4 * momentum2) * (1.13 + 3.76 * coupling2)
        mott = 1 - beta2 * t - np.pi * FINE_STRUCTURE * charge * np.sqrt(beta2) * np.sqrt(t) * (1 - np.sqrt(t))
        integral = np.trapezoid(t**2 * mott / (t + screening) ** 2, np.log(t[:, 0]), axis=0)
        total += atoms * charge * (charge + 1) * integral
    return 2 * np.pi * ELECTRON_RADIUS_CM**2 / (momentum2 * beta2) * total


def annihilation(of: Matter, energy_mev: Array) -> Array:
    """Annihilations in flight a cm."""
    gamma = 1 + energy_mev / ELECTRON_MASS_MEV
    root = np.sqrt(gamma**2 - 1)
    bracket = (gamma**2 + 4 * gamma + 1) / (gamma**2 - 1) * np.log(gamma + root) - (gamma + 3) / root
    rate: Array = of.electrons_cm3 * np.pi * ELECTRON_RADIUS_CM**2 / (gamma + 1) * bracket
    return rate


@dataclass(frozen=True, eq=False)
class Ladder:
    """Rungs of energies that positrons come down, and what happens on each; all arrays are (materials, rungs) but `energies_mev`.

    Attributes:
        energies_mev: (rungs + 1,), falling by one ratio.
        length_mm: Mean path on the rung.
        spread: Standard deviation of that path over its mean.
        scattering: The mean of 1 - cos(angle) gathered on it, as if angles were small.
        rise: How its density a length grows along the rung, from 1 - rise to 1 + rise times its mean.
        collisions: Large losses on it, in the limit of small ones (`bhabha_limit`).
        annihilations: In flight, on it.
        least_loss_mev: (rungs,), losses larger than this are single ones.
    """

    energies_mev: Array
    length_mm: Array
    spread: Array
    scattering: Array
    rise: Array
    collisions: Array
    annihilations: Array
    least_loss_mev: Array


@cache
def ladder(
    names: tuple[str, ...], highest_mev: float, lowest_mev: float, ratio: float, least_loss_mev: float, least_share: float
) -> Ladder:
    """Integrate cross sections over rungs of equal energy ratio.

    Args:
        names: Materials, as in `petbench.physics.materials`.
        highest_mev: No positron starts above.
        lowest_mev: Below this it stays where it is.
        ratio: Of a rung's lower to its upper energy, about.
        least_loss_mev: Losses larger than this are single ones,
        least_share: or larger than this share of the energy where that is less.
    """
    count = int(np.ceil(np.log(highest_mev / lowest_mev) / -np.log(ratio)))
    edges = np.geomspace(highest_mev, lowest_mev, count + 1)
    # Gauss's five points a rung; the energy at which losses become single is the rung's
    nodes, weights = np.polynomial.legendre.leggauss(5)
    upper, lower = edges[:-1], edges[1:]
    width = upper - lower
    energies = ((upper + lower)[:, None] / 2 + width[:, None] / 2 * nodes).ravel()
    least = np.minimum(least_loss_mev, least_share * lower)
    threshold = np.repeat(least, nodes.size)

    def integral(rates: Array) -> Array:
        total: Array = rates.reshape(count, -1) @ weights * width / 2
        return total

    rows: dict[str, list[Array]] = {key: [] for key in ("length_mm", "spread", "scattering", "rise", "collisions", "annihilations")}
    for name in names:
        one = matter(name)
        stopping = collision_stopping_power(one, energies, threshold) + radiative_stopping_power(one, energies)
        path = integral(1 / stopping)
        rows["length_mm"].append(10 * path)
        rows["spread"].append(np.sqrt(integral(straggling(one, energies, threshold) / stopping**3)) / path)
        rows["scattering"].append(integral(transport_cross_section(one, energies) / stopping))
        density = transport_cross_section(one, edges)
        rows["rise"].append((density[1:] - density[:-1]) / (density[1:] + density[:-1]))
        rows["collisions"].append(integral(bhabha_limit(one, energies, threshold) / stopping))
        rows["annihilations"].append(integral(annihilation(one, energies) / stopping))
    columns = {key: np.stack(values) for key, values in rows.items()}
    return Ladder(energies_mev=edges, least_loss_mev=least, **columns)

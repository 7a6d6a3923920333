"""Beta-plus energy spectra from the theory of beta decay, for isotopes whose measured spectrum GATE does not carry.

Each branch has the statistical shape p W (W0 - W)^2 times the Fermi function, here for the repulsion of the positron by the daughter
nucleus (Konopinski, The Theory of Beta Radioactivity, 1966); a unique first-forbidden branch has the further factor p^2 + q^2, q the
neutrino's momentum. Inside, energies and momenta are in units of the electron's mass.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petbench.physics.isotopes import Branch, Isotope

Array = NDArray[np.float64]

ELECTRON_MASS_KEV = 510.99895
FINE_STRUCTURE = 1 / 137.035999
# Nuclear radius, r0 A^(1/3), in units of the electron's reduced Compton wavelength (386.16 fm).
RADIUS_UNIT = 1.2 / 386.159


def positron_spectrum(isotope: Isotope, bins: int = 400) -> tuple[Array, Array]:
    """The spectrum of an isotope's positrons as a histogram of equal bins from zero to the highest end point.

    Args:
        isotope: One of the table.
        bins: Their number.

    Returns:
        Edges of the bins in keV, (bins + 1,), and the share of the positrons in each, (bins,), which sums to one.
    """
    edges = np.linspace(0.0, max(branch.end_point_kev for branch in isotope.branches), bins + 1)
    # The shape is smooth: five points a bin, averaged, carry its area to better than a part in a thousand.
    fine = edges[:-1, None] + np.diff(edges)[:, None] * (np.arange(5) + 0.5) / 5
    total = np.zeros(bins)
    for branch in isotope.branches:
        shape = branch_shape(fine, branch, isotope.daughter_charge, isotope.mass_number).mean(axis=1)
        total += branch.intensity * shape / shape.sum()
    return edges, total / total.sum()


def branch_shape(energy_kev: Array, branch: Branch, daughter_charge: int, mass_number: int) -> Array:
    """Relative number of positrons an energy interval, at kinetic energies above zero; zero beyond the end point."""
    total = 1 + energy_kev / ELECTRON_MASS_KEV
    momentum = np.sqrt(total**2 - 1)
    neutrino = np.maximum((branch.end_point_kev - energy_kev) / ELECTRON_MASS_KEV, 0)
    shape: Array = fermi_function(energy_kev, daughter_charge, mass_number) * momentum * total * neutrino**2
    return shape * (momentum**2 + neutrino**2) if branch.unique_first_forbidden else shape


def fermi_function(energy_kev: Array, daughter_charge: int, mass_number: int) -> Array:
    """Density of the positron's wave at the nucleus relative to a plane wave's, for a point charge (up to a constant)."""
    from scipy.special import loggamma

    total = 1 + energy_kev / ELECTRON_MASS_KEV
    momentum = np.sqrt(total**2 - 1)
    coupling = FINE_STRUCTURE * daughter_charge
    order = np.sqrt(1 - coupling**2)
    repulsion = -coupling * total / momentum
    radius = RADIUS_UNIT * mass_number ** (1 / 3)
    log_gamma: Array = loggamma(order + 1j * repulsion).real
    density: Array = (2 * momentum * radius) ** (2 * order - 2) * np.exp(np.pi * repulsion + 2 * log_gamma)
    return density


def mean_energy_kev(edges: Array, shares: Array) -> float:
    """Mean energy of a histogram whose bins are filled evenly."""
    return float(np.average((edges[1:] + edges[:-1]) / 2, weights=shares))


def source_spectrum(isotope: Isotope) -> tuple[Array, Array]:
    """The spectrum that GATE starts positrons of an isotope with: edges of bins in keV and shares, as `positron_spectrum` gives them.

    opengate ships measured spectra (LNHB) of most isotopes as tables of energy and density; the others are from theory.
    """
    from importlib.util import find_spec

    found = find_spec("opengate")
    folder = Path(str(found.origin)).parent / "sources" / "beta_plus_spectra" / isotope.name if found else Path()
    path = folder / f"beta+_{isotope.name}_tot.bs"
    if not path.is_file():
        return positron_spectrum(isotope)
    energy, density = np.genfromtxt(path, usecols=(0, 1), skip_header=15).T
    edges = np.concatenate([[0.0], energy])
    shares = density * np.diff(edges)
    return edges, shares / shares.sum()

import numpy as np
import pytest

from petbench.physics.isotopes import ISOTOPES, Branch
from petbench.positron_range.spectra import branch_shape, fermi_function, mean_energy_kev, positron_spectrum


@pytest.mark.parametrize("name", ISOTOPES)
def test_mean_energy_is_the_table_s_to_two_percent(name: str) -> None:
    edges, shares = positron_spectrum(ISOTOPES[name])
    assert mean_energy_kev(edges, shares) == pytest.approx(ISOTOPES[name].mean_energy_kev, rel=0.02)


@pytest.mark.parametrize("name", ISOTOPES)
def test_spectrum_is_a_distribution_that_ends_at_the_end_point(name: str) -> None:
    edges, shares = positron_spectrum(ISOTOPES[name], bins=250)
    assert (edges.shape, shares.shape) == ((251,), (250,))
    assert edges[-1] == ISOTOPES[name].end_point_kev
    assert shares.sum() == pytest.approx(1)
    assert shares.min() > 0
    # the positron is repelled, and the last of the energy goes to the neutrino
    assert shares[0] < 0.1 * shares.max()
    assert shares[-1] < 0.001 * shares.max()


def test_without_charge_the_shape_is_the_statistical_one() -> None:
    energy = np.array([100.0, 300.0, 500.0])
    total, end = 1 + energy / 510.99895, 1 + 653 / 510.99895
    expected = np.sqrt(total**2 - 1) * total * (end - total) ** 2
    np.testing.assert_allclose(branch_shape(energy, Branch(653.0, 1.0), 0, 64), expected)


def test_weak_repulsion_is_gamow_s() -> None:
    """For a light nucleus the Fermi function is 2 pi eta / (exp(2 pi eta) - 1), eta = alpha Z W / p."""
    energy = np.array([50.0, 200.0, 1000.0])
    total = 1 + energy / 510.99895
    strength = 2 * np.pi * 3 / 137.036 * total / np.sqrt(total**2 - 1)
    np.testing.assert_allclose(fermi_function(energy, 3, 6) / fermi_function(energy, 0, 6), strength / np.expm1(strength), rtol=0.01)


def test_branches_weigh_as_their_intensities() -> None:
    """Above I-124's second end point only the first branch is left."""
    iodine = ISOTOPES["I124"]
    edges, shares = positron_spectrum(iodine, bins=2000)
    alone = branch_shape((edges[1:] + edges[:-1]) / 2, iodine.branches[0], iodine.daughter_charge, iodine.mass_number)
    above = edges[:-1] > iodine.branches[1].end_point_kev
    share = iodine.branches[0].intensity / sum(branch.intensity for branch in iodine.branches)
    assert shares[above].sum() == pytest.approx(share * alone[above].sum() / alone.sum(), rel=1e-3)

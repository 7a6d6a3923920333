"""Cross sections of positrons against published values and against each other."""

import numpy as np
import pytest

from petbench.errors import InputError
from petbench.physics.isotopes import ISOTOPES
from petbench.physics.materials import MATERIALS, material
from petbench.positron_range.positron_physics import (
    COLLISION,
    beta_squared,
    bhabha_factor,
    bhabha_limit,
    collision_stopping_power,
    ladder,
    matter,
    radiative_stopping_power,
    straggling,
    transport_cross_section,
)
from petbench.positron_range.spectra import mean_energy_kev, source_spectrum

ENERGIES = np.array([0.05, 0.2, 1.0, 3.0])
NAMES = ("lung", "water", "rib_bone")


def test_matter_has_the_composition_of_gates_table() -> None:
    water = matter("water")
    assert water.charges == (1, 8)
    assert water.atoms_cm3[0] / water.atoms_cm3[1] == pytest.approx(2, rel=1e-3)
    assert water.electrons_cm3 == pytest.approx(3.343e23, rel=2e-3)
    assert matter("rib_bone").excitation_mev == pytest.approx(
        1e-4, rel=0.1
    )  # ICRU Report 37 has 91.9 eV for compact, 106.4 for cortical bone


@pytest.mark.parametrize("name", MATERIALS)
def test_electrons_go_with_density(name: str) -> None:
    """A gram of light elements has half a mole of electrons, and one of hydrogen a whole."""
    assert 3.0e23 < matter(name).electrons_cm3 / material(name).density_g_cm3 < 3.4e23


def test_stopping_power_of_positrons_in_water_is_as_tabulated() -> None:
    """ICRU Report 37 at 0.1, 1 and 3 MeV; its I of water, 75 eV, is 6 eV above Bragg's mean, which makes one percent."""
    found = collision_stopping_power(matter("water"), np.array([0.1, 1.0, 3.0]))
    np.testing.assert_allclose(found, [4.196, 1.79, 1.79], rtol=0.03)


@pytest.mark.parametrize("name", NAMES)
def test_radiation_is_a_small_part(name: str) -> None:
    found = radiative_stopping_power(matter(name), ENERGIES) / collision_stopping_power(matter(name), ENERGIES)
    assert np.all((found > 0) & (found < 0.05))
    assert np.all(np.diff(found) > 0)


@pytest.mark.parametrize("name", NAMES)
def test_single_losses_are_what_the_restricted_stopping_power_leaves_out(name: str) -> None:
    """Bhabha's formula, integrated, against Berger and Seltzer's closed form of it."""
    least = 0.1 * ENERGIES
    shares = np.geomspace(0.1, 1, 4001)
    strength = COLLISION * matter(name).electrons_cm3 / beta_squared(ENERGIES)
    # a loss of share e times its number, strength / (E e^2) times the factor, over e
    lost = np.trapezoid(bhabha_factor(ENERGIES, shares[:, None]) / shares[:, None] * strength, shares, axis=0)
    left_out = collision_stopping_power(matter(name), ENERGIES) - collision_stopping_power(matter(name), ENERGIES, least)
    np.testing.assert_allclose(lost, left_out, rtol=1e-4)
    np.testing.assert_allclose(bhabha_limit(matter(name), ENERGIES, least), strength * 9 / ENERGIES)


def test_the_factor_of_single_losses_is_a_share() -> None:
    factor = bhabha_factor(ENERGIES, np.linspace(0, 1, 200)[:, None])
    assert factor.min() > 0
    assert factor.max() == 1


def test_straggling_grows_with_the_losses_it_holds() -> None:
    found = [straggling(matter("water"), ENERGIES, share * ENERGIES) for share in (0.05, 0.1, 0.2)]
    assert np.all(np.diff(found, axis=0) > 0)
    # small losses are as many as their square is small: the variance goes with the largest of them
    np.testing.assert_allclose(found[0] / (0.05 * ENERGIES), found[1] / (0.1 * ENERGIES), rtol=0.15)


def test_bone_scatters_more_a_gram_than_water() -> None:
    a_gram = [transport_cross_section(matter(name), ENERGIES) / material(name).density_g_cm3 for name in ("water", "lung", "rib_bone")]
    np.testing.assert_allclose(a_gram[1], a_gram[0], rtol=0.03)
    assert np.all(a_gram[2] > 1.1 * a_gram[0])
    assert np.all(np.diff(a_gram[0]) < 0)


def test_rungs_add_up_however_many_there_are() -> None:
    """All but the threshold of single losses, which goes with a rung: here it is one for all."""
    few, many = (ladder(NAMES, 2.0, 0.1, ratio, 0.01, 0.9) for ratio in (0.8, 0.95))
    for key in ("length_mm", "scattering", "collisions", "annihilations"):
        np.testing.assert_allclose(getattr(few, key).sum(axis=1), getattr(many, key).sum(axis=1), rtol=1e-3)
    np.testing.assert_allclose(
        ((few.spread * few.length_mm) ** 2).sum(axis=1), ((many.spread * many.length_mm) ** 2).sum(axis=1), rtol=1e-3
    )


def test_the_ladder_is_as_long_as_a_positrons_range() -> None:
    """ICRU Report 37: 4.4 mm for 1 MeV in water, all losses continuous."""
    rungs = ladder(("water",), 1.0, 0.02, 0.9, 10.0, 0.999999)
    assert rungs.length_mm.sum() == pytest.approx(4.4, rel=0.03)


@pytest.mark.parametrize("name", ISOTOPES)
def test_sources_have_the_mean_energy_of_their_isotope(name: str) -> None:
    edges, shares = source_spectrum(ISOTOPES[name])
    assert shares.sum() == pytest.approx(1)
    assert edges[-1] <= ISOTOPES[name].end_point_kev * 1.002
    assert mean_energy_kev(edges, shares) == pytest.approx(ISOTOPES[name].mean_energy_kev, rel=0.02)


def test_an_unknown_material_is_refused() -> None:
    with pytest.raises(InputError, match="cheese"):
        matter("cheese")

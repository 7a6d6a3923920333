import pytest

from petbench.errors import InputError
from petbench.physics.isotopes import ISOTOPES, isotope
from petbench.physics.materials import MATERIALS, material


@pytest.mark.parametrize("spelling", ["F18", "F-18", "18F", "f18"])
def test_isotope_is_found_however_it_is_written(spelling: str) -> None:
    assert isotope(spelling).name == "F18"


def test_mean_energy_of_every_spectrum_is_between_a_third_and_a_half_of_its_end_point() -> None:
    for entry in ISOTOPES.values():
        assert 1 / 3 < entry.mean_energy_kev / entry.end_point_kev < 1 / 2, entry
        assert 0 < entry.positron_yield <= 1


def test_attenuation_per_density_is_that_of_compton_scattering() -> None:
    for entry in MATERIALS.values():
        assert entry.mu_per_cm / entry.density_g_cm3 == pytest.approx(0.093, rel=0.13), entry


@pytest.mark.parametrize(("look_up", "name"), [(isotope, "Tc99m"), (isotope, ""), (material, "adamantium")])
def test_unknown_names_are_refused_with_the_choice(look_up, name: str) -> None:
    with pytest.raises(InputError, match="choose one of"):
        look_up(name)

import re

import pytest

from petbench.errors import InputError
from petbench.physics.isotopes import ISOTOPES, isotope
from petbench.physics.materials import MATERIALS, material
from petbench.positron_range.geant4_data import material_database


@pytest.mark.parametrize("spelling", ["F18", "F-18", "18F", "f18"])
def test_isotope_is_found_however_it_is_written(spelling: str) -> None:
    assert isotope(spelling).name == "F18"


def test_mean_energy_of_every_spectrum_is_between_a_third_and_a_half_of_its_end_point() -> None:
    for entry in ISOTOPES.values():
        assert 1 / 3 < entry.mean_energy_kev / entry.end_point_kev < 1 / 2, entry
        assert 0 < entry.positron_yield <= 1


def test_branches_make_up_the_yield_and_the_end_point() -> None:
    for entry in ISOTOPES.values():
        total = sum(branch.intensity for branch in entry.branches)
        assert total == pytest.approx(entry.positron_yield, abs=0.011), entry
        assert max(branch.end_point_kev for branch in entry.branches) == entry.end_point_kev


def test_a_positron_emitter_is_rich_in_protons() -> None:
    """The daughter has one proton fewer, yet no more neutrons than stable nuclei of its mass."""
    for entry in ISOTOPES.values():
        neutrons = entry.mass_number - entry.daughter_charge
        assert 1.0 <= neutrons / entry.daughter_charge < 1.45, entry


def test_gate_knows_every_material_with_its_density() -> None:
    text = material_database().read_text()
    for entry in MATERIALS.values():
        value, unit = re.findall(rf"^{entry.gate_name}:\s*d=\s*([\d.]+)\s*(m?g)/cm3", text, re.MULTILINE)[0]
        assert float(value) * (1e-3 if unit == "mg" else 1) == pytest.approx(entry.density_g_cm3, rel=0.1), entry


def test_attenuation_per_density_is_that_of_compton_scattering() -> None:
    for entry in MATERIALS.values():
        assert entry.mu_per_cm / entry.density_g_cm3 == pytest.approx(0.093, rel=0.13), entry


@pytest.mark.parametrize(("look_up", "name"), [(isotope, "Tc99m"), (isotope, ""), (material, "adamantium")])
def test_unknown_names_are_refused_with_the_choice(look_up, name: str) -> None:
    with pytest.raises(InputError, match="choose one of"):
        look_up(name)

import os
from pathlib import Path

import numpy as np
import pytest

from petbench.errors import InputError
from petbench.physics.materials import MATERIALS
from petbench.positron_range.geant4_data import elements_of, geant4_environment, photoelectric_barn, scaled_bremsstrahlung_mb, write_tables

VERSIONS = {
    "G4LEDATA": "G4EMLOW8.8",
    "G4LEVELGAMMADATA": "PhotonEvaporation6.1.2",
    "G4RADIOACTIVEDATA": "RadioactiveDecay6.1.2",
    "G4PARTICLEXSDATA": "G4PARTICLEXS4.2",
    "G4ENSDFSTATEDATA": "G4ENSDFSTATE3.0",
}


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder that looks like Geant4's data sets as they are distributed."""
    write_tables(tmp_path / "data", [1, 8])
    for name in VERSIONS.values():
        (tmp_path / "data" / name.rstrip("0123456789.")).rename(tmp_path / "data" / name)
    return tmp_path / "data"


def stopping_power(charge: int, mass: float, energy_mev: float) -> float:
    """Radiative, in MeV cm2/g: the integral of the photon energies."""
    shares = np.linspace(0, 1, 2001)
    beta2 = 1 - 1 / (1 + energy_mev / 0.51099895) ** 2
    total_mb = np.trapezoid(scaled_bremsstrahlung_mb(charge, energy_mev, shares), shares) * charge**2 / beta2
    return float(6.02214e23 / mass * energy_mev * total_mb * 1e-27)


@pytest.mark.parametrize(("energy_mev", "nist"), [(0.5, 0.00749), (1.0, 0.01280), (2.0, 0.02678), (3.5, 0.0525)])
def test_radiative_loss_in_water_is_that_of_the_nist_tables(energy_mev: float, nist: float) -> None:
    found = 0.1119 * stopping_power(1, 1.008, energy_mev) + 0.8881 * stopping_power(8, 15.999, energy_mev)
    assert found == pytest.approx(nist, rel=0.15)
    # so the table's error is nothing beside the loss to ionisation
    assert found < 0.03 * 1.85


def test_bremsstrahlung_falls_with_the_photon_s_energy_and_stays_finite() -> None:
    for energy in (0.001, 0.1, 3.0, 1e4):
        scaled = scaled_bremsstrahlung_mb(20, energy, np.linspace(0, 1, 32))
        assert np.all(np.isfinite(scaled))
        assert np.all(scaled > 0)
        assert scaled[0] > scaled[-1]


def test_photoelectric_effect_is_a_power_of_charge_and_energy() -> None:
    low, high = photoelectric_barn(8, np.array([0.1, 0.2]))
    assert low / high == pytest.approx(2**3.5)
    assert photoelectric_barn(16, np.array([0.1]))[0] / low == pytest.approx(2**5)


def test_elements_are_those_of_the_materials() -> None:
    assert elements_of(["Water"]) == [1, 8]
    assert elements_of(["Water", "RibBone"]) == [1, 6, 7, 8, 11, 12, 15, 16, 20]
    assert elements_of(entry.gate_name for entry in MATERIALS.values())
    with pytest.raises(InputError, match="Cheese"):
        elements_of(["Cheese"])


def test_embedded_tables_are_where_geant4_looks_for_them(tmp_path: Path) -> None:
    before = dict(os.environ)
    variables = geant4_environment("embedded", tmp_path, ["Water"])
    assert dict(os.environ) == before
    assert variables.pop("GATEONRTD")
    assert all(Path(folder).is_dir() for folder in variables.values())
    for charge in (1, 8):
        rows = (Path(variables["G4LEDATA"]) / "brem_SB" / f"br{charge}").read_text().splitlines()
        _, columns, energies = (int(number) for number in rows[0].split())
        assert [len(row.split()) for row in rows[1:]] == [columns, energies, *[columns] * energies]


def test_a_folder_of_data_is_found(installed: Path, tmp_path: Path) -> None:
    variables = geant4_environment(str(installed), tmp_path, ["Water"])
    assert variables == {**{key: str(installed / name) for key, name in VERSIONS.items()}, "GATEONRTD": "1"}


def test_download_leaves_everything_to_opengate(tmp_path: Path) -> None:
    assert geant4_environment("download", tmp_path, ["Water"]) == {}


def test_missing_or_doubled_data_are_named(installed: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no folder"):
        geant4_environment(str(tmp_path / "nowhere"), tmp_path, ["Water"])
    (installed / "G4EMLOW8.7").mkdir()
    with pytest.raises(InputError, match=r"G4EMLOW8\.7 and G4EMLOW8\.8"):
        geant4_environment(str(installed), tmp_path, ["Water"])
    (installed / "G4EMLOW8.7").rmdir()
    (installed / "G4ENSDFSTATE3.0" / "ENSDFSTATE.dat").unlink()
    with pytest.raises(InputError, match="lacks Geant4's data set G4ENSDFSTATE"):
        geant4_environment(str(installed), tmp_path, ["Water"])

"""The torso: where its organs and lesions lie, how it scales, and what volumes a lab may supply."""

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from scipy import ndimage

from petbench.data.nifti import volume, write_volume
from petbench.errors import InputError
from petbench.physics.materials import material
from petbench.physics.scanner import image_affine
from petbench.positron_range.torso import MATERIALS, Torso, TorsoSettings, embedded_torso
from petbench.positron_range.torso_files import read_torso, supplied_torso, write_torso

LUNG, WATER, BONE = range(3)


@pytest.fixture(scope="module")
def adult() -> Torso:
    """The paper's extent, in voxels of 4 mm."""
    return embedded_torso(TorsoSettings(), (100, 100, 51), (4.0, 4.0, 4.0))


def test_organs_are_of_an_adults_size(adult: Torso) -> None:
    """Both lungs of an adult hold three to six litres, part of which lies above these 20 cm."""
    litres = {label: (adult.labels[adult.mu > 0] == label).sum() * 0.4**3 / 1000 for label in (LUNG, WATER, BONE)}
    assert 2.0 < litres[LUNG] < 5.0
    assert 0.3 < litres[BONE] < 1.5
    assert 6.0 < litres[WATER] < 15.0
    assert ndimage.label(adult.labels == LUNG)[1] == 2
    assert set(np.unique(adult.mu)) == {np.float32(value) for value in (0.0, *(material(name).mu_per_cm for name in MATERIALS))}


def test_what_surrounds_the_body_is_water_without_activity(adult: Torso) -> None:
    outside = adult.mu == 0
    assert outside[0].all()
    assert not adult.activity[outside].any()
    assert (adult.labels[outside] == WATER).all()


def test_lesions_lie_in_lung_and_on_its_interfaces(adult: Torso) -> None:
    assert adult.lesion_names == ("1", "2", "3", "4")
    for lesion in (1, 2):
        around = ndimage.binary_dilation(adult.lesions == lesion, iterations=3)
        assert (adult.labels[around] == LUNG).all()
    for lesion in (3, 4):
        shares = np.bincount(adult.labels[adult.lesions == lesion], minlength=3) / (adult.lesions == lesion).sum()
        assert shares[LUNG] > 0.2
        assert shares[WATER] > 0.2
        assert shares[BONE] == 0
    settings = TorsoSettings()
    liver = settings.activity_bq_ml * settings.uptake["liver"]
    touching = {lesion: ndimage.binary_dilation(adult.lesions == lesion) & (adult.activity == liver) for lesion in (3, 4)}
    assert touching[4].sum() > 10
    assert not touching[3].any()


def test_lesions_have_their_contrast_and_size() -> None:
    settings = TorsoSettings.from_entry({"radius_mm": [10, 8, 9, 12], "contrast": [4, 5, 6, 7], "activity_bq_ml": 1000})
    torso = embedded_torso(settings, (200, 200, 101), (2.0, 2.0, 2.0))
    for lesion, (radius, contrast) in enumerate(zip(settings.radius_mm, settings.contrast, strict=True), start=1):
        own = torso.lesions == lesion
        assert (torso.activity[own] == 1000 * contrast).all()
        assert own.sum() * 8 == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.1)


def test_half_a_torso_of_half_the_voxels_is_the_same() -> None:
    settings = TorsoSettings.from_entry({"radius_mm": [8, 8, 8, 8]})
    whole = embedded_torso(settings, (80, 80, 41), (4.0, 4.0, 4.0))
    half = embedded_torso(TorsoSettings.from_entry({"radius_mm": [4, 4, 4, 4]}), (80, 80, 41), (2.0, 2.0, 2.0))
    for name in ("activity", "mu", "lesions"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(half, name))


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"scale": 0.5, "radius_mm": [30, 6, 8, 8]}, "lesion 1 of 30 mm reaches beyond the lung"),
        ({"radius_mm": [8, 6, 8, 0.5]}, "lesion 4 of 0.5 mm does not fit"),
        ({"radius_mm": [8, 6, 60, 8]}, "lesion 3 of 60 mm"),
        ({"radius_mm": [8, 6]}, "torso/radius_mm: give 4 numbers"),
        ({"contrast": [8, 8, 8, 0]}, "torso/contrast"),
        ({"colour": "red"}, "unknown key 'colour'"),
        ({"uptake": {"spleen": 2}}, "unknown key 'spleen'"),
        ({"scale": -1}, "scale and activity_bq_ml"),
    ],
)
def test_what_does_not_fit_is_said(entry, named: str) -> None:
    with pytest.raises(InputError, match=r"^torso") as error:
        embedded_torso(TorsoSettings.from_entry(entry), (100, 100, 51), (4.0, 4.0, 4.0))
    assert named in str(error.value)


def test_files_hold_the_torso(torso_paths, small_torso: Torso, small_scanner) -> None:
    made = embedded_torso(TorsoSettings.from_entry({"radius_mm": [4, 4, 4, 4]}), small_scanner.image_shape, small_scanner.voxel_mm)
    for name in ("activity", "mu", "lesions", "labels"):
        np.testing.assert_array_equal(getattr(small_torso, name), getattr(made, name))
    table = pd.read_csv(torso_paths["table"], sep="\t", dtype={"lesion": str})
    assert list(table.lesion[table.part == "whole"]) == ["1", "2", "3", "4"]
    assert set(table.part[table.lesion == "4"]) == {"whole", "lung", "water"}
    np.testing.assert_allclose(table.true_bq_ml, 40_000)
    whole = table.set_index(["lesion", "part"]).voxels
    assert whole["4", "lung"] + whole["4", "water"] == whole["4", "whole"] == (made.lesions == 4).sum()


def test_a_body_beyond_the_field_of_view_is_refused(small_scanner, tmp_path) -> None:
    paths = {name: tmp_path / f"{name}.nii.gz" for name in ("activity", "mu", "lesions", "table")}
    with pytest.raises(InputError, match="field of view"):
        write_torso({"scale": 0.27, "radius_mm": [4, 4, 4, 4]}, small_scanner, paths)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def supplied(torso_paths, small_torso: Torso, tmp_path):
    """The torso as XCAT writes its volumes: raw, x fastest, attenuation a voxel of 0.2 cm."""
    for name in ("activity", "mu", "lesions"):
        values = getattr(small_torso, name) * (0.2 if name == "mu" else 1)
        (tmp_path / f"{name}.bin").write_bytes(values.astype("<f4").tobytes(order="F"))
    paths = {name: str(tmp_path / f"{name}.bin") for name in ("activity", "mu", "lesions")}
    return paths | {"shape": [45, 45, 31], "voxel_mm": [2.0, 2.0, 2.0], "mu_factor": 5.0}


def test_raw_volumes_are_read(supplied, small_torso: Torso, small_scanner, tmp_path) -> None:
    out = {name: tmp_path / f"{name}.nii.gz" for name in ("activity", "mu", "lesions")} | {"table": tmp_path / "t.tsv"}
    write_torso({"supplied": supplied}, small_scanner, out)
    torso = read_torso(out)
    np.testing.assert_array_equal(torso.activity, small_torso.activity)
    np.testing.assert_allclose(torso.mu, small_torso.mu, rtol=1e-6)
    np.testing.assert_array_equal(torso.labels, small_torso.labels)
    np.testing.assert_array_equal(torso.lesions, small_torso.lesions)


def test_nifti_volumes_are_read_wherever_their_origin_is(torso_paths, small_torso: Torso, small_scanner, tmp_path) -> None:
    affine = image_affine(small_scanner)
    affine[:3, 3] += 17
    for name in ("activity", "mu", "lesions"):
        data = getattr(small_torso, name)
        write_volume(tmp_path / f"{name}.nii.gz", data, volume(data, affine))
    given = {name: tmp_path / f"{name}.nii.gz" for name in ("activity", "mu", "lesions")}
    torso = supplied_torso(given, small_scanner)
    np.testing.assert_array_equal(torso.activity, small_torso.activity)
    turned = nibabel.load(given["mu"])
    write_volume(given["mu"], np.asarray(turned.dataobj)[::-1], volume(np.asarray(turned.dataobj), np.diag([-2.0, 2.0, 2.0, 1.0])))
    with pytest.raises(InputError, match=r"mu.nii.gz: is not on the scanner's grid"):
        supplied_torso(given, small_scanner)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"mu": None}, "torso/supplied/mu: is missing"),
        ({"shape": None}, "needs shape and voxel_mm"),
        ({"shape": [45, 45, 30]}, "which is no float32 volume"),
        ({"shape": [45, 31, 45]}, "not on the scanner's grid"),
        ({"voxel_mm": [2.0, 2.0, 3.0]}, "not on the scanner's grid"),
        ({"mu_factor": 50.0}, "outside the known materials"),
        ({"lesions": "activity"}, "lesions are whole numbers"),
        ({"activity": "absent"}, "no such file"),
    ],
)
def test_volumes_that_do_not_fit_are_refused(supplied, small_scanner, tmp_path, change, named: str) -> None:
    for name, value in change.items():
        if value is None:
            del supplied[name]
        else:
            supplied[name] = str(tmp_path / f"{value}.bin") if isinstance(value, str) else value
    with pytest.raises(InputError) as error:
        supplied_torso(supplied, small_scanner)
    assert named in str(error.value)


def test_a_lesion_without_activity_is_refused(supplied, small_torso: Torso, small_scanner) -> None:
    cold = np.where(small_torso.lesions == 2, 0, small_torso.activity)
    Path(supplied["activity"]).write_bytes(cold.astype("<f4").tobytes(order="F"))
    with pytest.raises(InputError, match="lesion 2 has no activity"):
        supplied_torso(supplied, small_scanner)

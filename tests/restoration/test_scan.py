import re
from pathlib import Path

import nibabel
import numpy as np
import pytest

import petbench.restoration.scan as module
from petbench.data.nifti import read_volume, volume, write_volume
from petbench.errors import InputError
from petbench.files import checksum, read_json, write_json
from petbench.methods.build import build
from petbench.preprocess.grid import to_grid
from petbench.preprocess.intensity import head_mask
from petbench.restoration.scan import restore_scan
from petbench.restoration.weights import save_weights

PREPROCESS = {
    "registration": {"transform": "rigid", "fixed": "standard", "minimum_overlap": 0.6, "seed": 1},
    "scaling": {"mode": "low_dose", "percentile": 99.5, "smooth_mm": 6.0, "mr_percentile": 99.5},
}
TRAIN = {"network": {"spatial_dims": 3, "channels": [4, 8], "normalisation": "none"}}


@pytest.fixture
def files(tmp_path):
    return {"image": str(tmp_path / "out.nii.gz"), "sidecar": str(tmp_path / "out.json"), "page": str(tmp_path / "out.html")}


@pytest.fixture
def identity_method(identity, monkeypatch):
    load = module.load_restorer
    monkeypatch.setattr(module, "load_restorer", lambda *given: (identity, load(*given)[1]))


def save_as(path, image, codes=(1, 3)):
    image = nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine)
    image.set_qform(image.affine, codes[0])
    image.set_sform(image.affine, codes[1])
    nibabel.save(image, path)
    return str(path)


def test_a_scan_is_restored_on_its_own_grid(tmp_path, subject, trained, files):
    image = read_volume(subject["low_dose"])
    pet = save_as(tmp_path / "pet.nii.gz", image)
    restore_scan(pet, subject["t1"], trained, "cpu", 1, files)
    restored = nibabel.load(files["image"])
    assert restored.shape == image.shape
    np.testing.assert_array_equal(restored.affine, image.affine)
    assert (int(restored.header["qform_code"]), int(restored.header["sform_code"])) == (1, 3)
    assert not np.array_equal(np.asarray(restored.dataobj), np.asarray(image.dataobj))
    sidecar = read_json(files["sidecar"])
    assert sidecar["WeightsSHA256"] == checksum(trained)
    assert sidecar["VoxelsResampled"] is False
    page = Path(files["page"]).read_text(encoding="utf-8")
    assert len(re.findall(r'src="data:image/png;base64,[A-Za-z0-9+/=]{5000,}"', page)) == 2
    assert not re.search(r'(src|href)="(?!data:)|url\(|@import|https?://|<script', page)
    assert "not for diagnosis" in page


def test_an_identity_gives_back_the_scan(subject, untrained, files, identity_method):
    restore_scan(subject["low_dose"], subject["t1"], untrained, "cpu", 1, files)
    image, restored = read_volume(subject["low_dose"]), read_volume(files["image"])
    np.testing.assert_allclose(np.asarray(restored.dataobj), np.asarray(image.dataobj), rtol=1e-5, atol=1e-3)


def test_a_scan_is_given_the_place_of_its_windows(subject, untrained, files, identity, describe, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "load_restorer", lambda *_: (identity, describe(inputs=["low_dose", "mr", "coordinates"])))
    monkeypatch.setattr(identity, "restore", lambda low_dose, mr, coordinates: seen.append(coordinates) or low_dose)
    restore_scan(subject["low_dose"], subject["t1"], untrained, "cpu", 1, files)
    assert seen[0][0, :, 0, 0, 0].tolist() == [-1, -1, -1]
    assert seen[-1][-1, :, -1, -1, -1].tolist() == [1, 1, 1]


def test_a_scan_of_other_voxels_is_resampled_and_comes_back(tmp_path, subject, untrained, files, identity_method):
    image = read_volume(subject["standard_dose"])
    affine = image.affine @ np.diag([0.8, 0.8, 1.25, 1.0])
    affine[:3, 3] = image.affine[:3, 3]
    finer = volume(to_grid(image, (78, 78, 38), affine), affine)
    write_volume(tmp_path / "pet.nii.gz", np.asarray(finer.dataobj), like=finer)
    restore_scan(str(tmp_path / "pet.nii.gz"), subject["t1"], untrained, "cpu", 1, files)
    restored, data = np.asarray(read_volume(files["image"]).dataobj), np.asarray(finer.dataobj)
    assert restored.shape == finer.shape
    assert np.corrcoef(restored.ravel(), data.ravel())[0, 1] > 0.97
    assert restored.sum() == pytest.approx(data.sum(), rel=0.01)
    assert read_json(files["sidecar"])["VoxelsResampled"] is True


def test_storage_order_does_not_matter(tmp_path, subject, trained, files):
    restore_scan(subject["low_dose"], subject["t1"], trained, "cpu", 1, files)
    straight = read_volume(files["image"])
    stored = read_volume(subject["low_dose"]).as_reoriented(nibabel.orientations.axcodes2ornt("PIL"))
    restore_scan(save_as(tmp_path / "pet.nii.gz", stored), subject["t1"], trained, "cpu", 1, files)
    other = read_volume(files["image"])
    np.testing.assert_allclose(other.affine, stored.affine, atol=1e-5)
    ours, theirs = (np.asarray(nibabel.as_closest_canonical(one).dataobj) for one in (straight, other))
    assert np.abs(ours - theirs).max() < 0.05 * np.ptp(ours)  # but for the registration, which may stop elsewhere
    assert read_json(files["sidecar"])["VoxelsResampled"] is False


@pytest.mark.parametrize("missing", ["pet", "mr", "weights"])
def test_a_missing_file_is_named_and_nothing_is_written(tmp_path, subject, trained, files, missing):
    given = {"pet": subject["low_dose"], "mr": subject["t1"], "weights": trained} | {missing: str(tmp_path / "gone.nii.gz")}
    with pytest.raises(InputError, match=r"gone\.nii\.gz: no such file"):
        restore_scan(given["pet"], given["mr"], given["weights"], "cpu", 1, files)
    assert list(tmp_path.iterdir()) == []


def test_an_mr_that_does_not_fit_the_pet_is_refused(tmp_path, subject, trained, files):
    image = read_volume(subject["t1"])
    wrong = volume(np.asarray(image.dataobj), image.affine @ np.diag([0.4, 0.4, 0.4, 1]))
    write_volume(tmp_path / "mr.nii.gz", np.asarray(wrong.dataobj), like=wrong)
    with pytest.raises(InputError, match=r"mr\.nii\.gz: after registration"):
        restore_scan(subject["low_dose"], str(tmp_path / "mr.nii.gz"), trained, "cpu", 1, files)


def test_a_sidecar_says_from_what_and_in_which_units(tmp_path, subject, untrained, files, identity_method):
    """Units of the data set's own root hold for the scan; nothing else of its sidecars is kept, and nothing of where a link leads."""
    folder = tmp_path / "bids/sub-01/ses-2/pet"
    folder.mkdir(parents=True)
    (tmp_path / "bids/pet.json").write_text('{"Units": "kBq/mL", "PatientName": "DOE_19500101"}')
    pet, mr = folder / "sub-01_ses-2_pet.nii.gz", tmp_path / "sub-01_ses-1_T1w.nii.gz"
    for link, target in ((pet, subject["low_dose"]), (mr, subject["t1"])):
        secret = tmp_path / "DOE" / f"DOE_19500101_{Path(target).name}"
        secret.parent.mkdir(exist_ok=True)
        secret.write_bytes(Path(target).read_bytes())
        link.symlink_to(secret)
    restore_scan(str(pet), str(mr), untrained, "cpu", 1, files)
    sidecar = read_json(files["sidecar"])
    assert sidecar["Units"] == "kBq/mL"
    assert sidecar["Sources"] == ["sub-01_ses-2_pet.nii.gz", "sub-01_ses-1_T1w.nii.gz"]
    assert (sidecar["PETSHA256"], sidecar["MRSHA256"]) == (checksum(subject["low_dose"]), checksum(subject["t1"]))
    assert "with MR of session 1" in sidecar["Description"]
    assert not any("DOE_19" in Path(files[kind]).read_text() for kind in ("sidecar", "page"))


def test_suv_is_said_where_the_sidecar_allows_it_and_why_not_elsewhere(tmp_path, subject, untrained, files, identity_method):
    pet = save_as(tmp_path / "sub-1_pet.nii.gz", read_volume(subject["low_dose"]))
    restore_scan(pet, subject["t1"], untrained, "cpu", 1, files)
    assert read_json(files["sidecar"])["SUV"].startswith("SUV: units 'n/a' are no activity concentration")
    told = {"Units": "Bq/mL", "PatientWeight": 50, "InjectedRadioactivity": 100, "InjectedRadioactivityUnits": "MBq"}
    told |= {"TracerRadionuclide": "18F", "InjectionStart": 0, "ImageDecayCorrectionTime": 0, "ImageDecayCorrected": True}
    write_json(tmp_path / "sub-1_pet.json", told)
    restore_scan(pet, subject["t1"], untrained, "cpu", 1, files)
    said = read_json(files["sidecar"])["SUV"]
    assert said["Factor"] == pytest.approx(50_000 / 1e8)
    assert said["LowDose"]["SUVmax"] == pytest.approx(said["Factor"] * np.asarray(nibabel.load(pet).dataobj).max(), rel=1e-3)
    assert said["Restored"] == said["LowDose"]  # the method gives back what it is given
    assert said["LowDose"]["SUVmean"] < said["LowDose"]["SUVpeak"] < said["LowDose"]["SUVmax"]
    assert "SUVpeak" in Path(files["page"]).read_text(encoding="utf-8")


def test_weights_of_another_acquisition_are_refused_unless_told_to_go_on(tmp_path, subject, describe, files, identity_method):
    pet = tmp_path / "sub-01_pet.nii.gz"
    pet.write_bytes(Path(subject["low_dose"]).read_bytes())
    (tmp_path / "sub-01_pet.json").write_text('{"TracerName": "[18F]FDG", "TracerRadionuclide": "F18", "DoseFraction": 0.25}')
    weights = str(tmp_path / "model.safetensors")

    def save(*scans):
        save_weights(weights, build("m_unet", describe().train).weights(), describe(scans=list(scans)))

    save({"tracer": "FDG", "radionuclide": "18F", "dose_fraction": 0.04, "scanner": "mMR"})
    with pytest.raises(InputError, match=r"sidecar says dose fraction 0\.25 for 0\.04, which .*model.safetensors was trained on"):
        restore_scan(str(pet), subject["t1"], weights, "cpu", 1, files)
    assert not Path(files["image"]).exists()
    restore_scan(str(pet), subject["t1"], weights, "cpu", 1, files, allow_unlike=True)
    assert read_json(files["sidecar"])["UnlikeTraining"] == ["dose fraction 0.25 for 0.04"]


def test_noise_follows_from_a_scan_and_not_from_its_name(tmp_path, subject, untrained, files, identity, monkeypatch):
    """The same bytes under another name gave another image, by up to .70 of its maximum."""
    load, drawn = module.load_restorer, []
    monkeypatch.setattr(module, "load_restorer", lambda *given: (identity, load(*given)[1]))
    stitch = module.stitch
    monkeypatch.setattr(module, "stitch", lambda *given, **named: (drawn.append(given[8]), stitch(*given[:7], None, "", **named))[1])
    for name in ("DOE_19500101.nii.gz", "sub-01_pet.nii.gz"):
        (tmp_path / name).write_bytes(Path(subject["low_dose"]).read_bytes())
        restore_scan(str(tmp_path / name), subject["t1"], untrained, "cpu", 1, files)
    restore_scan(subject["standard_dose"], subject["t1"], untrained, "cpu", 1, files)
    assert drawn[0] == drawn[1] != drawn[2]


def shifted(tmp_path, subject):
    """The low dose with 40 voxels more at the low end of x, which its MR does not know."""
    image = read_volume(subject["low_dose"])
    affine = image.affine.copy()
    affine[:3, 3] -= 40 * affine[:3, 0]
    padded = volume(np.pad(np.asarray(image.dataobj), ((40, 0), (0, 0), (0, 0))), affine)
    write_volume(tmp_path / "pet.nii.gz", np.asarray(padded.dataobj), like=padded)
    return str(tmp_path / "pet.nii.gz")


def test_a_head_away_from_the_middle_is_restored_whole(tmp_path, subject, trained, files):
    restore_scan(shifted(tmp_path, subject), subject["t1"], trained, "cpu", 1, files)
    before, after = (np.asarray(read_volume(path).dataobj) for path in (tmp_path / "pet.nii.gz", files["image"]))
    head = head_mask(before)
    assert np.mean(before[head] == after[head]) < 0.01
    sidecar = read_json(files["sidecar"])
    assert sidecar["HeadInside"] > 0.99
    assert sidecar["RestoredBox"][0][0] > 20


def test_a_head_that_the_grid_does_not_hold_is_refused_with_the_share_outside(tmp_path, subject, describe, files):
    preprocess = PREPROCESS | {"grid": {"shape": [32, 56, 40]}}
    save_weights(tmp_path / "small.safetensors", build("m_unet", TRAIN).weights(), describe(preprocess=preprocess))
    with pytest.raises(InputError, match=r"low_dose\.nii\.gz: \d+% of the head lies outside the working grid of .*small\.safetensors"):
        restore_scan(subject["low_dose"], subject["t1"], str(tmp_path / "small.safetensors"), "cpu", 1, files)


@pytest.mark.parametrize("kind", ["pet", "mr"])
def test_a_header_that_does_not_say_where_is_refused_as_preflight_does(tmp_path, subject, trained, files, kind):
    given = {"pet": subject["low_dose"], "mr": subject["t1"]}
    given[kind] = save_as(tmp_path / f"{kind}.nii.gz", read_volume(given[kind]), codes=(0, 0))
    with pytest.raises(InputError, match=rf"{kind}\.nii\.gz: qform_code and sform_code are 0"):
        restore_scan(given["pet"], given["mr"], trained, "cpu", 1, files)


def test_the_pet_as_its_mr_is_refused(tmp_path, subject, trained, files):
    image = read_volume(subject["low_dose"])
    with pytest.raises(InputError, match=r"mr\.nii\.gz: its voxels are those of"):
        restore_scan(subject["low_dose"], save_as(tmp_path / "mr.nii.gz", image), trained, "cpu", 1, files)


def test_a_hot_voxel_is_no_fault_of_the_mr(tmp_path, subject, trained, files):
    image = read_volume(subject["low_dose"])
    data = np.array(image.dataobj)
    data[20, 21, 22] = 1e9
    pet = save_as(tmp_path / "pet.nii.gz", volume(data, image.affine))
    with pytest.raises(InputError, match=r"pet\.nii\.gz: voxel \[20, 21, 22\] has"):
        restore_scan(pet, subject["t1"], trained, "cpu", 1, files)


@pytest.fixture
def telling(tmp_path, subject, describe):
    """Weights that say what they were trained on: this subject."""
    path = str(tmp_path / "telling.safetensors")
    save_weights(path, build("m_unet", TRAIN).weights(), describe(people=[read_json(subject["prepared"])["measures"]]))
    return path


def test_a_scan_like_those_trained_on_is_restored_and_the_page_says_how_near(subject, telling, files):
    restore_scan(subject["low_dose"], subject["t1"], telling, "cpu", 1, files)
    sidecar, page = read_json(files["sidecar"]), Path(files["page"]).read_text(encoding="utf-8")
    assert all(one["factor"] < 1.5 for one in sidecar["Likeness"].values())
    assert sidecar["Likeness"]["noise"]["factor"] == 1
    assert sidecar["Registration"]["MutualInformation"] > sidecar["Registration"]["MutualInformationTurned"]
    assert "starting angles" in page
    assert "noise in the head" in page
    assert "class=beyond" not in page


def test_a_scan_unlike_those_trained_on_is_refused_unless_told_to_go_on(tmp_path, subject, telling, files):
    image = read_volume(subject["low_dose"])
    data = np.asarray(image.dataobj)
    noisy = np.random.default_rng(0).poisson(data / 3000).astype(np.float32) * 3000
    pet = save_as(tmp_path / "pet.nii.gz", volume(noisy, image.affine))
    with pytest.raises(InputError, match=r"pet\.nii\.gz: is unlike the scans that .*noise in the head.*allow_unlike=true"):
        restore_scan(pet, subject["t1"], telling, "cpu", 1, files)
    assert not Path(files["image"]).exists()
    restore_scan(pet, subject["t1"], telling, "cpu", 1, files, allow_unlike=True)
    assert read_json(files["sidecar"])["Likeness"]["noise"]["factor"] > 2
    assert "class=beyond" in Path(files["page"]).read_text(encoding="utf-8")

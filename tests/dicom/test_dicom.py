"""DICOM in and out: geometry, values, slopes and clocks of three vendors' layouts, names that must not get through, and the way back."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from petbench.data.bids import read_sidecar
from petbench.data.nifti import canonical, read_volume, volume, write_volume
from petbench.dicom.command import export
from petbench.dicom.read import import_subject
from petbench.dicom.suv import factor_of
from petbench.dicom.write import LABEL, write_series
from petbench.errors import InputError
from petbench.evaluation.suv import peak_ball, suv_of
from petbench.restore_command import main

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))
from bids_validator import issues

PLANTED = "DOE^JANE"
SHAPE, EDGES = (12, 10, 8), (4.0, 4.0, 5.0)
DOSE_BQ, WEIGHT_KG, HALF_LIFE_S = 2.0e8, 70.0, 6586.2
# Injected at 10:00, scanned from 11:00 on for 600 s.
CLOCKS = {"SeriesTime": "110000", "AcquisitionTime": "110000", "injected": "100000.00"}

GE_START = ((0x0009, 0x100D), "DT", "20240229110000.00", "GEMS_PETD_01")


def phantom():
    """An asymmetric image, and an affine that is turned and shifted."""
    rng = np.random.default_rng(0)
    data = rng.random(SHAPE) * np.linspace(1, 30, SHAPE[2]) * 500
    data[2:4, 6:9, 1:3] = 40_000  # right, front, low
    angle = np.radians(12)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * EDGES, (-20.0, -33.0, 11.0)
    return data.astype(np.float32), affine


def save(folder, modality="PT", **tags):
    """A series as a scanner writes it: names everywhere, one slope a slice."""
    data, affine = phantom()
    paths = write_series(folder, volume(data, affine), {"Units": "Bq/mL"}, "01")
    number = tags.pop("SeriesNumber", 3)
    for path in paths:
        one = pydicom.dcmread(path)
        one.Modality, one.SeriesNumber = modality, number
        if modality == "MR":
            one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
            one.ScanningSequence, one.SequenceVariant, one.ScanOptions, one.MRAcquisitionType = "GR", "SP", "", "3D"
            one.EchoTime, one.RepetitionTime, one.EchoTrainLength = 2.0, 1900.0, 1
        for name in ("PatientName", "PatientID", "ReferringPhysicianName", "AccessionNumber", "StudyDescription", "SeriesDescription"):
            setattr(one, name, PLANTED)
        for name in ("InstitutionName", "OperatorsName", "ProtocolName", "ImageComments", "PatientComments"):
            setattr(one, name, PLANTED)
        one.PatientBirthDate = "19500101"
        one.ReconstructionMethod = one.ConvolutionKernel = one.AttenuationCorrectionMethod = f"OSEM {PLANTED} 20240229"
        one.Manufacturer, one.ManufacturerModelName = tags.get("vendor", ("SIEMENS", "Biograph_mMR"))
        one.ImageType = ["ORIGINAL", "PRIMARY"]
        one.PatientWeight = tags.get("weight", WEIGHT_KG)
        one.StudyDate = one.SeriesDate = one.AcquisitionDate = one.ContentDate = "20240229"
        one.SeriesTime = one.StudyTime = one.ContentTime = tags.get("SeriesTime", CLOCKS["SeriesTime"])
        one.AcquisitionTime = tags.get("AcquisitionTime", CLOCKS["AcquisitionTime"])
        one.ActualFrameDuration, one.FrameReferenceTime = 600_000, 300_000
        one.DecayCorrection = tags.get("DecayCorrection", "START")
        rate = np.log(2) / HALF_LIFE_S
        one.DecayFactor = tags.get("DecayFactor", float(rate * 600 / -np.expm1(-rate * 600)))
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "C-111A1", "SRT", "^18^Fluorine"
        tracer = Dataset()
        tracer.Radiopharmaceutical, tracer.RadionuclideCodeSequence = "Fluorodeoxyglucose", [code]
        tracer.RadionuclideHalfLife, tracer.RadionuclideTotalDose = HALF_LIFE_S, tags.get("dose", DOSE_BQ)
        if tags.get("injected", True):
            tracer.RadiopharmaceuticalStartTime = tags.get("injected", CLOCKS["injected"])
        one.RadiopharmaceuticalInformationSequence = [tracer]
        if modality == "PT":
            one.Units = tags.get("Units", "BQML")
        if "private" in tags:
            (group, element), vr, value, creator = tags["private"]
            one.add_new((group, 0x0010), "LO", creator)
            one.add_new((group, element), vr, value)
        one.save_as(path)
    return folder


@pytest.fixture
def study(tmp_path):
    """A folder of a PET and an MR series, whose own name tells of whom they are."""

    def made(**tags):
        folder = tmp_path / PLANTED
        shutil.rmtree(folder, ignore_errors=True)
        save(folder / "pet", **tags)
        save(folder / "mr", modality="MR", SeriesNumber=5)
        return folder

    return made


def brought(folder, tmp_path, **keys):
    out = tmp_path / "bids"
    shutil.rmtree(out, ignore_errors=True)
    images = import_subject(folder, out, "01", **keys)
    return read_volume(images["pet"]), read_sidecar(images["pet"]), out


def test_every_voxel_keeps_its_place_and_its_slices_slope(study, tmp_path):
    data, affine = phantom()
    image, sidecar, _ = brought(study(), tmp_path)
    order = np.linalg.inv(image.affine) @ affine  # the same places, whatever the order of axes
    index = np.indices(SHAPE).reshape(3, -1)
    at = np.rint(order[:3, :3] @ index + order[:3, 3:]).astype(int)
    found = np.asarray(image.dataobj)[tuple(at)].reshape(SHAPE)
    step = data.max(axis=(0, 1)) / 32767  # of each slice's own slope
    assert (np.abs(found - data) <= 0.51 * step + 1e-3).all()
    assert sidecar["Units"] == "Bq/mL"


def test_no_name_and_no_date_gets_through(study, tmp_path):
    _, _, out = brought(study(), tmp_path, labels={"ses": "02", "rec": "drf4"})
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert "sub-01/ses-02/pet/sub-01_ses-02_rec-drf4_pet.nii.gz" in names
    for path in out.rglob("*"):
        content = (__import__("gzip").open(path).read() if path.suffix == ".gz" else path.read_bytes()) if path.is_file() else b""
        for planted in (b"DOE", b"JANE", b"19500101", b"20240229", b"110000", b"11:00"):
            assert planted not in content, path
            assert planted.decode() not in str(path.relative_to(out))


@pytest.mark.parametrize(
    ("vendor", "tags", "waited"),
    [
        (("SIEMENS", "Biograph_mMR"), {}, 3600),
        # later reconstructions: the series' clock is not the scan's
        (
            ("GE MEDICAL SYSTEMS", "SIGNA PET/MR"),
            {"SeriesTime": "153000", "private": ((0x0009, 0x100D), "DT", "20240229110000.00", "GEMS_PETD_01")},
            3600,
        ),
        (("Philips", "Ingenuity TF"), {"SeriesTime": "140000"}, 3600),
        (("SIEMENS", "Biograph_mMR"), {"SeriesTime": "001000", "AcquisitionTime": "001000", "injected": "233000.00"}, 2400),
    ],
)
def test_clocks_of_each_vendor(study, tmp_path, vendor, tags, waited):
    _, sidecar, _ = brought(study(vendor=vendor, **tags), tmp_path)
    assert sidecar["InjectionStart"] == -waited
    assert sidecar["ImageDecayCorrectionTime"] == 0
    assert sidecar["Manufacturer"] == vendor[0]
    assert (sidecar["TracerRadionuclide"], sidecar["TracerName"]) == ("18F", "FDG")
    wanted = WEIGHT_KG * 1000 / (DOSE_BQ * 2 ** (-waited / HALF_LIFE_S))
    assert factor_of(sidecar) == pytest.approx(wanted, rel=1e-3)


def test_decay_corrected_to_injection_needs_no_waiting(study, tmp_path):
    _, sidecar, _ = brought(study(DecayCorrection="ADMIN"), tmp_path)
    assert factor_of(sidecar) == pytest.approx(WEIGHT_KG * 1000 / DOSE_BQ, rel=1e-6)


def test_philips_counts_become_activity_by_their_own_factor(study, tmp_path):
    private = ((0x7053, 0x1009), "DS", "2.5", "Philips PET Private Group")
    image, sidecar, _ = brought(study(Units="CNTS", private=private), tmp_path)
    assert sidecar["Units"] == "Bq/mL"
    assert np.asarray(image.dataobj).max() == pytest.approx(2.5 * 40_000, rel=1e-3)
    _, sidecar, _ = brought(study(Units="CNTS"), tmp_path)
    assert sidecar["Units"] == "arbitrary"
    with pytest.raises(InputError, match="only SUV ratios may be said"):
        factor_of(sidecar)


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({"injected": "113000.00"}, "starts -1800 s after injection; its clocks disagree"),
        ({"DecayFactor": 1.5}, "its clocks say 0 s; which is right cannot be told"),
    ],
)
def test_clocks_that_contradict_each_other_are_refused(study, tmp_path, tags, words):
    with pytest.raises(InputError, match=words):
        brought(study(**tags), tmp_path)


def test_what_is_missing_is_not_made_up(study, tmp_path):
    _, sidecar, _ = brought(study(injected=None), tmp_path)
    assert sidecar["InjectionStart"] == "n/a"
    with pytest.raises(InputError, match="InjectionStart is missing"):
        factor_of(sidecar)
    _, sidecar, _ = brought(study(weight=None, dose=None), tmp_path)
    with pytest.raises(InputError, match="PatientWeight is missing"):
        factor_of(sidecar)


def test_what_is_no_single_volume_is_refused_in_one_line(study, tmp_path):
    folder = study()
    with pytest.raises(InputError, match="holds no PET or MR in DICOM"):
        import_subject(tmp_path, tmp_path / "bids", "01") if shutil.rmtree(folder) is None else None
    folder = study()
    save(folder / "pet2", SeriesNumber=4)
    with pytest.raises(InputError, match="has 2 PET series, numbers 3, 4; say which by --pet-series"):
        import_subject(folder, tmp_path / "bids", "01")
    assert import_subject(folder, tmp_path / "bids", "01", pet_series=4)["pet"].exists()
    with pytest.raises(InputError, match="has no PET series of number 9"):
        import_subject(folder, tmp_path / "bids", "01", pet_series=9)
    shutil.rmtree(folder / "pet2")
    sorted((folder / "pet").glob("*.dcm"))[3].unlink()
    with pytest.raises(InputError, match="series 3: "):
        import_subject(folder, tmp_path / "bids2", "01")
    assert not list((tmp_path / "bids2").rglob("*pet.nii.gz"))
    with pytest.raises(InputError, match="is no label"):
        import_subject(folder, tmp_path / "bids", "../x")


def test_a_restored_series_says_what_it_is_and_comes_back(tmp_path):
    data, affine = phantom()
    sidecar = {"Units": "Bq/mL", "TracerRadionuclide": "18F", "TracerName": "FDG"}
    paths = write_series(tmp_path / "out", volume(data, affine), sidecar, "01")
    one, two = (pydicom.dcmread(path) for path in paths[:2])
    assert one.ImageType[0] == "DERIVED"
    assert "NOT FOR DIAGNOSIS" in one.SeriesDescription == LABEL
    assert (one.PatientName, one.PatientBirthDate, one.Units) == ("01", "", "BQML")
    assert one.SOPInstanceUID != two.SOPInstanceUID
    again = pydicom.dcmread(write_series(tmp_path / "more", volume(data, affine), sidecar, "01")[0])
    assert again.SeriesInstanceUID != one.SeriesInstanceUID
    with pytest.raises(InputError, match="is not empty"):
        write_series(tmp_path / "out", volume(data, affine), sidecar, "01")


@pytest.mark.bids
def test_what_is_imported_is_valid_bids(study, tmp_path):
    _, _, out = brought(study(), tmp_path, labels={"ses": "02"})
    assert issues(out) == []


def test_the_command_imports_and_exports(study, tmp_path, capsys):
    """What is restored comes back from its DICOM, by the import, to a step of its slices' slopes."""
    folder = study()
    assert main(["import", str(folder), str(tmp_path / "bids"), "--participant-label", "sub-07", "--rec-label", "drf4"]) == 0
    assert "sub-07_rec-drf4_pet.nii.gz" in capsys.readouterr().out
    pet = tmp_path / "bids/sub-07/pet/sub-07_rec-drf4_pet.nii.gz"
    restored = tmp_path / "out/sub-07/pet/sub-07_rec-drf4_desc-restored_pet.nii.gz"
    restored.parent.mkdir(parents=True)
    shutil.copy(pet, restored)
    (restored.with_name(restored.name.replace(".nii.gz", ".json"))).write_text(json.dumps({"Units": "Bq/mL"}))
    export(tmp_path / "out")
    series = tmp_path / "out/dicom/sub-07_rec-drf4_desc-restored"
    shutil.copytree(folder / "mr", series / "mr")
    again = read_volume(import_subject(series, tmp_path / "again", "07")["pet"])
    first = read_volume(pet)
    np.testing.assert_allclose(canonical(again).affine, canonical(first).affine, atol=1e-3)
    data = np.asarray(canonical(first).dataobj)
    assert np.abs(np.asarray(canonical(again).dataobj) - data).max() <= 0.51 * data.max() / 32767
    assert main(["import", str(tmp_path / "nowhere"), str(tmp_path / "bids"), "--participant-label", "01"]) == 2
    assert capsys.readouterr().err.startswith(f"petbench: {tmp_path / 'nowhere'}: no such folder")


def test_an_export_is_of_the_image_that_is_there_now(tmp_path):
    data, affine = phantom()
    path = tmp_path / "sub-01/pet/sub-01_desc-restored_pet.nii.gz"
    path.parent.mkdir(parents=True)
    for factor in (1.0, 2.0):
        write_volume(path, factor * data, like=volume(data, affine))
        export(tmp_path)
        slices = [pydicom.dcmread(one) for one in (tmp_path / "dicom/sub-01_desc-restored").glob("*.dcm")]
        assert max(float(one.RescaleSlope) * one.pixel_array.max() for one in slices) == pytest.approx(factor * data.max(), rel=1e-4)
        assert not {"DecayCorrection", "CorrectedImage", "ActualFrameDuration"} & set(dir(slices[0]))
    assert [one.name for one in (tmp_path / "dicom").iterdir()] == ["sub-01_desc-restored"]


def test_names_in_a_scanners_or_tracers_own_tags_do_not_get_through(study, tmp_path):
    folder = study(vendor=(f"SIEMENS {PLANTED}", "Biograph 19500101"))
    for path in (folder / "pet").glob("*.dcm"):
        one = pydicom.dcmread(path)
        one.RadiopharmaceuticalInformationSequence[0].Radiopharmaceutical = f"FDG {PLANTED} 20240229"
        one.save_as(path)
    _, sidecar, out = brought(folder, tmp_path)
    assert (sidecar["Manufacturer"], sidecar["ManufacturersModelName"], sidecar["TracerName"]) == ("n/a", "n/a", "FDG")
    text = "".join(path.read_text() for path in out.rglob("*.json"))
    assert not any(planted in text for planted in ("DOE", "JANE", "1950", "2024"))


def changed(folder, **tags):
    for number, path in enumerate(sorted((folder / "pet").glob("*.dcm"))):
        one = pydicom.dcmread(path)
        for name, value in tags.items():
            if callable(value):
                value(one, number)
            else:
                setattr(one, name, value)
        one.save_as(path)
    return folder


def test_headers_that_disagree_or_lack_something_are_refused_and_nothing_is_written(study, tmp_path):
    def other_injection(one, _):
        one.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime = "20240229090000"

    def lighter(one, number):
        one.PatientWeight = 70 - number

    def placeless(one, _):
        del one.ImagePositionPatient

    for make, words in (
        (lambda: changed(study(), injection=other_injection), "two times of injection disagree"),
        (lambda: changed(study(), weight=lighter), "several weights"),
        (lambda: changed(study(), place=placeless), "series 3: its headers lack something"),
        (lambda: study(vendor=("GE", "x"), SeriesTime="103000"), "which is right cannot be told"),
    ):
        shutil.rmtree(tmp_path / "bids", ignore_errors=True)
        with pytest.raises(InputError, match=words):
            import_subject(make(), tmp_path / "bids", "01")
        assert not (tmp_path / "bids").exists()
    folder = study()
    shutil.rmtree(folder / "mr")
    with pytest.raises(InputError, match="has no MR series"):
        import_subject(folder, tmp_path / "bids", "01")
    assert not (tmp_path / "bids").exists()


def test_suv_of_another_kind_is_no_suv_by_weight(study, tmp_path):
    _, sidecar, _ = brought(changed(study(Units="GML"), SUVType="LBM"), tmp_path)
    assert sidecar["Units"] == "arbitrary"
    _, sidecar, _ = brought(study(Units="GML"), tmp_path)
    assert factor_of(sidecar) == 1.0
    _, sidecar, _ = brought(study(dose=200), tmp_path)  # in whatever unit
    with pytest.raises(InputError, match="InjectedRadioactivity is missing"):
        factor_of(sidecar)


def test_suv_of_regions():
    values = np.zeros((21, 21, 21))
    values[10, 10, 10], mask = 8.0, np.zeros((21, 21, 21), dtype=bool)
    values[8:13, 8:13, 8:13] += 2.0
    mask[9:12, 9:12, 9:12] = True
    found = suv_of(values, mask, (4.0, 4.0, 4.0))
    assert found["SUVmax"] == 10.0
    assert found["SUVmean"] == pytest.approx(2 + 8 / 27)
    assert found["SUVpeak"] == pytest.approx(2 + 8 * peak_ball((4.0, 4.0, 4.0)).max())  # the ball lies in the block
    assert suv_of(np.full((9, 9, 9), 3.0), np.ones((9, 9, 9), dtype=bool), (3, 3, 5))["SUVmean"] == 3.0


def test_a_ball_of_a_millilitre_is_one():
    for edges in ((1.0, 1.0, 1.0), (2.0, 3.0, 4.0), (20.0, 20.0, 20.0)):
        ball = peak_ball(edges)
        assert ball.sum() == pytest.approx(1)
        np.testing.assert_allclose(ball, ball[::-1, ::-1, ::-1])
    filled = (peak_ball((1.0, 1.0, 1.0)) > 0.999 * peak_ball((1.0, 1.0, 1.0)).max()).sum()
    assert 700 < filled < 1000  # whole voxels of 1 mm^3 in 1000 mm^3


def test_sidecars_units_in_becquerel_of_any_size():
    sidecar = {"Units": "kBq/mL", "PatientWeight": 70, "InjectedRadioactivity": 200, "InjectedRadioactivityUnits": "MBq"}
    sidecar |= {"TracerRadionuclide": "F18", "InjectionStart": 0, "ImageDecayCorrectionTime": 0, "ImageDecayCorrected": True}
    assert factor_of(sidecar) == pytest.approx(1e3 * 70e3 / 2e8)
    assert factor_of({"Units": "g/ml"}) == 1.0
    for change in ({"ImageDecayCorrectionTime": -60}, {"ImageDecayCorrectionTime": 1e6}):
        with pytest.raises(InputError, match="clocks disagree"):
            factor_of(sidecar | change)
    assert json.dumps(sidecar)

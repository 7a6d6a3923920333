import gzip
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest

from petbench.data.nifti import volume, write_volume
from petbench.data.preflight import check_images
from petbench.errors import InputError
from petbench.files import read_json, write_json

AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])


def scan(seed=0):
    return np.random.default_rng(seed).random((4, 5, 6), dtype=np.float32)


def image(path, data):
    write_volume(path, data, like=volume(data, AFFINE))
    return str(path)


def test_records_every_grid(tmp_path):
    mr, pet = (image(tmp_path / f"{name}.nii.gz", scan(seed)) for seed, name in enumerate("ab"))
    check_images({"01": [mr, pet]}, str(tmp_path / "out.json"))
    grid = {"shape": [4, 5, 6], "voxel_mm": [2.0, 3.0, 4.0]}
    assert read_json(tmp_path / "out.json") == {"01": [grid, grid]}


def test_a_low_dose_on_another_grid_is_named(tmp_path):
    mr, standard = (image(tmp_path / f"{name}.nii.gz", scan(seed)) for seed, name in enumerate("ab"))
    low_dose = image(tmp_path / "low.nii.gz", np.random.default_rng(0).random((4, 5, 5), dtype=np.float32))
    with pytest.raises(InputError, match=r"low.nii.gz: its grid .* resample it"):
        check_images({"01": [mr, standard, low_dose]}, str(tmp_path / "out.json"))


def test_lists_all_problems_at_once_and_writes_nothing(tmp_path):
    good = image(tmp_path / "good.nii.gz", np.random.default_rng(0).random((4, 4, 4), dtype=np.float32))
    zero = image(tmp_path / "zero.nii.gz", np.zeros((4, 4, 4), np.float32))
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "good.nii.gz").read_bytes()[:150])
    with pytest.raises(InputError) as error:
        check_images({"01": [good, zero], "02": [str(tmp_path / "cut.nii.gz"), str(tmp_path / "none.nii.gz")]}, str(tmp_path / "out.json"))
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert all(name in line for name, line in zip(["zero.nii.gz", "cut.nii.gz", "none.nii.gz"], lines, strict=True))
    assert not (tmp_path / "out.json").exists()


def test_doses_that_do_not_show_the_same_activity_are_named(tmp_path):
    data = scan()
    mr, standard = image(tmp_path / "mr.nii.gz", scan(1)), image(tmp_path / "standard.nii.gz", data)
    quarter, kilo = image(tmp_path / "quarter.nii.gz", data / 4), image(tmp_path / "kilo.nii.gz", data * np.float32(1.01))
    write_json(tmp_path / "standard.json", {"Units": "Bq/mL"})
    write_json(tmp_path / "kilo.json", {"Units": "kBq/mL"})
    with pytest.raises(InputError) as error:
        check_images({"01": [mr, standard, quarter, kilo]}, str(tmp_path / "out.json"))
    units, mean = str(error.value).splitlines()
    assert "kilo.nii.gz: Units is 'kBq/mL'" in units
    assert "quarter.nii.gz: its mean is 0.25" in mean


def test_headers_and_sidecars_are_read_and_every_problem_is_listed(tmp_path):
    data = scan()
    mr, standard, low = (image(tmp_path / f"{name}.nii.gz", scan(seed)) for seed, name in enumerate(("mr", "standard", "low")))
    (tmp_path / "mr.json").write_text("{")
    (tmp_path / "low.json").write_text("[]")
    nowhere, metres = nibabel.Nifti1Image(data, AFFINE), nibabel.Nifti1Image(data, AFFINE)
    nowhere.set_sform(None)
    nowhere.set_qform(None)
    metres.header.set_xyzt_units("meter")
    nibabel.save(nowhere, tmp_path / "nowhere.nii.gz")
    nibabel.save(metres, tmp_path / "metres.nii.gz")
    with pytest.raises(InputError) as error:
        check_images(
            {"01": [mr, standard, low, *(str(tmp_path / f"{name}.nii.gz") for name in ("nowhere", "metres"))]}, str(tmp_path / "out.json")
        )
    lines = str(error.value).splitlines()
    assert len(lines) == 4
    for words in [
        "nowhere.nii.gz: qform_code",
        "metres.nii.gz: xyzt_units is 'meter'",
        "mr.json: not valid JSON",
        "low.json: is not a JSON",
    ]:
        assert sum(words in line for line in lines) == 1, words


def test_a_sidecar_that_cannot_be_opened_hides_no_other_problem(tmp_path):
    mr, pet = (image(tmp_path / f"{name}.nii.gz", scan(seed)) for seed, name in enumerate("ab"))
    (tmp_path / "a.json").mkdir()
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(InputError) as error:
        check_images({"01": [mr, pet]}, str(tmp_path / "out.json"))
    first, second = str(error.value).splitlines()
    assert "a.json: cannot be read (Is a directory)" in first
    assert "b.json: not valid JSON" in second


def test_one_image_in_two_places_is_named(tmp_path):
    """A copy under another name, as one with another time in its gzip header; one file under two labels; a dose that is the standard."""
    one, two, three = (image(tmp_path / f"{name}.nii.gz", scan(seed)) for seed, name in enumerate(("one", "two", "three")))
    copy = tmp_path / "copy.nii.gz"
    copy.write_bytes(gzip.compress(gzip.decompress(Path(one).read_bytes()), mtime=1))
    with pytest.raises(InputError) as error:
        check_images({"01": [one, two], "02": [str(copy)], "03": [two], "04": [three, three]}, str(tmp_path / "out.json"))
    lines = str(error.value).splitlines()
    assert [re.match(r"\S+/(\w+).nii.gz: its voxels are those of \S+/(\w+).nii.gz; give every", line).groups() for line in lines] == [
        ("copy", "one"),
        ("two", "two"),
        ("three", "three"),
    ]


def test_sessions_of_one_person_may_share_an_mr(tmp_path):
    mr, one, two = (image(tmp_path / f"{name}.nii.gz", scan(seed)) for seed, name in enumerate(("mr", "one", "two")))
    subjects = {"01ses1": [mr, one], "01ses2": [mr, two]}
    check_images(subjects, str(tmp_path / "out.json"), people=dict.fromkeys(subjects, "01"))
    for people in ({}, {"01ses1": "01", "01ses2": "02"}):
        with pytest.raises(InputError, match=r"mr\.nii\.gz: its voxels are those of"):
            check_images(subjects, str(tmp_path / "out.json"), people)
    with pytest.raises(InputError, match=r"one\.nii\.gz: its voxels are those of"):
        check_images({"01ses1": [mr, one], "01ses2": [mr, one]}, str(tmp_path / "out.json"), dict.fromkeys(subjects, "01"))


def test_units_are_compared_between_subjects(tmp_path):
    """Honest sidecars of two subjects in kBq/mL and one in Bq/mL gave a mean over both; one of them was inherited from the root."""
    subjects = {}
    for number, units in enumerate(("Bq/mL", "kBq/mL", "BQML")):
        folder = tmp_path / f"sub-{number}/pet"
        folder.mkdir(parents=True)
        files = [image(folder / f"sub-{number}_{kind}.nii.gz", scan(10 * number + len(kind))) for kind in ("T1w", "rec-a_pet")]
        subjects[str(number)] = files
        if number:
            write_json(folder / f"sub-{number}_rec-a_pet.json", {"Units": units})
    write_json(tmp_path / "pet.json", {"Units": "Bq/ml"})
    with pytest.raises(InputError) as error:
        check_images(subjects, str(tmp_path / "out.json"))
    (line,) = str(error.value).splitlines()
    assert re.search(r"sub-1_rec-a_pet\.nii\.gz: Units is 'kBq/mL', and 'Bq/ml' for other subjects; bring all", line)


@pytest.mark.parametrize(("factor", "words"), [(0.0, "every voxel"), (-1.0, "its mean is -0.5"), (1e34, "of that of")])
def test_a_mean_is_always_a_number(tmp_path, factor, words):
    mr, standard = (image(tmp_path / f"{name}.nii.gz", scan(seed)) for seed, name in enumerate(("mr", "standard")))
    low = image(tmp_path / "low.nii.gz", scan(2) * np.float32(factor))
    with pytest.raises(InputError) as error:
        check_images({"01": [mr, standard, low]}, str(tmp_path / "out.json"))
    assert words in str(error.value)
    assert not re.search(r"\b(nan|inf)\b", str(error.value))

"""Low doses of two people exchanged, one mirrored under its header, standard and low dose exchanged: each is named by preflight."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from petbench.data.nifti import volume, write_volume
from petbench.data.phantom import make_subject
from petbench.data.preflight import check_images
from petbench.errors import InputError

SHAPE, EDGE_MM = (44, 52, 40), 5.0


@pytest.fixture(scope="module")
def heads():
    """Of three people the MR, the standard dose, a quarter and a twenty-fifth of it."""
    people = {}
    for number in range(3):
        phantom = make_subject({"working_mm": 5.0, "t1": {"voxel_mm": 5.0}}, SHAPE, (EDGE_MM,) * 3, seed=20 + number)
        rng = np.random.default_rng(number)
        seen = gaussian_filter(phantom.activity, 0.5)
        doses = {"standard": 60.0, "quarter": 240.0, "least": 1500.0}
        noisy = {dose: gaussian_filter(rng.poisson(seen / one).astype(np.float32) * np.float32(one), 0.4) for dose, one in doses.items()}
        people[f"0{number}"] = {"mr": volume(phantom.t1, phantom.t1_affine)} | {
            dose: volume(data, phantom.affine) for dose, data in noisy.items()
        }
    return people


def problems(tmp_path, heads, change=lambda images: None):
    images = {label: dict(person) for label, person in heads.items()}
    change(images)
    files = {}
    for label, person in images.items():
        files[label] = [str(tmp_path / f"sub-{label}_{kind}.nii.gz") for kind in ("mr", "standard", "quarter", "least")]
        for path, kind in zip(files[label], ("mr", "standard", "quarter", "least"), strict=True):
            write_volume(path, np.asarray(person[kind].dataobj), like=person[kind])
    try:
        check_images(files, str(tmp_path / "out.json"))
    except InputError as error:
        return str(error).splitlines()
    return []


def test_what_is_right_passes(tmp_path, heads):
    assert problems(tmp_path, heads) == []


@pytest.mark.parametrize("dose", ["quarter", "least"])
def test_low_doses_of_two_people_exchanged_are_named(tmp_path, heads, dose):
    def exchange(images):
        images["00"][dose], images["02"][dose] = images["02"][dose], images["00"][dose]

    lines = problems(tmp_path, heads, exchange)
    assert len(lines) == 2
    assert f"sub-00_{dose}.nii.gz: correlates with" in lines[0]
    assert "the low doses of sub-00 and sub-02 look exchanged" in lines[0]
    assert "the low doses of sub-02 and sub-00 look exchanged" in lines[1]


@pytest.mark.parametrize("dose", ["quarter", "least"])
def test_one_mirrored_under_its_header_is_named(tmp_path, heads, dose):
    def mirror(images):
        image = images["01"][dose]
        images["01"][dose] = volume(np.asarray(image.dataobj)[::-1].copy(), image.affine)

    (line,) = problems(tmp_path, heads, mirror)
    assert f"sub-01_{dose}.nii.gz: its mirror image correlates" in line


def test_standard_and_low_dose_exchanged_are_named(tmp_path, heads):
    def exchange(images):
        person = images["01"]
        person["standard"], person["quarter"] = person["quarter"], person["standard"]

    (line,) = problems(tmp_path, heads, exchange)
    assert "sub-01_quarter.nii.gz: is less noisy" in line


def test_a_low_dose_filtered_more_is_no_exchange(tmp_path, heads):
    def smooth(images):
        image = images["01"]["quarter"]
        images["01"]["quarter"] = volume(gaussian_filter(np.asarray(image.dataobj), 1.0), image.affine)

    assert problems(tmp_path, heads, smooth) == []

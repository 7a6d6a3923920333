import json
import re

import nibabel
import numpy as np
import pytest

from petbench.data.affines import centred_affine
from petbench.data.anatomy import LABELS
from petbench.data.bids import (
    find_image,
    find_subjects,
    write_dataset_description,
    write_derivative,
    write_participants,
)
from petbench.data.lesions import Lesion
from petbench.data.mni_head import Severity
from petbench.data.phantom import Phantom
from petbench.data.phantom_files import read_truth, write_phantom_subject
from petbench.errors import InputError


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.fixture
def phantom():
    rng = np.random.default_rng(0)
    shape = (6, 5, 4)
    pose = np.eye(4)
    pose[:3, 3] = 1.25, -3.5, 0.1
    return Phantom(
        activity=rng.random(shape, dtype=np.float32) * 2e4,
        attenuation=rng.random(shape, dtype=np.float32),
        labels=rng.integers(0, 102, shape).astype(np.int16),
        affine=centred_affine(shape, (4.0, 4.0, 5.0)),
        t1=rng.random((7, 7, 7), dtype=np.float32),
        t1_affine=np.diag([2.0, 2.0, 2.0, 1.0]),
        t1_to_pet=pose,
        lesions=(Lesion(101, "shared", (1.0, -2.5, 3.0), 6.0, "hot", 1.5),),
        seed=3,
        group="patient",
        severity=Severity(0.4, 0.3),
        rotation_deg=7.5,
        origin={"Anatomy": "BrainWeb", "Model": "04", "SHA256": "ab" * 32},
        landmarks={"anterior_commissure": (0.0, 3.5, -5.0)},
    )


def test_a_subject_comes_back_as_it_was_written(tmp_path, phantom):
    names = {
        "t1w": "sub-01/anat/sub-01_T1w.nii.gz",
        "activity": "sub-01/pet/sub-01_desc-activity_pet.nii.gz",
        "attenuation": "sub-01/pet/sub-01_desc-attenuation_mumap.nii.gz",
        "labels": "sub-01/anat/sub-01_space-pet_dseg.nii.gz",
    }
    paths = {key: tmp_path / name for key, name in names.items()}
    write_phantom_subject(phantom, **paths, truth=tmp_path / "truth.json")
    for key, (data, affine) in {
        "t1w": (phantom.t1, phantom.t1_affine),
        "activity": (phantom.activity, phantom.affine),
        "attenuation": (phantom.attenuation, phantom.affine),
        "labels": (phantom.labels, phantom.affine),
    }.items():
        image = nibabel.load(paths[key])
        np.testing.assert_array_equal(np.asarray(image.dataobj), data)
        np.testing.assert_allclose(image.affine, affine)
        assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
        assert image.header.get_xyzt_units()[0] == "mm"
    assert nibabel.load(paths["labels"]).get_data_dtype() == np.int16
    assert json.loads((tmp_path / "sub-01/pet/sub-01_desc-activity_pet.json").read_text())["Units"] == "Bq/mL"
    assert json.loads((tmp_path / "sub-01/anat/sub-01_T1w.json").read_text())["Modality"] == "MR"
    truth = read_truth(tmp_path / "truth.json")
    np.testing.assert_array_equal(truth.t1_to_pet, phantom.t1_to_pet)
    assert truth.lesions == phantom.lesions
    assert truth.labels == LABELS
    assert (truth.seed, truth.group, truth.severity) == (3, "patient", Severity(0.4, 0.3))
    assert truth.landmarks == phantom.landmarks
    written = json.loads((tmp_path / "truth.json").read_text())
    assert (written["RotationDeg"], written["Origin"]) == (7.5, {"Anatomy": "BrainWeb", "Model": "04", "SHA256": "ab" * 32})
    assert find_image(tmp_path, "sub-01", "T1w") == paths["t1w"]


def test_a_truth_that_lacks_a_field_is_refused(tmp_path):
    (tmp_path / "truth.json").write_text('{"Labels": {}}')
    with pytest.raises(InputError, match=r"truth\.json: not the truth of a phantom subject"):
        read_truth(tmp_path / "truth.json")


def test_descriptions_have_what_bids_requires(tmp_path):
    write_dataset_description(tmp_path / "dataset_description.json", "phantoms", references=["a paper"])
    raw = json.loads((tmp_path / "dataset_description.json").read_text())
    assert (raw["Name"], raw["DatasetType"], raw["ReferencesAndLinks"]) == ("phantoms", "raw", ["a paper"])
    write_derivative(tmp_path / "made", "1.2", ["doi:10.18112/openneuro.ds002898", "https://raw"])
    derivative = json.loads((tmp_path / "made/dataset_description.json").read_text())
    assert derivative["DatasetType"] == "derivative"
    assert derivative["GeneratedBy"][0]["Name"] == "petbench"
    assert derivative["GeneratedBy"][0]["Version"] == "1.2"
    assert derivative["SourceDatasets"] == [{"DOI": "doi:10.18112/openneuro.ds002898"}, {"URL": "https://raw"}]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", one["BIDSVersion"]) for one in (raw, derivative))
    assert (tmp_path / "README.md").is_file()
    assert (tmp_path / "made/README.md").is_file()


def test_participants(tmp_path):
    path = tmp_path / "participants.tsv"
    write_participants(path, ["sub-01", "sub-02"], {"group": ["control", "patient"], "severity": [None, 0.5]})
    assert path.read_text() == "participant_id\tgroup\tseverity\nsub-01\tcontrol\tn/a\nsub-02\tpatient\t0.5\n"
    assert {entry.name for entry in tmp_path.iterdir()} == {"participants.tsv", "participants.json"}
    with pytest.raises(InputError, match="column group has 1 values for 2 subjects"):
        write_participants(path, ["sub-01", "sub-02"], {"group": ["control"]})
    with pytest.raises(InputError, match="named twice"):
        write_participants(path, ["sub-01", "sub-01"])


def test_subjects_are_found_sorted_and_folders_alone(tmp_path):
    make(tmp_path, "sub-10/anat/x", "sub-02/anat/x", "derivatives/sub-03/x", "sub-04.txt")
    assert find_subjects(tmp_path) == ["sub-02", "sub-10"]


def test_a_folder_that_is_no_data_set_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        find_subjects(tmp_path / "absent")
    with pytest.raises(InputError, match="holds no sub-"):
        find_subjects(tmp_path)


def test_images_are_found_with_and_without_sessions(tmp_path):
    make(
        tmp_path,
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_T1w.json",
        "sub-01/pet/sub-01_trc-FDG_rec-standard_pet.nii.gz",
        "sub-01/pet/sub-01_trc-FDG_rec-drf4_pet.nii.gz",
        "sub-02/ses-base/anat/sub-02_ses-base_T1w.nii",
        "sub-02/ses-base/pet/sub-02_ses-base_pet.nii.gz",
        "sub-02/ses-late/pet/sub-02_ses-late_pet.nii.gz",
    )
    assert find_image(tmp_path, "sub-01", "T1w").name == "sub-01_T1w.nii.gz"
    assert find_image(tmp_path, "sub-01", "pet", {"rec": "drf4"}).name == "sub-01_trc-FDG_rec-drf4_pet.nii.gz"
    assert find_image(tmp_path, "sub-02", "T1w").name == "sub-02_ses-base_T1w.nii"
    assert find_image(tmp_path, "sub-02", "pet", {"ses": "late"}).name == "sub-02_ses-late_pet.nii.gz"


def test_a_label_is_matched_whole(tmp_path):
    make(tmp_path, "sub-01/pet/sub-01_rec-drf4_pet.nii.gz", "sub-01/pet/sub-01_rec-drf40_pet.nii.gz")
    assert find_image(tmp_path, "sub-01", "pet", {"rec": "drf4"}).name == "sub-01_rec-drf4_pet.nii.gz"


def test_more_than_one_image_is_an_error_that_names_them(tmp_path):
    make(tmp_path, "sub-01/pet/sub-01_rec-a_pet.nii.gz", "sub-01/ses-1/pet/sub-01_ses-1_rec-b_pet.nii.gz")
    with pytest.raises(InputError, match="rec") as error:
        find_image(tmp_path, "sub-01", "pet")
    assert "pet/sub-01_rec-a_pet.nii.gz" in str(error.value)
    assert "ses-1/pet/sub-01_ses-1_rec-b_pet.nii.gz" in str(error.value)


def test_no_image_is_an_error_that_says_what_and_where(tmp_path):
    make(tmp_path, "sub-01/pet/sub-01_rec-a_pet.nii.gz")
    with pytest.raises(InputError, match=r"sub-01: has no T1w image under anat/ or ses-\*/anat/"):
        find_image(tmp_path, "sub-01", "T1w")
    with pytest.raises(InputError, match=r"no pet image with rec-b .*only sub-01_rec-a_pet\.nii\.gz"):
        find_image(tmp_path, "sub-01", "pet", {"rec": "b"})
    with pytest.raises(InputError, match="has no subject sub-09; it has sub-01"):
        find_image(tmp_path, "sub-09", "pet")
    with pytest.raises(InputError, match="choose T1w or pet"):
        find_image(tmp_path, "sub-01", "T2w")

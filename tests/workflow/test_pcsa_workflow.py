"""PET made of MR and diagnosis, through the workflow: on phantoms at the tiny scale, and on a lab's folder of NIfTI with a table."""

import json
import shutil

import nibabel
import numpy as np
import pandas as pd
import pytest
from repo import PARALLEL, Repo

SCALE = ("--configfile", "tests/config/cohort.yaml")
pytestmark = pytest.mark.slow


@pytest.fixture
def results(tiny):
    return tiny.path / "results/tiny/ad_mni"


def volume(path):
    return np.asarray(nibabel.load(path).dataobj)


def tested(results):
    return json.loads((results / "split.json").read_text())["test_subjects"]["0"]


def test_generated_pet_is_in_normalised_units_and_says_so(results):
    for subject in tested(results):
        folder = results / f"none/pcsa_gan/restored/sub-{subject}/pet"
        sidecar = json.loads((folder / f"sub-{subject}_rec-none_desc-restored_pet.json").read_text())
        assert sidecar["Units"] == "arbitrary"
        assert "no activity" in sidecar["Scale"]
        made = nibabel.load(folder / f"sub-{subject}_rec-none_desc-restored_pet.nii.gz")
        reference = nibabel.load(results / f"structural/sub-{subject}/sub-{subject}_space-MNI152_pet.nii.gz")
        np.testing.assert_allclose(made.affine, reference.affine)
        assert (reference.get_fdata().min(), reference.get_fdata().max()) == (0, 1)


def test_the_mean_pet_is_that_of_the_training_subjects_alone(results):
    train = [name for name in ("01", "02", "03", "04") if name not in tested(results)]
    references = [volume(results / f"structural/sub-{name}/sub-{name}_space-MNI152_pet.nii.gz") for name in train]
    for subject in tested(results):
        given = volume(results / f"none/mean_pet/restored/sub-{subject}/pet/sub-{subject}_rec-none_desc-restored_pet.nii.gz")
        np.testing.assert_allclose(given, np.mean(references, axis=0), atol=1e-6)


def test_everybody_has_a_label_and_quality_is_reported(results):
    participants = pd.read_csv(results / "bids/participants.tsv", sep="\t")
    assert participants["participant_id"].tolist() == [f"sub-{number:02d}" for number in range(1, 7)]
    assert sorted(participants["diagnosis"][:4]) == ["AD", "AD", "CN", "CN"]
    assert sorted(participants["diagnosis"][4:]) == ["AD", "CN"]
    for path in results.glob("structural/sub-*/*_probseg.json"):
        quality = json.loads(path.read_text())["Quality"]
        assert quality["MeanLandmarkErrorMm"] < 12
        assert quality["TissueDice"]["grey"] > 0.5


def test_those_tested_are_scored_once_by_each_row(results):
    scores = pd.read_csv(results / "none/diagnosis/resnet/fold-0/scores.tsv", sep="\t", dtype={"subject": str})
    assert {(row, subject) for row, subject in zip(scores["row"], scores["subject"], strict=True)} == {
        (row, subject) for row in ("mr", "real_pet", "pcsa_gan") for subject in tested(results)
    }
    alone = pd.read_csv(results / "none/diagnosis/resnet/fold-all/scores.tsv", sep="\t", dtype={"subject": str})
    assert set(alone["subject"]) == {"05", "06"}
    assert set(alone["row"]) == {"mr", "pcsa_gan"}
    assert scores["score"].between(0, 1).all()


def test_tables_figures_and_page_show_the_studies(tiny):
    table = (tiny.path / "results/tiny/tables/pcsa_gan_table3.md").read_text()
    ours, quoted = table.split("## Published values")
    assert "too few to tell whether PET" in ours
    assert "96.95" in quoted
    assert "96.95" not in ours
    figure5 = (tiny.path / "results/tiny/tables/pcsa_gan_figure5.md").read_text()
    assert "Mean PET of the training subjects" in figure5
    assert "PET made of MR says nothing of activity" in figure5
    assert (tiny.path / "results/tiny/figures/pcsa_gan_figure6.svg").exists()
    page = (tiny.path / "results/report/index.html").read_text()
    assert 'id="pcsa_gan_table3"' in page
    assert "Patients told from controls" in page
    assert "ROC curves: " in page


@pytest.fixture
def lab(tiny, tmp_path):
    """The project with a folder of NIfTI and a table, as a lab has ADNI, and none of its results."""
    shutil.copytree(tiny.path, tmp_path / "copy", ignore=shutil.ignore_patterns("results", ".snakemake"))
    source, folder = tiny.path / "results/tiny/ad_mni/bids", tmp_path / "copy/adni"
    folder.mkdir()
    rows = ["subject,group,age,t1w,pet"]
    for number, group in enumerate(["AD", "CN"] * 3, start=1):
        shutil.copy(source / f"sub-{number:02d}/anat/sub-{number:02d}_T1w.nii.gz", folder / f"{number}_mr.nii.gz")
        pet = ""
        if number < 5:
            shutil.copy(source / f"sub-{number:02d}/pet/sub-{number:02d}_rec-standard_pet.nii.gz", folder / f"{number}_pet.nii.gz")
            pet = f"{number}_pet.nii.gz"
        rows.append(f"S{number},{group},70,{number}_mr.nii.gz,{pet}")
    (folder / "adni.csv").write_text("\n".join(rows) + "\n")
    return Repo(tmp_path / "copy")


def test_a_folder_of_nifti_with_a_table_is_prepared_and_its_study_planned(lab):
    planned = lab.planned(*SCALE)
    folds = {job["fold"] for rule, job in planned if rule == "train"}
    assert folds == {"0", "1", "2", "0-1", "0-2", "1-2", "all"}
    assert {job["fold"] for rule, job in planned if rule == "classify"} == {"0", "1", "2", "all"}
    made = "results/cohort/cohort/none/prepared/volumes"
    lab.snakemake(*PARALLEL, f"{made}/sub-S1/prepared.json", f"{made}/mr_only/sub-S6/prepared.json", *SCALE)
    for volumes, kinds in (("sub-S1", ["mr", "standard_dose"]), ("mr_only/sub-S6", ["mr"])):
        assert sorted(path.stem for path in (lab.path / made / volumes).glob("*.npy")) == ["index", *kinds]
        for kind in kinds:
            data = np.load(lab.path / made / volumes / f"{kind}.npy")
            assert data.shape == (16, 16, 16)
            assert (data.min(), data.max()) == (0, 1)
    assert (lab.path / "results/cohort/cohort/preflight.json").exists()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("S3,AD", "S3,MCI", "S3: group 'MCI' is unknown; it is AD or CN"),
        ("3_mr.nii.gz", "none.nii.gz", "none.nii.gz does not exist; mend the path"),
        ("S2,CN", "S2,", "S2 has no group; add it"),
    ],
)
def test_a_wrong_table_ends_the_run_in_one_line_before_anything_starts(lab, old, new, message):
    path = lab.path / "adni/adni.csv"
    path.write_text(path.read_text().replace(old, new))
    done = lab.snakemake("--dry-run", "--cores", "2", *SCALE, check=False)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("petbench: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in done.stderr

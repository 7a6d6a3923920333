"""PET made of MR and diagnosis, through the workflow: on phantoms at the tiny scale, and on a lab's folder of NIfTI with a table."""

import json
import shutil
from collections import Counter

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


def held_out(results):
    return json.loads((results / "split.json").read_text())["test_subjects"]["0"]


def test_generated_pet_is_in_normalised_units_and_says_so(results):
    for subject in held_out(results):
        folder = results / f"none/pcsa_gan/restored/sub-{subject}/pet"
        sidecar = json.loads((folder / f"sub-{subject}_rec-none_desc-restored_pet.json").read_text())
        assert sidecar["Units"] == "arbitrary"
        assert "no activity" in sidecar["Scale"]
        made = nibabel.load(folder / f"sub-{subject}_rec-none_desc-restored_pet.nii.gz")
        reference = nibabel.load(results / f"structural/sub-{subject}/sub-{subject}_space-MNI152_pet.nii.gz")
        np.testing.assert_allclose(made.affine, reference.affine)
        assert (reference.get_fdata().min(), reference.get_fdata().max()) == (0, 1)


def test_the_mean_pet_is_that_of_the_training_subjects_alone(results):
    train = [name for name in ("01", "02", "03", "04") if name not in held_out(results)]
    references = [volume(results / f"structural/sub-{name}/sub-{name}_space-MNI152_pet.nii.gz") for name in train]
    for subject in held_out(results):
        given = volume(results / f"none/mean_pet/restored/sub-{subject}/pet/sub-{subject}_rec-none_desc-restored_pet.nii.gz")
        np.testing.assert_allclose(given, np.mean(references, axis=0), atol=1e-6)


def test_everybody_has_a_label_and_quality_is_reported(results):
    participants = pd.read_csv(results / "bids/participants.tsv", sep="\t")
    assert participants["participant_id"].tolist() == [f"sub-{number:02d}" for number in range(1, 7)]
    assert sorted(participants["diagnosis"][:4]) == ["AD", "AD", "CN", "CN"]
    assert sorted(participants["diagnosis"][4:]) == ["AD", "CN"]
    # a training may be told the labels of those with PET; nobody trains on the others
    prepared = results / "none/prepared/volumes"
    told = [json.loads((prepared / f"sub-{number:02d}/prepared.json").read_text())["diagnosis"] for number in range(1, 5)]
    assert told == [int(label == "AD") for label in participants["diagnosis"][:4]]
    assert not any("diagnosis" in json.loads((prepared / f"mr_only/sub-0{number}/prepared.json").read_text()) for number in (5, 6))
    for path in results.glob("structural/sub-*/*_probseg.json"):
        quality = json.loads(path.read_text())["Quality"]
        assert quality["MeanLandmarkErrorMm"] < 12
        assert quality["TissueDice"]["grey"] > 0.5


def test_those_tested_are_scored_once_by_each_row(results):
    scores = pd.read_csv(results / "none/diagnosis/resnet/fold-0/scores.tsv", sep="\t", dtype={"subject": str})
    assert {(row, subject) for row, subject in zip(scores["row"], scores["subject"], strict=True)} == {
        (row, subject) for row in ("mr", "real_pet", "pcsa_gan") for subject in held_out(results)
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
    images = (tiny.path / "results/tiny/figures/pcsa_gan_figure5.svg").read_text()
    for words in ("Grey matter", "Real PET", "PCSA-GAN", "sagittal", "axial", "coronal", "normalised units"):
        assert f"<!-- {words} -->" in images, words
    page = (tiny.path / "results/report/index.html").read_text()
    assert 'id="pcsa_gan_table3"' in page
    assert "Patients told from controls" in page
    assert "ROC curves, one panel a study." in page


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


PREPARED = {"prepare_pair", "prepare_mr_only"}  # one script, of which one job is killed
KILLED = PREPARED | {"split", "preflight", "normalise_mr", "normalise_pet", "register", "classify", "diagnosis"}


def test_a_folder_of_nifti_with_a_table_is_studied_from_images_to_table_though_each_kind_of_job_is_killed(lab, tiny, tmp_path):
    """What a killed job makes at its second try is what a phantom's undisturbed one made of the same images."""
    killed = lab.killed(tmp_path / "struck", "cohort", *PARALLEL, *SCALE)
    assert killed - PREPARED == KILLED - PREPARED
    assert killed & PREPARED
    results = lab.path / "results/cohort"
    for number in range(1, 7):
        for kind in ("label-GM_probseg", "pet")[: 2 if number < 5 else 1]:
            killed = results / f"cohort/structural/sub-S{number}/sub-S{number}_space-MNI152_{kind}.nii.gz"
            undisturbed = tiny.path / f"results/tiny/ad_mni/structural/sub-0{number}/sub-0{number}_space-MNI152_{kind}.nii.gz"
            np.testing.assert_array_equal(volume(killed), volume(undisturbed))
    for volumes, kinds in (("sub-S1", ["mr", "regions", "standard_dose"]), ("mr_only/sub-S6", ["mr"])):
        folder = results / "cohort/none/prepared/volumes" / volumes
        # a killed job leaves its part beside what the second made
        assert sorted(path.stem for path in folder.glob("[!.]*.npy")) == ["index", *kinds]
        for kind in sorted({"mr", "standard_dose"}.intersection(kinds)):
            data = np.load(folder / f"{kind}.npy")
            assert (data.shape, data.min(), data.max()) == ((16, 16, 16), 0, 1)
    alone = pd.read_csv(results / "cohort/none/diagnosis/resnet/fold-all/scores.tsv", sep="\t")
    assert dict(zip(alone["subject"], alone["ill"], strict=True)) == {"S5": 1, "S6": 0}
    made = [*results.glob("cohort/none/diagnosis/resnet/*/scores.tsv"), *results.glob("tables/cohort.*")]
    before = {path: path.read_bytes() for path in made}
    for path in made:
        path.unlink()
    lab.snakemake("cohort", *PARALLEL, *SCALE)
    assert {path: path.read_bytes() for path in made} == before
    table = (results / "tables/cohort.md").read_text()
    assert "MR + real PET" in table
    assert "Below 5 in either group no interval is given, and nothing marked." in table


def test_a_bids_cohort_plans_the_jobs_that_a_table_does(lab, tiny):
    def planned():
        return Counter(rule for rule, _ in lab.planned("cohort", *SCALE))

    of_table = planned()
    shutil.copytree(tiny.path / "results/tiny/ad_mni/bids", lab.path / "adni_bids")
    lab.edit("tests/config/datasets/cohort.yaml", "source: table\ntable: adni/adni.csv", "source: bids\nbids: adni_bids")
    lab.edit("tests/config/datasets/cohort.yaml", "column: group", "column: diagnosis")
    assert planned() == of_table
    assert of_table["normalise_pet"] == of_table["prepare_mr_only"] + 2 == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"S3,AD": "S3,MCI"}, "S3: group 'MCI' is unknown; it is AD or CN"),
        ({"3_mr.nii.gz": "none.nii.gz"}, "none.nii.gz does not exist; mend the path"),
        ({"S1,AD": "S1,CN", "S3,AD": "S3,CN"}, "all subjects with PET are CN; a study needs AD and CN"),
    ],
)
def test_a_wrong_table_ends_the_run_in_one_line_before_anything_starts(lab, change, message):
    for old, new in change.items():
        lab.edit("adni/adni.csv", old, new)
    done = lab.snakemake("--dry-run", "--cores", "2", *SCALE, check=False)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("petbench: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in done.stderr

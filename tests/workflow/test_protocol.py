"""MFdiff's phantom protocol in small, through the workflow: rotated copies, independent draws, chosen slices, a holdout by phantom."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import pytest
from repo import ROOT

from petbench.workflow.entries import load
from petbench.workflow.schema import read_yaml

SCALE = ("--configfile", "config/tiny.yaml")
TESTED, TRAINED, KEPT = ["03r1", "03r2"], ["02r1", "02r2"], ["01r1", "01r2"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def entry():
    return load(read_yaml(ROOT / "config/tiny.yaml"), ROOT)["datasets"]["mfdiff_mni"]


@pytest.fixture
def results(tiny):
    return tiny.path / "results/tiny/mfdiff_mni"


def truth(results, subject):
    return json.loads((results / f"truth/sub-{subject}/sub-{subject}_truth.json").read_text())


def pet(results, subject, dose):
    return np.asarray(nibabel.load(results / f"bids/sub-{subject}/pet/sub-{subject}_rec-{dose}_pet.nii.gz").dataobj)


def mr(results, subject):
    return np.asarray(nibabel.load(results / f"bids/sub-{subject}/anat/sub-{subject}_T1w.nii.gz").dataobj)


def test_the_split_is_by_phantom_and_those_kept_are_not_even_made(tiny, results):
    split = json.loads((results / "split.json").read_text())
    assert (split["test_subjects"], split["validation_subjects"]) == ({"0": TESTED}, KEPT)
    jobs = tiny.planned("--forceall", *SCALE, "--", "mfdiff_table1")
    for rule in ("acquire", "simulate", "register", "prepare"):
        assert {wildcards["subject"] for name, wildcards in jobs if name == rule} == {*TRAINED, *TESTED}


def test_copies_are_one_head_turned_and_their_scans_are_their_own(results, entry):
    for first, second in (TRAINED, TESTED):
        one, two = truth(results, first), truth(results, second)
        turned = [entry["phantoms"][subject]["rotation_deg"] for subject in (first, second)]
        assert [one["RotationDeg"], two["RotationDeg"]] == turned
        angle = np.radians(turned[1] - turned[0])
        rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        centres = [np.array([lesion["centre_mm"] for lesion in each["Lesions"]]) for each in (one, two)]
        np.testing.assert_allclose(centres[1], centres[0] @ rotation.T, atol=0.01)
        np.testing.assert_array_equal(mr(results, first), mr(results, second))
        assert not np.array_equal(pet(results, first, "low"), pet(results, second, "low"))


def test_each_dose_is_a_scan_of_its_own_at_its_own_counts_and_resolution(results, entry):
    drawn = []
    for subject in TRAINED + TESTED:
        folder = results / f"bids/sub-{subject}/pet"
        low, high = (json.loads((folder / f"sub-{subject}_rec-{dose}_pet.json").read_text()) for dose in ("low", "standard"))
        drawn.append(low["DoseValue"])
        assert low["DoseDraw"] == "independent"
        assert (low["SimulatedPSF"], high["SimulatedPSF"]) == (4.0, 2.5)
        assert abs(low["Counts"] - low["DoseValue"]) < 5 * low["DoseValue"] ** 0.5
        assert abs(high["Counts"] - entry["simulation"]["counts"]) < 5 * high["Counts"] ** 0.5
        assert pet(results, subject, "low").sum() == pytest.approx(pet(results, subject, "standard").sum(), rel=0.05)
        assert all((results / f"acquisition/sub-{subject}_acq-{dose}.h5").exists() for dose in ("low", "standard"))
    least, most = entry["doses"]["low"]["counts"]
    assert least <= min(drawn) < max(drawn) <= most
    assert len(set(drawn)) == len(drawn)


def test_training_windows_are_the_chosen_slices_and_the_evaluated_ones_alone_are_restored(results, entry):
    assert entry["evaluation"]["slices"] == [11, 13]
    for subject in TRAINED:
        assert np.load(results / f"low/prepared/axial/sub-{subject}/index.npy").tolist() == [[0, 0, 11], [0, 0, 13]]
    for subject in TESTED:
        (image,) = (results / f"low/m_unet-mfdiff/restored/sub-{subject}").rglob("*.nii.gz")
        changed = np.asarray(nibabel.load(image).dataobj) != pet(results, subject, "low")
        assert np.flatnonzero(changed.any(axis=(0, 1))).tolist() == [11, 13]


def test_only_the_tested_are_measured_and_shown_and_copies_count_as_one(tiny, results):
    metrics = pd.read_csv(results / "low/m_unet-mfdiff/metrics.tsv", sep="\t", dtype=str, keep_default_na=False)
    found = {(row["subject"], row["person"], row["fold"]) for row in metrics.to_dict("records")}
    assert found == {("03r1", "03", "0"), ("03r2", "03", "0"), ("n/a", "n/a", "0")}
    assert set(metrics.loc[metrics["metric"] == "slices", "value"]) == {"2.0"}
    table = (tiny.path / "results/tiny/tables/mfdiff_table1.md").read_text()
    assert "n = 1" in table
    assert "n counts phantoms: 2 rotated copies of 1 phantom were measured" in table
    page = (tiny.path / "results/report/index.html").read_text()
    assert "6 (copies of 3 phantoms)" in page
    assert "mfdiff_mni, sub-03r2" in page
    assert "sub-02r1: edges" not in page


def test_lesions_have_a_table_by_kind_and_pictures(tiny, results):
    """A row is the standard dose itself, which is not compared with itself but shows lesions."""
    metrics = pd.read_csv(results / "low/standard_dose/metrics.tsv", sep="\t", dtype=str, keep_default_na=False)
    assert set(metrics.loc[metrics["reference"] == "standard_dose", "value"]) == {"n/a"}
    assert (metrics.loc[(metrics["region"] == "brain") & (metrics["reference"] == "true_activity"), "value"] != "n/a").any()
    table = pd.read_csv(tiny.path / "results/tiny/tables/mfdiff_figure3.tsv", sep="\t", keep_default_na=False)
    shown = table.groupby("region")["metric"].agg(set).to_dict()
    assert shown == {
        "pet_only_lesions": {"contrast_recovery", "lesions_used"},
        "shared_lesions": {"contrast_recovery", "lesions_used"},
        "mr_only_lesions": {"false_contrast", "lesions_used"},
    }
    filters = ["Gaussian filter of the low dose", "Non-local means of the low dose"]
    assert list(dict.fromkeys(table["title"])) == ["Standard dose", "Low dose", *filters, "M-UNet, slices", "MFdiff"]
    images = (tiny.path / "results/tiny/figures/mfdiff_figure3.svg").read_text()
    for words in ("MR", "Standard dose", "Low dose", "M-UNet, slices", "MFdiff", "enlarged"):
        assert f"<!-- {words} -->" in images, words


def test_participants_say_whose_copies_they_are(results, entry):
    table = pd.read_csv(results / "bids/participants.tsv", sep="\t", dtype={"phantom": str})
    assert table["participant_id"].tolist() == [f"sub-{subject}" for subject in KEPT + TRAINED + TESTED]
    assert table["phantom"].tolist() == ["01", "01", "02", "02", "03", "03"]
    assert table["rotation_deg"].tolist() == [copy["rotation_deg"] for copy in entry["phantoms"].values()]


def test_nobody_is_restored_who_was_kept_out_of_the_test(tiny):
    wanted = Path(f"results/tiny/mfdiff_mni/low/m_unet-mfdiff/restored/sub-{KEPT[0]}/pet")
    target = wanted / f"sub-{KEPT[0]}_rec-low_desc-restored_pet.nii.gz"
    done = tiny.snakemake("--dry-run", "--cores", "2", *SCALE, "--", str(target), check=False)
    assert done.returncode != 0
    assert "petbench: data set mfdiff_mni: subject '01r1' is in no fold; the subjects tested are 03r1, 03r2." in done.stderr
    assert "Traceback" not in done.stderr


def test_other_slices_prepare_and_train_anew(tiny, tmp_path):
    other = tmp_path / "slices.yaml"
    other.write_text("override: {datasets: {mfdiff_mni: {domains: {axial: {slices: [11, 15]}}}}}")
    rerun = tiny.rules(*SCALE, str(other))
    assert rerun >= {"prepare", "train", "restore_subject", "evaluate"}
    assert not rerun & {"acquire", "simulate", "reconstruct", "register"}

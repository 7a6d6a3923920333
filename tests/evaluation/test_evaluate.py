import json
import math
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

from petbench.data.lesions import Lesion
from petbench.data.nifti import volume, write_volume
from petbench.errors import InputError
from petbench.evaluation import metrics
from petbench.evaluation.definitions import DEFINITIONS
from petbench.evaluation.evaluate import GroundTruth, evaluate, evaluate_subject
from petbench.evaluation.regions import brain_from_labels
from petbench.evaluation.settings import Settings, settings_from
from petbench.evaluation.table import COLUMNS, read_tables, write_table

SHAPE = (20, 18, 16)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
LESIONS = tuple(
    Lesion(label, kind, centre_mm=(0.0, 0.0, 0.0), radius_mm=2.0, uptake="hot", contrast=1.5)
    for label, kind in ((101, "shared"), (102, "mr_only"), (103, "pet_only"))
)
TRUTH = {
    "T1wToPET": np.eye(4).tolist(),
    "Labels": {},
    "Lesions": [asdict(lesion) for lesion in LESIONS],
    "Seed": 1,
    "Group": "CN",
    "Severity": {"atrophy": 0.0, "hypometabolism": 0.0},
    "Landmarks": {},
}


def subject(seed):
    """Labels, activity, standard dose and an estimate 10 % below it, on one small grid."""
    rng = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.int32)
    labels[2:18, 2:16, 2:14] = 3
    labels[2:8, 2:16, 2:14] = 2
    activity = np.choose(labels, [0.0, 0.0, 20_000.0, 5_000.0])
    for index, corner, factor in ((101, (12, 4, 5), 1.5), (102, (12, 11, 9), 1.0), (103, (13, 5, 11), 1.02)):
        where = tuple(slice(start, start + 2) for start in corner)
        labels[where] = index
        activity[where] *= factor
    standard_dose = activity + rng.normal(0, 300, SHAPE)
    return labels, activity, standard_dose, 0.9 * standard_dose


def pick(table, reference, region, metric):
    rows = table[(table["reference"] == reference) & (table["region"] == region) & (table["metric"] == metric)]
    return rows["value"].item()


@pytest.fixture
def files(tmp_path):
    """Two subjects on disk, as the workflow hands them over."""
    given = {name: [] for name in ("restored", "standard_dose", "activity", "labels", "truth", "restore_costs")}
    for seed in (1, 2):
        arrays = dict(zip(("labels", "activity", "standard_dose", "restored"), subject(seed), strict=True))
        for name, array in arrays.items():
            path = tmp_path / f"sub-{seed:02d}_{name}.nii.gz"
            write_volume(path, array, volume(array.astype(np.float32), AFFINE))
            given[name].append(path)
        for name, content in (("truth", TRUTH), ("restore_costs", {"restore_seconds": 2.5, "gflop": None, "device": "cpu"})):
            path = tmp_path / f"sub-{seed:02d}_{name}.json"
            path.write_text(json.dumps(content))
            given[name].append(path)
    return {"dataset": "mni", "dose": "drf4", "method": "mak_gan", "subjects": ["sub-01", "sub-02"], "folds": [0, "1"], **given}


def test_subject_rows_are_the_metrics_of_each_reference_and_region():
    labels, activity, standard_dose, estimate = subject(1)
    brain = brain_from_labels(labels)
    table = evaluate_subject(estimate, standard_dose, brain, np.array([2.0, 2, 2]), GroundTruth(activity, labels, LESIONS))
    assert not table.duplicated(["reference", "region", "metric"]).any()
    assert set(table["metric"]) <= set(DEFINITIONS)
    for reference, image in (("standard_dose", standard_dose), ("true_activity", activity)):
        for region, mask in (("whole", None), ("brain", brain)):
            for name in ("psnr", "ssim", "nmse", "mae"):
                assert pick(table, reference, region, name) == getattr(metrics, name)(estimate, image, mask)
            for name in ("slice_psnr", "slice_ssim", "slice_nmse"):
                value, used = getattr(metrics, name)(estimate, image, mask)
                assert pick(table, reference, region, name) == value
                assert pick(table, reference, region, "slices") == used
                assert pick(table, reference, region, "slices_left_out") == 16 - used
    assert pick(table, "standard_dose", "brain", "nmse") == pytest.approx(0.01)
    assert pick(table, "true_activity", "brain", "slices") == 12


def test_subject_rows_quantify_tissues_and_lesions():
    labels, activity, standard_dose, _ = subject(1)
    estimate = 0.9 * activity
    estimate[labels == 102] = 6_000
    table = evaluate_subject(
        estimate, standard_dose, brain_from_labels(labels), np.array([2.0, 2, 2]), GroundTruth(activity, labels, LESIONS)
    )
    quantified = table[~table["region"].isin(["whole", "brain", "frame"])]
    assert (quantified["reference"] == "true_activity").all()
    values = {(row.region, row.metric): row.value for row in quantified.itertuples()}
    expected = {
        ("grey", "bias"): -0.1,
        ("white", "bias"): -0.1,
        ("lesion-101", "recovery"): 0.9,
        ("lesion-101", "contrast_recovery"): 1,
        ("lesion-102", "bias"): 0.2,
        ("lesion-102", "false_contrast"): 6_000 / 4_500 - 1,
        ("lesion-103", "recovery"): 0.9,
        ("lesion-103", "contrast_recovery"): math.nan,
        ("lesions", "contrast_recovery"): 1,
        ("lesions", "lesions_used"): 1,
        ("lesions", "lesions_left_out"): 1,
        ("pet_only_lesions", "contrast_recovery"): math.nan,
        ("pet_only_lesions", "lesions_used"): 0,
        ("pet_only_lesions", "lesions_left_out"): 1,
        ("shared_lesions", "contrast_recovery"): 1,
        ("shared_lesions", "lesions_used"): 1,
        ("shared_lesions", "lesions_left_out"): 0,
        ("mr_only_lesions", "bias"): 0.2,
        ("mr_only_lesions", "false_contrast"): 6_000 / 4_500 - 1,
        ("mr_only_lesions", "lesions_used"): 1,
        ("mr_only_lesions", "lesions_left_out"): 0,
    }
    assert values == pytest.approx(expected, nan_ok=True)


def test_a_box_is_all_that_is_seen():
    labels, activity, standard_dose, estimate = subject(1)
    brain = brain_from_labels(labels)
    box = ((0, 20), (0, 18), (4, 10))
    settings = Settings(box=box)
    changed = estimate.copy()
    changed[..., :4], changed[..., 10:] = -1e6, 1e6
    truth = GroundTruth(activity, labels, LESIONS)
    tables = [evaluate_subject(image, standard_dose, brain, np.array([2.0, 2, 2]), truth, settings) for image in (estimate, changed)]
    assert tables[0].equals(tables[1])
    assert pick(tables[0], "standard_dose", "whole", "psnr") == metrics.psnr(estimate[..., 4:10], standard_dose[..., 4:10])
    assert pick(tables[0], "true_activity", "lesions", "lesions_left_out") == 1
    assert math.isnan(pick(tables[0], "true_activity", "mr_only_lesions", "bias"))


def test_spaced_slices_have_slice_metrics_and_no_3d_similarity():
    labels, _, standard_dose, estimate = subject(1)
    brain, voxels = brain_from_labels(labels), np.array([2.0, 2, 2])
    spaced = evaluate_subject(estimate, standard_dose, brain, voxels, settings=Settings(slices=(9, 3, 5)))
    chosen = standard_dose[..., [3, 5, 9]]
    assert pick(spaced, "standard_dose", "whole", "slice_ssim") == metrics.slice_ssim(0.9 * chosen, chosen)[0]
    assert math.isnan(pick(spaced, "standard_dose", "whole", "ssim"))
    block = evaluate_subject(estimate, standard_dose, brain, voxels, settings=Settings(slices=(5, 4, 6)))
    assert pick(block, "standard_dose", "whole", "ssim") == metrics.ssim(estimate[..., 4:7], standard_dose[..., 4:7])
    boxed = evaluate_subject(estimate, standard_dose, brain, voxels, settings=Settings(box=((0, 20), (0, 18), (4, 7))))
    assert boxed.equals(block)


def test_frames_are_measured_as_the_settings_say():
    """The head fills .55 of each slice that holds it; the white half reads a quarter of the grey one."""
    labels, activity, standard_dose, estimate = subject(1)
    brain, voxels, truth = brain_from_labels(labels), np.array([2.0, 2, 2]), GroundTruth(activity, labels, LESIONS)
    table = evaluate_subject(estimate, standard_dose, brain, voxels, truth)
    for reference, image in (("standard_dose", standard_dose), ("true_activity", activity)):
        for name, value in metrics.frame_metrics(metrics.frame_slices(estimate, image)).items():
            assert pick(table, reference, "frame", name) == value, name
    assert pick(table, "true_activity", "frame", "frame_slices") == 12
    assert math.isnan(pick(table, "true_activity", "frame", "frame_lpips"))
    halved = settings_from({"frame_threshold": 0.5, "slice_axis": 1})  # the white half is out
    expected = metrics.frame_metrics(metrics.frame_slices(estimate, activity, 1, 0.5))
    again = evaluate_subject(estimate, standard_dose, brain, voxels, truth, halved)
    assert pick(again, "true_activity", "frame", "frame_psnr") == expected["frame_psnr"]
    assert pick(again, "true_activity", "frame", "frame_psnr") != pick(table, "true_activity", "frame", "frame_psnr")
    none = evaluate_subject(estimate, standard_dose, brain, voxels, truth, settings_from({"frame_object_share": 0.9}))
    assert pick(none, "true_activity", "frame", "frame_slices") == 0
    assert math.isnan(pick(none, "true_activity", "frame", "frame_psnr"))


def test_a_lesion_that_spaced_slices_cut_counts_by_what_they_hold():
    """Every second slice leaves no lesion whole; what lies between the slices is not read."""
    labels, activity, standard_dose, _ = subject(1)
    estimate = 0.5 * activity
    estimate[..., ::2] = 1e6
    brain, voxels, truth = brain_from_labels(labels), np.array([2.0, 2, 2]), GroundTruth(activity, labels, LESIONS)
    odd = {"slices": list(range(1, 16, 2))}
    left_out = evaluate_subject(estimate, standard_dose, brain, voxels, truth, settings_from(odd))
    assert pick(left_out, "true_activity", "lesions", "lesions_used") == 0
    counted = evaluate_subject(estimate, standard_dose, brain, voxels, truth, settings_from(odd | {"lesions": {"min_inside": 0.5}}))
    assert pick(counted, "true_activity", "shared_lesions", "contrast_recovery") == pytest.approx(1)
    assert pick(counted, "true_activity", "mr_only_lesions", "false_contrast") == pytest.approx(0)
    assert pick(counted, "true_activity", "mr_only_lesions", "bias") == pytest.approx(-0.5)


def test_ranges_of_papers():
    labels, _, standard_dose, estimate = subject(1)
    brain, voxels = brain_from_labels(labels), np.array([2.0, 2, 2])
    by_slice = evaluate_subject(estimate, standard_dose, brain, voxels, settings=settings_from({"slice_range": "slice", "slice_axis": 0}))
    assert (
        pick(by_slice, "standard_dose", "brain", "slice_psnr")
        == metrics.slice_psnr(estimate, standard_dose, brain, axis=0, data_range="slice")[0]
    )


def test_table_on_disk_has_the_schema_and_every_subject(files, tmp_path):
    (tmp_path / "fold-0").mkdir()
    costs = tmp_path / "fold-0" / "cost.json"
    costs.write_text(json.dumps({"train_seconds": 60, "train_peak_mb": 1024.5, "gmac_modules": None, "steps": 20}))
    out = tmp_path / "deep" / "metrics.tsv"
    written = evaluate(out, **files, train_costs=[costs])
    table = read_tables([out])
    assert tuple(table.columns) == COLUMNS
    assert out.read_text().splitlines()[0] == "\t".join(COLUMNS)
    assert [path.name for path in out.parent.iterdir()] == ["metrics.tsv"]
    assert table["value"].tolist() == pytest.approx(written["value"].tolist(), nan_ok=True, rel=1e-15)
    assert table.drop(columns="value").equals(written.drop(columns="value"))
    assert set(table["metric"]) <= set(DEFINITIONS)
    assert set(zip(table["subject"], table["fold"], strict=True)) == {("sub-01", "0"), ("sub-02", "1"), ("n/a", "0")}
    assert (table[["dataset", "dose", "method"]] == ["mni", "drf4", "mak_gan"]).all(axis=None)
    nmse = table[(table["metric"] == "nmse") & (table["reference"] == "standard_dose")]
    assert nmse["value"].tolist() == pytest.approx([0.01] * 4, rel=1e-4)
    seconds = table[table["metric"].isin(["restore_seconds", "train_seconds"])]
    assert seconds["value"].tolist() == [2.5, 2.5, 60]
    assert "\tgflop\tn/a\n" in out.read_text()


def test_the_person_a_subject_shows_is_recorded(files, tmp_path):
    (tmp_path / "fold-0").mkdir()
    costs = tmp_path / "fold-0" / "cost.json"
    costs.write_text(json.dumps({"train_seconds": 60}))
    out = tmp_path / "metrics.tsv"
    alone = evaluate(out, **files, train_costs=[costs])
    assert alone["person"].equals(alone["subject"])
    evaluate(out, **files, people=["01", "01"], train_costs=[costs])
    table = read_tables([out])
    assert set(zip(table["subject"], table["person"], strict=True)) == {("sub-01", "01"), ("sub-02", "01"), ("n/a", "n/a")}
    with pytest.raises(InputError, match=r"evaluate.people: has 1 entries for 2 subjects"):
        evaluate(out, **files, people=["01"])


def test_costs_of_one_fold_add_up_and_its_peak_is_the_largest(files, tmp_path):
    paths = []
    for member, fold, seconds, peak in (
        ("axial", "0", 60, 900),
        ("coronal", "0", 30, 1_000),
        ("axial", "1", 50, 800),
        ("coronal", "1", 20, 700),
    ):
        paths.append(tmp_path / member / f"fold-{fold}" / "cost.json")
        paths[-1].parent.mkdir(parents=True)
        paths[-1].write_text(json.dumps({"train_seconds": seconds, "train_peak_mb": peak, "parameters": None}))
    table = evaluate(tmp_path / "metrics.tsv", **files, train_costs=[*paths, paths[0]])
    values = table[table["subject"] == "n/a"].set_index(["fold", "metric"])["value"]
    expected = {("0", "train_seconds"): 90, ("0", "train_peak_mb"): 1_000, ("1", "train_seconds"): 70, ("1", "train_peak_mb"): 800}
    assert values.dropna().to_dict() == expected
    assert values[values.isna()].index.tolist() == [("0", "parameters"), ("1", "parameters")]


def test_methods_without_a_dose_keep_the_word_none(files, tmp_path):
    out = tmp_path / "metrics.tsv"
    evaluate(out, **{**files, "dose": "none"})
    assert set(read_tables([out, out])["dose"]) == {"none"}


def test_patients_need_no_truth(files, tmp_path):
    patient = {name: files[name] for name in ("dataset", "dose", "method", "subjects", "folds", "restored", "standard_dose")}
    table = evaluate(tmp_path / "metrics.tsv", **patient)
    assert set(table["reference"]) == {"standard_dose"}
    assert set(table["region"]) == {"whole", "brain", "frame"}


def rewrite(path, array, affine=AFFINE):
    write_volume(path, array, volume(array.astype(np.float32), affine))


def test_bad_files_are_refused_by_name_and_leave_no_table(files, tmp_path):
    out = tmp_path / "out" / "metrics.tsv"
    other = tmp_path / "other.nii.gz"
    data = subject(2)[2]
    shifted = AFFINE.copy()
    shifted[0, 3] = 1.0
    rewrite(other, data, shifted)
    small = tmp_path / "small.nii.gz"
    rewrite(small, data[:-1])
    zero = tmp_path / "zero.nii.gz"
    rewrite(zero, 0 * data)
    text, empty = tmp_path / "text.json", tmp_path / "empty.json"
    text.write_text(json.dumps({"restore_seconds": "fast"}))
    empty.write_text(json.dumps({"device": "cpu"}))
    first = {name: files[name][0] for name in ("restored", "standard_dose", "truth", "restore_costs")}
    cases = [
        ({"restored": [first["restored"], other]}, r"other\.nii\.gz: its affine"),
        ({"restored": [first["restored"], small]}, r"small\.nii\.gz: shape"),
        ({"activity": [other, other]}, r"other\.nii\.gz: its affine"),
        ({"labels": [zero, zero]}, r"restored\.nii\.gz: labels: no voxel"),
        ({"standard_dose": [first["standard_dose"], zero]}, r"sub-02_restored\.nii\.gz: reference: .* positive"),
        ({"restored": [first["restored"]]}, "evaluate.restored: has 1 entries for 2 subjects"),
        ({"labels": None}, "give labels too"),
        ({"truth": [first["restore_costs"]] * 2}, "not the truth of a phantom"),
        ({"restore_costs": [text, text]}, "restore_seconds is 'fast'"),
        ({"restore_costs": [empty, empty]}, "holds no cost"),
        ({"restored": [first["restored"], tmp_path / "none.nii.gz"]}, "no such file"),
    ]
    for change, words in cases:
        with pytest.raises(InputError, match=words):
            evaluate(out, **{**files, **change})
    with pytest.raises(InputError, match="subjects"):
        evaluate(out, dataset="mni", dose="drf4", method="m", subjects=[], folds=[], restored=[], standard_dose=[])
    assert not out.exists()


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"slice_range": "all"}, r"evaluation/slice_range"),
        ({"slice_axis": 3}, r"evaluation/slice_axis"),
        ({"slices": []}, r"evaluation/slices"),
        ({"slices": [1, 1]}, r"evaluation/slices"),
        ({"slices": [16]}, "slice 16 is not in the grid"),
    ],
)
def test_settings_that_mean_nothing_are_refused(block, words):
    labels, _, standard_dose, estimate = subject(1)
    with pytest.raises(InputError, match=words):
        evaluate_subject(estimate, standard_dose, brain_from_labels(labels), np.array([2.0, 2, 2]), settings=settings_from(block))


def test_tables_that_are_none_are_refused(tmp_path, files):
    import pandas as pd

    with pytest.raises(InputError, match="no such file"):
        read_tables([tmp_path / "metrics.tsv"])
    with pytest.raises(InputError, match="no metrics table"):
        read_tables([])
    (tmp_path / "metrics.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(InputError, match="is no metrics table"):
        read_tables([tmp_path / "metrics.tsv"])
    with pytest.raises(InputError, match="lacks the columns dataset"):
        write_table(tmp_path / "metrics.tsv", pd.DataFrame({"value": [1.0]}))


def test_evaluating_loads_no_torch():
    code = (
        "import sys, petbench.evaluation.evaluate, petbench.evaluation.statistics; sys.exit(bool({'torch', 'pandas'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

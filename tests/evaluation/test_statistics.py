import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from petbench.errors import InputError
from petbench.evaluation.statistics import compare, holm, mean_interval, paired_test, summarise
from petbench.evaluation.table import COLUMNS


def long_table(values, metric="psnr", dataset="mni", dose="drf4", region="brain"):
    rows = [
        (dataset, dose, method, "0", f"sub-{number:02d}", f"sub-{number:02d}", "standard_dose", region, metric, value)
        for method, numbers in values.items()
        for number, value in enumerate(numbers)
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def test_interval_by_hand():
    # sd 1, n 4: half-width t(0.975, 3) / 2 with t = 3.182446
    sample = np.array([-1.0, -1.0, 1.0, 1.0]) * math.sqrt(3 / 4) + 30
    interval = mean_interval(sample)
    assert (interval.mean, interval.sd, interval.n) == (pytest.approx(30), pytest.approx(1), 4)
    assert interval.high - 30 == pytest.approx(3.182446 / 2, rel=1e-6)
    assert 30 - interval.low == pytest.approx(3.182446 / 2, rel=1e-6)


def test_interval_of_one_value_has_no_width():
    interval = mean_interval([5.0])
    assert interval.mean == 5
    assert math.isnan(interval.sd)
    assert math.isnan(interval.low)
    with pytest.raises(InputError, match="none"):
        mean_interval([])


def test_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(11)
    intervals = [mean_interval(sample) for sample in rng.normal(3, 2, (2_000, 8))]
    coverage = np.mean([interval.low <= 3 <= interval.high for interval in intervals])
    assert coverage == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / 2_000))


def test_paired_test_is_scipys_and_the_formula():
    rng = np.random.default_rng(5)
    first = rng.normal(30, 2, 16)
    second = first + rng.normal(-0.5, 0.6, 16)
    test = paired_test(first, second)
    differences = first - second
    t = differences.mean() / (differences.std(ddof=1) / 4)
    assert (test.difference, test.t, test.n) == (pytest.approx(differences.mean()), pytest.approx(t), 16)
    assert test.p == pytest.approx(2 * stats.t.sf(abs(t), 15))
    assert paired_test(second, first).p == pytest.approx(test.p)


def test_paired_test_by_hand():
    # Differences 1..6: mean 3.5, sd 1.870829, t = 3.5 / (1.870829 / sqrt 6) = 4.582576, p = 0.005934 (5 degrees of freedom)
    test = paired_test(np.arange(1.0, 7.0), np.zeros(6))
    assert test.t == pytest.approx(4.582576, rel=1e-6)
    assert test.p == pytest.approx(0.005934, abs=5e-7)


def test_paired_test_false_alarms_come_as_often_as_alpha():
    rng = np.random.default_rng(2)
    p_values = [paired_test(sample, np.zeros(7)).p for sample in rng.normal(0, 1, (2_000, 7))]
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.05, abs=4 * math.sqrt(0.95 * 0.05 / 2_000))


def test_no_p_value_below_six_subjects():
    rng = np.random.default_rng(0)
    first = rng.normal(10, 0.01, 6)
    assert paired_test(first[:5], np.zeros(5)).p is None
    assert paired_test(first, np.zeros(6)).p < 1e-6


def test_differences_without_variance():
    values = np.array([0.13, 0.71, 3.37, 10.9, 20.1, 33.3, 41.7])
    assert np.std((values + 0.1) - values) > 0
    same = paired_test(values, values)
    assert (same.t, same.p) == (0, 1)
    shifted = paired_test(values + 0.1, values)
    assert shifted.difference == pytest.approx(0.1)
    assert shifted.p is None


def test_paired_test_refuses_what_are_no_pairs():
    for first, second in (([1.0, 2.0], [1.0]), ([], []), ([1.0, math.nan], [1.0, 2.0]), ([1.0, math.inf], [1.0, 2.0])):
        with pytest.raises(InputError, match="paired test"):
            paired_test(first, second)


def test_holm_by_hand():
    # Sorted .01 .02 .03 .04 times 4 3 2 1: .04 .06 .06 (not below its predecessor) .06
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_counts_only_tests_that_were_made():
    assert holm([None, 0.01, None, 0.04]) == [None, pytest.approx(0.02), None, pytest.approx(0.04)]


def test_summary_has_a_row_a_method_and_counts_what_it_leaves_out():
    table = long_table({"best": [30.0, 32.0, math.inf], "other": [20.0, 21.0, 22.0], "none": [math.nan] * 3})
    summary = summarise(table, "psnr").set_index("method")
    assert list(summary.columns) == ["dataset", "dose", "mean", "sd", "ci_low", "ci_high", "n", "left_out"]
    assert summary.loc["other", ["mean", "sd", "n", "left_out"]].tolist() == [21, 1, 3, 0]
    assert summary.loc["best", ["mean", "n", "left_out"]].tolist() == [31, 2, 1]
    assert summary.loc["none", "n"] == 0
    assert math.isnan(summary.loc["none", "mean"])
    with pytest.raises(InputError, match="'whole'"):
        summarise(table, "psnr", region="whole")
    with pytest.raises(InputError, match="two values"):
        summarise(pd.concat([table, table]), "psnr")


def test_training_costs_are_summarised_over_folds():
    table = long_table({"best": [100.0, 140.0]}, metric="train_seconds", region="n/a").assign(
        subject="n/a", reference="n/a", fold=["0", "1"]
    )
    assert summarise(table, "train_seconds", reference="n/a", region="n/a")["mean"].item() == 120


def copied(table, copies):
    """The same table, subjects being so many copies of each person."""
    numbers = table["subject"].str.removeprefix("sub-").astype(int)
    return table.assign(person=(numbers // copies).map("phantom-{}".format))


def test_copies_of_a_phantom_count_as_one_person():
    table = copied(long_table({"best": [30.0, 32.0, 20.0, math.inf, 40.0, 42.0]}), 2)
    row = summarise(table, "psnr").iloc[0]
    assert (row["mean"], row["n"], row["left_out"]) == (pytest.approx(np.mean([31, 20, 41])), 3, 1)
    assert row["sd"] == pytest.approx(np.std([31, 20, 41], ddof=1))


def test_copies_make_no_difference_significant():
    rng = np.random.default_rng(9)
    shift = np.repeat(rng.normal(-0.5, 1.0, 6), 5)  # what five copies of six phantoms share
    best = rng.normal(30, 2, 30)
    table = long_table({"best": best, "other": best + shift + rng.normal(0, 0.01, 30)})
    alone, phantoms = (compare(of, ["psnr"], proposed="best").iloc[0] for of in (table, copied(table, 5)))
    assert (alone["n"], phantoms["n"]) == (30, 6)
    assert phantoms["difference"] == pytest.approx(alone["difference"])
    assert phantoms["p"] == pytest.approx(stats.ttest_1samp(shift[::5], 0).pvalue, rel=0.05)
    assert alone["p"] < phantoms["p"] / 5


def test_a_copy_that_one_method_lacks_is_left_out_for_both():
    best, other = np.arange(30.0, 42.0), np.arange(30.0, 42.0) - np.tile([1.0, 3.0], 6)
    table = copied(long_table({"best": best, "other": other}), 2)
    table.loc[(table["method"] == "other") & (table["subject"] == "sub-01"), "value"] = math.nan
    result = compare(table, ["psnr"], proposed="best").iloc[0]
    assert result["n"] == 6
    assert result["difference"] == pytest.approx(-np.mean([1, 2, 2, 2, 2, 2]))


@pytest.fixture
def scores():
    rng = np.random.default_rng(4)
    best = rng.normal(30, 2, 16)
    return {
        "best": best,
        "worse": best - 1 + rng.normal(0, 0.3, 16),
        "alike": best + rng.normal(0, 0.5, 16),
        "better": best + 1 + rng.normal(0, 0.3, 16),
    }


def test_only_comparators_that_are_significantly_worse_are_marked(scores):
    result = compare(long_table(scores), ["psnr"], proposed="best").set_index("method")
    assert list(result.index) == ["worse", "alike", "better"]
    assert result["mark"].to_dict() == {"worse": "*", "alike": "", "better": ""}
    assert result.loc["better", "p_holm"] < 0.05
    raw = [stats.ttest_rel(scores[method], scores["best"]).pvalue for method in result.index]
    np.testing.assert_allclose(result["p"], raw)
    np.testing.assert_allclose(result["p_holm"], holm(raw))
    assert result["n"].tolist() == [16] * 3
    assert (result["ci_low"] < result["difference"]).all()
    assert (result["difference"] < result["ci_high"]).all()


def test_direction_follows_the_metric(scores):
    marks = compare(long_table(scores, "nmse"), ["nmse"], proposed="best").set_index("method")["mark"]
    assert marks.to_dict() == {"worse": "", "alike": "", "better": "*"}


def test_bias_is_compared_by_its_distance_from_zero():
    rng = np.random.default_rng(6)
    values = {"best": rng.normal(0.02, 0.005, 10), "low": rng.normal(-0.2, 0.01, 10)}
    result = compare(long_table(values, "bias", region="grey"), ["bias"], proposed="best", region="grey").iloc[0]
    assert result["mark"] == "*"
    assert result["difference"] == pytest.approx(0.18, abs=0.02)


def test_holm_spans_the_datasets_doses_and_metrics_of_the_table(scores):
    parts = [long_table(scores, metric, dataset, dose) for metric in ("psnr", "nmse") for dataset in "ab" for dose in ("x", "y")]
    result = compare(pd.concat(parts), ["psnr", "nmse"], proposed="best")
    assert len(result) == 3 * 8
    np.testing.assert_allclose(result["p_holm"], holm(result["p"].tolist()))


def test_the_star_is_withheld_at_five_subjects(scores):
    five = compare(long_table({name: values[:5] for name, values in scores.items()}), ["psnr"], proposed="best")
    assert five["mark"].tolist() == [""] * 3
    assert five["p"].isna().all()
    assert five["n"].tolist() == [5] * 3
    six = compare(long_table({name: values[:6] for name, values in scores.items()}), ["psnr"], proposed="best")
    assert six["mark"].tolist()[0] == "*"


def test_pairs_are_the_subjects_both_methods_have(scores):
    table = long_table({"best": scores["best"], "worse": scores["worse"][:10]})
    assert compare(table, ["psnr"], proposed="best")["n"].item() == 10
    table.loc[(table["method"] == "worse") & (table["subject"] == "sub-03"), "value"] = math.nan
    shuffled = table.sample(frac=1, random_state=0)
    result = compare(shuffled, ["psnr"], proposed="best").iloc[0]
    kept = [n for n in range(10) if n != 3]
    assert result["n"] == 9
    assert result["p"] == pytest.approx(stats.ttest_rel(scores["worse"][kept], scores["best"][kept]).pvalue)


def test_what_cannot_be_compared_is_refused(scores):
    with pytest.raises(InputError, match="'missing'"):
        compare(long_table(scores), ["psnr"], proposed="missing")
    with pytest.raises(InputError, match="no better side"):
        compare(long_table(scores, "slices"), ["slices"], proposed="best")

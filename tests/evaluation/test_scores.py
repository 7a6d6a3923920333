import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from petbench.errors import InputError
from petbench.evaluation.scores import COLUMNS, auc, bootstrap_auc, interval, mean_roc, read_scores, roc, told_apart, write_scores


def people(seed=0, n=40, shift=1.0):
    rng = np.random.default_rng(seed)
    ill = (np.arange(n) % 3 == 0).astype(int)
    return ill, 1 / (1 + np.exp(-(rng.standard_normal(n) + shift * (ill - 0.5))))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 4)), min_size=2, max_size=30))
def test_the_auc_is_the_share_of_pairs_in_order_and_the_area_under_the_curve(rows):
    ill, scores = np.array(rows).T
    if ill.all() or not ill.any():
        assert np.isnan(auc(ill, scores))
        return
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in scores[ill == 1] for b in scores[ill == 0]]
    assert auc(ill, scores) == pytest.approx(np.mean(pairs))
    false, true = roc(ill, scores)
    assert np.trapezoid(true, false) == pytest.approx(np.mean(pairs))
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert (np.diff(false) >= 0).all()
    assert (np.diff(true) >= 0).all()


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), *[st.integers(0, 4)] * 3), min_size=2, max_size=30))
def test_the_mean_curve_is_the_mean_at_each_rate_and_so_is_the_area_below_it(rows):
    ill, *scores = np.array(rows).T
    if ill.all() or not ill.any():
        return
    false, true = mean_roc(ill, scores)
    assert np.trapezoid(true, false) == pytest.approx(np.mean([auc(ill, values) for values in scores]))
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert (np.diff(false) >= 0).all()
    assert (np.diff(true) > -1e-12).all()
    controls = (ill == 0).sum()
    between = (np.arange(controls) + 0.5) / controls  # where no curve steps
    curves = [np.interp(between, *roc(ill, values)) for values in scores]
    np.testing.assert_allclose(np.interp(between, false, true), np.mean(curves, axis=0))


def test_the_auc_is_blind_to_order_preserving_changes_and_turns_over_with_the_sign():
    ill, scores = people()
    assert auc(ill, scores**3) == auc(ill, scores)
    assert auc(ill, -scores) == pytest.approx(1 - auc(ill, scores))


def test_a_table_of_two_by_two_by_hand():
    ill = [1, 1, 1, 0, 0, 0, 0, 0]
    scores = [0.9, 0.8, 0.2, 0.7, 0.1, 0.1, 0.1, 0.1]
    found = told_apart(ill, scores)
    assert found == pytest.approx(
        {"accuracy": 6 / 8, "precision": 2 / 3, "specificity": 4 / 5, "sensitivity": 2 / 3, "f1": 2 / 3, "auc": 14 / 15}
    )


def test_a_ratio_without_a_denominator_is_not_a_number():
    found = told_apart([1, 0, 0], [0.1, 0.2, 0.3])
    assert np.isnan(found["precision"])
    assert (found["sensitivity"], found["specificity"], found["f1"]) == (0, 1, 0)


def test_scores_agree_with_scikit_learn():
    from sklearn import metrics

    ill, scores = people()
    called, found = scores > 0.5, told_apart(ill, scores)
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(ill, scores))
    assert found["f1"] == pytest.approx(metrics.f1_score(ill, called))
    assert found["precision"] == pytest.approx(metrics.precision_score(ill, called))
    assert found["sensitivity"] == pytest.approx(metrics.recall_score(ill, called))
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(ill, called))


def test_the_bootstrap_is_the_literal_one():
    ill, scores = people(n=12)
    drawn = bootstrap_auc(ill, [scores], 50, seed=3)
    rng = np.random.default_rng(3)
    patients, controls = np.flatnonzero(ill), np.flatnonzero(1 - ill)
    for value in drawn[:, 0]:
        draws = [group[rng.integers(len(group), size=len(group))] for group in (patients, controls)]
        chosen = np.concatenate(draws)
        assert value == pytest.approx(auc(ill[chosen], scores[chosen]))


def test_an_interval_covers_as_often_as_it_says():
    truth = 0.7602  # of normal scores one apart
    covered = []
    for seed in range(120):
        ill, scores = people(seed, n=90)
        low, high = interval(bootstrap_auc(ill, [scores], 300)[:, 0])
        covered.append(low <= truth <= high)
    assert 0.88 <= np.mean(covered) <= 1.0


def test_the_same_people_are_drawn_for_every_row_so_that_equal_rows_never_differ():
    ill, scores = people()
    drawn = bootstrap_auc(ill, [scores, scores, 1 - scores], 200)
    assert np.array_equal(drawn[:, 0], drawn[:, 1])
    np.testing.assert_allclose(drawn[:, 2], 1 - drawn[:, 0])
    with pytest.raises(InputError, match="one group alone"):
        bootstrap_auc([1, 1], [[0.1, 0.2]], 10)
    with pytest.raises(InputError, match="one group alone"):
        roc([0, 0], [0.1, 0.2])


def test_scores_come_back_as_they_were_written(tmp_path):
    row = {"dataset": "ad", "dose": "none", "classifier": "resnet", "study": "paired", "fold": "0", "row": "mr", "repeat": 0}
    table = pd.DataFrame([row | {"subject": "01", "ill": 1, "score": 0.25}, row | {"subject": "02", "ill": 0, "score": 0.1}])
    write_scores(tmp_path / "scores.tsv", table)
    pd.testing.assert_frame_equal(read_scores([tmp_path / "scores.tsv"]), table[list(COLUMNS)])
    (tmp_path / "other.tsv").write_text("a\tb\n1\t2\n")
    with pytest.raises(InputError, match="is no table of scores"):
        read_scores([tmp_path / "other.tsv"])
    with pytest.raises(InputError, match="no such file"):
        read_scores([tmp_path / "none.tsv"])

"""Ranks, comparisons, fronts and likeness of orders, against what is known or counted by hand."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau

from petbench.errors import InputError
from petbench.evaluation import standings
from petbench.evaluation.standings import all_pairs, by_person, compare_pairs, front, likeness, ranks

PLACE = ("mni/drf4", "psnr", "standard_dose", "brain")


def long(values, copies=1):
    """A long table of {method: [a value a person]}, each person measured in some copies around it."""
    rows = [
        {"dataset": "mni", "dose": "drf4", "method": method, "subject": f"{person}r{copy}", "person": f"p{person}", "metric": "psnr"}
        | {"reference": "standard_dose", "region": "brain", "value": value + copy - (copies - 1) / 2}
        for method, people in values.items()
        for person, value in enumerate(people)
        for copy in range(copies)
    ]
    return pd.DataFrame(rows)


def frame(**values):
    return pd.DataFrame(values)


def test_values_are_of_people_whom_every_method_restored():
    table = long({"a": [30.0, 31.0, 32.0], "b": [29.0, math.inf, 28.0]}, copies=3)
    values = by_person(table, *PLACE)
    assert list(values) == ["a", "b"]
    assert values.loc["p0"].tolist() == [30.0, 29.0]
    assert list(values.index) == ["p0", "p2"]
    with pytest.raises(InputError, match="ssim against standard_dose in region brain is in no metrics"):
        by_person(table, "mni/drf4", "ssim", "standard_dose", "brain")
    with pytest.raises(InputError, match="nobody has psnr of every method"):
        by_person(long({"a": [30.0], "b": [math.nan]}), *PLACE)


def test_an_order_that_all_people_share_has_ranks_without_doubt():
    people = np.linspace(28, 32, 8)
    found = ranks(frame(worst=people - 2, best=people + 1, middle=people), "psnr")
    assert found == {"worst": (3, 3, 3), "best": (1, 1, 1), "middle": (2, 2, 2)}
    assert ranks(frame(low=people, high=people + 1), "nmse")["low"].place == 1  # less is better there
    assert ranks(frame(a=people * 0 + 1.3, b=people * 0 + 0.9), "contrast_recovery")["b"].place == 1  # one is best


def test_a_rank_is_as_unsure_as_the_people_make_it():
    """Two methods whose paired difference has mean m and spread s over n people change places in Phi(-m sqrt(n) / s) of samples."""
    rng = np.random.default_rng(0)
    difference = rng.standard_normal(40)
    difference = (difference - difference.mean()) / difference.std()
    base = rng.standard_normal(40)
    for shift, high in ((0.1, 2), (1.0, 1)):
        found = ranks(frame(first=base + difference + shift, second=base), "psnr")
        assert (found["first"].place, found["first"].low, found["first"].high) == (1, 1, high)
    sampled = standings._sampled_means(np.stack([base + difference + 0.1, base], axis=1), seed=0)
    from scipy.stats import norm

    assert (sampled[:, 0] < sampled[:, 1]).mean() == pytest.approx(norm.cdf(-0.1 * math.sqrt(40)), abs=0.02)


def test_few_people_have_ranks_without_intervals():
    found = ranks(frame(a=[1.0, 2, 3], b=[2.0, 3, 4]), "psnr")
    assert found["b"].place == 1
    assert math.isnan(found["b"].low)
    (pair,) = all_pairs(frame(a=[1.0, 2, 3], b=[2.0, 3, 5]), "psnr").values()
    assert pair.p is None
    assert pair.verdict.startswith("undecided")


def test_equal_methods_share_a_rank():
    people = np.linspace(28, 32, 8)
    found = ranks(frame(a=people, b=people, c=people - 1), "psnr")
    assert (found["a"].place, found["b"].place, found["c"].place) == (1.5, 1.5, 3)


def test_claims_are_held_reversed_or_undecided():
    rng = np.random.default_rng(1)
    base = rng.normal(30, 2, 12)
    noise = rng.normal(0, 0.1, 12)
    values = frame(a=base + 1 + noise, b=base, c=base + rng.normal(0, 0.5, 12))
    found = compare_pairs(values, "psnr", [("a", "b"), ("b", "a"), ("c", "b")])
    assert [found[pair].verdict for pair in found] == ["held", "reversed", "undecided"]
    first = found["a", "b"]
    assert first.low < 1 < first.high
    assert first.difference == pytest.approx(1 + noise.mean())
    assert first.p == pytest.approx(min(1, 3 * compare_pairs(values, "psnr", [("a", "b")])["a", "b"].p), rel=1e-6)  # three were asked
    assert compare_pairs(values, "nmse", [("a", "b")])["a", "b"].verdict == "reversed"
    with pytest.raises(InputError, match="nobody has no values"):
        compare_pairs(values, "psnr", [("a", "nobody")])


def test_the_front_is_what_nothing_beats():
    rng = np.random.default_rng(2)
    quality = dict(zip("abcdefgh", rng.random(8), strict=True))
    cost = dict(zip("abcdefgh", rng.random(8), strict=True))
    beaten = {one for one, two in itertools.permutations(quality, 2) if quality[two] >= quality[one] and cost[two] <= cost[one]}
    assert front(quality, cost) == sorted(set(quality) - beaten, key=cost.get)
    assert front({"a": 1.0, "b": 2.0}, {"a": 1.0, "b": math.nan}) == ["a"]


def test_likeness_is_kendalls_tau_of_methods_that_both_have():
    rng = np.random.default_rng(3)
    values = pd.DataFrame(rng.normal(30, 1, (8, 5)) + np.arange(5) * 0.3, columns=list("abcde"))
    printed = {"a": 1.0, "b": 3.0, "c": 2.0, "d": 4.0, "x": 9.0}
    found = likeness(values, "psnr", printed)
    wanted = kendalltau(values[list("abcd")].mean(), [1, 3, 2, 4]).statistic
    assert (found.tau, found.methods) == (pytest.approx(wanted), 4)
    assert found.low <= found.tau <= found.high
    sampled = standings._sampled_means(values[list("abcd")].to_numpy(), seed=0)[:50]
    by_hand = [kendalltau(row, [1, 3, 2, 4]).statistic for row in sampled]
    np.testing.assert_allclose(standings._tau_b(sampled, np.array([1.0, 3, 2, 4])), by_hand)
    assert likeness(values, "nmse", printed).tau == pytest.approx(wanted)  # both turned round
    assert math.isnan(likeness(values, "psnr", {"a": 1.0, "b": 2.0}).tau)

"""How sure an order of methods is: ranks with their uncertainty, what beats what, who is on the front, and how alike two orders are.

The unit is the person: copies of a phantom are averaged first, and only people whom every method restored are counted.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.evaluation.definitions import DEFINITIONS
from petbench.evaluation.statistics import MIN_SUBJECTS, holm, mean_interval, paired_test

if TYPE_CHECKING:
    from pandas import DataFrame

Doubles = NDArray[np.float64]

SAMPLES = 10_000
"""Samples of people, with replacement, behind an interval of ranks or of tau."""
LEVEL = 0.95


class Rank(NamedTuple):
    """A method's place, 1 the best, and the least and greatest that 95 % of samples of people give it; NaN below `MIN_SUBJECTS` people."""

    place: float
    low: float
    high: float


class Likeness(NamedTuple):
    """Kendall's tau-b of two orders, its 95 % interval over samples of people, and how many methods both have."""

    tau: float
    low: float
    high: float
    methods: int


@dataclass(frozen=True)
class Comparison:
    """One method against another on the same people.

    Attributes:
        difference: Mean of the first minus the second, in the metric's own unit.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: Two-tailed p, corrected together with whatever was asked beside it; None where nothing is tested.
        n: People.
        better: Whether the mean difference is on the first method's side.
    """

    difference: float
    low: float
    high: float
    p: float | None
    n: int
    better: bool

    @property
    def verdict(self) -> str:
        """`held` where the first method is better and the test says so, `reversed` where the second is, else `undecided`."""
        if self.p is None:
            return f"undecided: fewer than {MIN_SUBJECTS} people, or nothing to test" if self.n < MIN_SUBJECTS else "undecided"
        if self.p >= 1 - LEVEL:
            return "undecided"
        return "held" if self.better else "reversed"


def by_person(metrics: "DataFrame", place: str, metric: str, reference: str, region: str) -> "DataFrame":
    """Values of one metric, a row a person and a column a method; people that lack a value of some method are left out.

    Args:
        metrics: Long table, see `petbench.evaluation.table`.
        place: Data set and dose, as `mni/drf4`.
        metric: Name of the metric.
        reference: `standard_dose` or `true_activity`.
        region: Region measured.

    Raises:
        InputError: there is no such value, or nobody has one of every method.
    """
    at_place = metrics["dataset"] + "/" + metrics["dose"] == place
    chosen = metrics[at_place & (metrics["metric"] == metric) & (metrics["reference"] == reference) & (metrics["region"] == region)]
    finite = chosen[np.isfinite(chosen["value"])]
    if finite.empty:
        raise InputError(f"{place}: {metric} against {reference} in region {region} is in no metrics.tsv; evaluate it.")
    wide = finite.groupby(["person", "method"], sort=False)["value"].mean().unstack("method")
    complete: DataFrame = wide.reindex(columns=list(dict.fromkeys(chosen["method"]))).dropna()
    if complete.empty:
        raise InputError(f"{place}: nobody has {metric} of every method; evaluate all methods on the same people.")
    return complete


def goodness(values: "DataFrame", metric: str) -> Doubles:
    """Values as numbers of which more is better: of a metric with a target the distance from it, negative."""
    better = DEFINITIONS[metric].better
    plain: Doubles = values.to_numpy(dtype=np.float64)
    if better == "none":
        raise InputError(f"standings: metric {metric!r} has no better side; rank by one that has.")
    target = {"zero": 0.0, "one": 1.0}.get(better)
    if target is not None:
        return -np.abs(plain - target)
    return plain if better == "higher" else -plain


def ranks(values: "DataFrame", metric: str, seed: int = 0) -> dict[str, Rank]:
    """Each method's rank by its mean over people, with the interval of its ranks over samples of people (bootstrap).

    Equal means share the middle of their places.
    """
    good = goodness(values, metric)
    places = _places(good.mean(axis=0))
    if len(values) < MIN_SUBJECTS:
        return {method: Rank(place, math.nan, math.nan) for method, place in zip(_methods(values), places, strict=True)}
    sampled = np.array([_places(means) for means in _sampled_means(good, seed)])
    low, high = np.percentile(sampled, [50 * (1 - LEVEL), 50 * (1 + LEVEL)], axis=0, method="nearest")
    return {method: Rank(*three) for method, three in zip(_methods(values), zip(places, low, high, strict=True), strict=True)}


def compare_pairs(values: "DataFrame", metric: str, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Comparison]:
    """Paired tests of pairs of methods, Holm-corrected together; see `petbench.evaluation.statistics.paired_test`.

    Raises:
        InputError: a method is not among the values.
    """
    for method in dict.fromkeys(name for pair in pairs for name in pair):
        if method not in values:
            raise InputError(f"standings: {method} has no values; evaluate it, or leave it out.")
    good = dict(zip(_methods(values), goodness(values, metric).T, strict=True))
    tests = {pair: paired_test(good[pair[0]], good[pair[1]]) for pair in pairs}
    corrected = dict(zip(tests, holm([test.p for test in tests.values()]), strict=True))
    found = {}
    for pair, test in tests.items():
        interval = mean_interval(values[pair[0]].to_numpy() - values[pair[1]].to_numpy())
        found[pair] = Comparison(interval.mean, interval.low, interval.high, corrected[pair], test.n, test.difference > 0)
    return found


def all_pairs(values: "DataFrame", metric: str) -> dict[tuple[str, str], Comparison]:
    """Every method against every other, each pair once, in the order of the columns."""
    methods = _methods(values)
    return compare_pairs(values, metric, [(one, two) for number, one in enumerate(methods) for two in methods[number + 1 :]])


def front(quality: Mapping[str, float], cost: Mapping[str, float]) -> list[str]:
    """Methods that no other one beats in quality at no more cost, the cheapest first; those without a cost are left out.

    Args:
        quality: More is better.
        cost: Less is better.
    """
    known = [method for method in quality if method in cost and not math.isnan(cost[method]) and not math.isnan(quality[method])]
    best, found = -math.inf, []
    for method in sorted(known, key=lambda name: (cost[name], -quality[name])):
        if quality[method] > best:
            best = quality[method]
            found.append(method)
    return found


def likeness(values: "DataFrame", metric: str, printed: Mapping[str, float], seed: int = 0) -> Likeness:
    """How alike our order is to a printed one: Kendall's tau-b over the methods that both have, with its interval over samples of people.

    The interval says how our people move our order; the paper's own uncertainty is not in it.

    Args:
        values: Of `by_person`.
        metric: Its name.
        printed: The paper's number by method, of the same metric.
    """
    from scipy.stats import kendalltau

    both = [method for method in _methods(values) if method in printed and not math.isnan(printed[method])]
    if len(both) < 3:
        return Likeness(math.nan, math.nan, math.nan, len(both))
    import pandas

    good = goodness(values[both], metric)
    theirs = goodness(pandas.DataFrame([[printed[method] for method in both]]), metric)[0]
    tau = float(kendalltau(good.mean(axis=0), theirs).statistic)
    if len(values) < MIN_SUBJECTS:
        return Likeness(tau, math.nan, math.nan, len(both))
    sampled = _tau_b(_sampled_means(good, seed), theirs)
    low, high = np.nanpercentile(sampled, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Likeness(tau, float(low), float(high), len(both))


def _methods(values: "DataFrame") -> list[str]:
    return [str(method) for method in values]


def _sampled_means(good: Doubles, seed: int) -> Doubles:
    """Means over samples of people, (samples, methods)."""
    people = np.random.default_rng(seed).multinomial(len(good), np.full(len(good), 1 / len(good)), size=SAMPLES)
    sampled: Doubles = people @ good / len(good)
    return sampled


def _places(good: Doubles) -> Doubles:
    """Places from the best, 1, on; equals share the middle of theirs."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(-good), dtype=np.float64)


def _tau_b(samples: Doubles, theirs: Doubles) -> Doubles:
    """Kendall's tau-b of each row with one order, NaN where a row does not vary."""
    one, two = np.triu_indices(theirs.size, k=1)
    ours, printed = np.sign(samples[:, one] - samples[:, two]), np.sign(theirs[one] - theirs[two])
    with np.errstate(invalid="ignore", divide="ignore"):
        tau: Doubles = (ours @ printed) / np.sqrt((ours != 0).sum(axis=1) * (printed != 0).sum())
    return tau

"""Statistics on subjects: means with confidence intervals, and paired tests against the comparators of a table.

The unit is the person, never the slice: slices of one subject are not independent, so a p-value over them has no meaning beyond
description, and none is computed here. Nor are rotated copies of one phantom: they are averaged first, and count as one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from petbench.errors import InputError
from petbench.evaluation.definitions import DEFINITIONS

if TYPE_CHECKING:
    import pandas as pd

MIN_SUBJECTS = 6
"""Below this many subjects a paired test is neither made nor marked."""

GROUP = ["dataset", "dose", "method"]


@dataclass(frozen=True)
class Interval:
    """A mean and its t-based confidence interval; `sd` and the limits are NaN for a single value."""

    mean: float
    sd: float
    low: float
    high: float
    n: int


_NO_INTERVAL = Interval(math.nan, math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True)
class PairedTest:
    """A paired two-tailed t-test; `t` and `p` are None where the test cannot be made.

    Attributes:
        difference: Mean of first minus second.
        t: T statistic.
        p: Two-tailed p-value.
        n: Number of pairs.
    """

    difference: float
    t: float | None
    p: float | None
    n: int


def mean_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Mean, standard deviation (n - 1) and confidence interval of the mean, from Student's t.

    Raises:
        InputError: there is no value.
    """
    from scipy import stats

    sample = np.asarray(values, dtype=np.float64)
    n = sample.size
    if n == 0:
        raise InputError("values: there is none to average; evaluate at least one subject.")
    mean = float(np.mean(sample))
    if n == 1:
        return Interval(mean, math.nan, math.nan, math.nan, 1)
    sd = float(np.std(sample, ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * sd / n**0.5
    return Interval(mean, sd, mean - half, mean + half, n)


def paired_test(first: ArrayLike, second: ArrayLike) -> PairedTest:
    """Paired two-tailed t-test of two methods on the same subjects.

    Fewer than `MIN_SUBJECTS` pairs give no p-value. Pairs that are all equal give t = 0, p = 1. Pairs that all differ by one and
    the same amount have no variance to judge it by: no p-value either, rather than a p of zero.

    Raises:
        InputError: lengths differ, there is no pair, or a value is not finite.
    """
    from scipy import stats

    one, two = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if one.shape != two.shape or one.ndim != 1 or one.size == 0:
        raise InputError(f"paired test: {one.size} and {two.size} values are no pairs; give one value a subject for both methods.")
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise InputError("paired test: a value is NaN or infinite; leave that subject out for both methods.")
    differences = one - two
    n, mean = differences.size, float(np.mean(differences))
    if n < MIN_SUBJECTS:
        return PairedTest(mean, None, None, n)
    if not differences.any():
        return PairedTest(0.0, 0.0, 1.0, n)
    # Rounding leaves equal differences a spread of this order.
    if np.std(differences) <= 1e-12 * max(np.abs(one).max(), np.abs(two).max()):
        return PairedTest(mean, None, None, n)
    result = stats.ttest_rel(one, two)
    return PairedTest(mean, float(result.statistic), float(result.pvalue), n)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjusted p-values (Holm 1979), in the order given; None marks a test not made and counts for nothing."""
    made = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, position) in enumerate(made):
        largest = max(largest, min(1.0, (len(made) - rank) * p))
        adjusted[position] = largest
    return adjusted


def summarise(
    table: "pd.DataFrame", metric: str, reference: str = "standard_dose", region: str = "brain", level: float = 0.95
) -> "pd.DataFrame":
    """Mean over people of one metric, a row a dataset, dose and method; copies of one phantom are averaged before.

    Args:
        table: Long table, see `petbench.evaluation.table`.
        metric: Name of the metric.
        reference: `standard_dose` or `true_activity`; "n/a" for costs.
        region: Region measured; "n/a" for costs.
        level: Confidence level of the interval.

    Returns:
        Columns dataset, dose, method, mean, sd, ci_low, ci_high, n (people), left_out. Values that are not finite (a lesion mean without a
        lesion, the PSNR of equal images) are left out and counted; with none left the numbers are NaN and n is 0.

    Raises:
        InputError: nothing in the table matches, or a subject has two values.
    """
    import pandas as pd

    rows = []
    for keys, values in _values(table, metric, reference, region).groupby(GROUP, sort=False):
        finite = values[np.isfinite(values["value"])]
        interval = mean_interval(finite.groupby("unit")["value"].mean(), level) if len(finite) else _NO_INTERVAL
        rows.append((*keys, interval.mean, interval.sd, interval.low, interval.high, interval.n, len(values) - len(finite)))
    return pd.DataFrame(rows, columns=[*GROUP, "mean", "sd", "ci_low", "ci_high", "n", "left_out"])


def compare(
    table: "pd.DataFrame",
    metrics: Sequence[str],
    proposed: str,
    reference: str = "standard_dose",
    region: str = "brain",
    alpha: float = 0.05,
) -> "pd.DataFrame":
    """Test every comparator of a table against the proposed method, on the subjects both have, copies of a phantom averaged.

    The p-values of the whole table (all datasets, doses, metrics and comparators in it) are Holm-corrected together. A table whose columns
    differ in region is tested by `uncorrected`, column by column, and its tests are then corrected together by `corrected`.

    Args:
        table: Long table that holds the rows of one printed table.
        metrics: Metrics that are marked in it.
        proposed: The method the others are tested against.
        reference: `standard_dose` or `true_activity`.
        region: Region measured.
        alpha: Level of the mark.

    Returns:
        One row a dataset, dose, metric and comparator with columns dataset, dose, method, metric, difference (mean of comparator minus
        proposed; of the distances from 0 or 1 for metrics that have a target), ci_low, ci_high (95 %, of the difference), t, p, p_holm,
        n, worse, mark. `worse` says whether the comparator's mean is on the bad side of the proposed method's; `mark` is "*" where it is
        and p_holm < alpha, as MAK-GAN's table 1 marks PSNR. Tests that cannot be made have NaN and no mark.

    Raises:
        InputError: the proposed method is not in the table, or no metric matches, or a metric has no direction.
    """
    return corrected(uncorrected(table, metrics, proposed, reference, region), alpha)


def uncorrected(table: "pd.DataFrame", metrics: Sequence[str], proposed: str, reference: str, region: str) -> list[dict[str, Any]]:
    """The tests of `compare` before their correction, one a dataset, dose, metric and comparator; arguments and errors are its."""
    if proposed not in set(table["method"]):
        raise InputError(f"compare: method {proposed!r} is not in the table; evaluate it first.")
    rows: list[dict[str, Any]] = []
    for metric in metrics:
        better = DEFINITIONS[metric].better if metric in DEFINITIONS else "none"
        if better == "none":
            raise InputError(f"compare: metric {metric!r} has no better side; test a metric that has one.")
        values = _values(table, metric, reference, region)
        for (dataset, dose), group in values.groupby(["dataset", "dose"], sort=False):
            by_method = group.pivot(index=["unit", "subject"], columns="method", values="value")
            by_method = _score(by_method.where(np.isfinite(by_method)), better)
            for method in group["method"].drop_duplicates():
                if method == proposed or proposed not in by_method:
                    continue
                pairs = by_method[[method, proposed]].dropna().groupby("unit").mean()
                rows.append(
                    {
                        "dataset": dataset,
                        "dose": dose,
                        "method": method,
                        "metric": metric,
                        **_tested(pairs[method], pairs[proposed], better),
                    }
                )
    return rows


def corrected(tests: Sequence[Mapping[str, Any]], alpha: float = 0.05) -> "pd.DataFrame":
    """All tests of one printed table, Holm-corrected together and marked; see `compare`.

    Args:
        tests: Those of `uncorrected`; keys of their own are kept.
        alpha: Level of the mark.
    """
    import pandas as pd

    rows = [dict(test) for test in tests]
    for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = adjusted
        row["mark"] = "*" if adjusted is not None and adjusted < alpha and row["worse"] else ""
    columns = ["dataset", "dose", "method", "metric", "difference", "ci_low", "ci_high", "t", "p", "p_holm", "n", "worse", "mark"]
    own = [name for name in (rows[0] if rows else {}) if name not in columns]
    return pd.DataFrame(rows, columns=[*columns, *own]).astype({"t": float, "p": float, "p_holm": float})


def _tested(comparator: "pd.Series[float]", proposed: "pd.Series[float]", better: str) -> dict[str, Any]:
    if comparator.empty:
        test, interval = PairedTest(math.nan, None, None, 0), _NO_INTERVAL
    else:
        test, interval = paired_test(comparator, proposed), mean_interval(comparator - proposed)
    worse = test.difference < 0 if better == "higher" else test.difference > 0
    return {
        "difference": test.difference,
        "ci_low": interval.low,
        "ci_high": interval.high,
        "t": test.t,
        "p": test.p,
        "n": test.n,
        "worse": worse,
    }


def _values(table: "pd.DataFrame", metric: str, reference: str, region: str) -> "pd.DataFrame":
    chosen = table[(table["metric"] == metric) & (table["reference"] == reference) & (table["region"] == region)]
    if chosen.empty:
        raise InputError(f"metric {metric!r} against {reference!r} in {region!r} is not in the table; choose one that was evaluated.")
    # A training is measured once a fold, whomever it is for.
    row, unit = ("subject", "person") if (chosen["subject"] != "n/a").any() else ("fold", "fold")
    repeated = chosen[chosen.duplicated([*GROUP, row])]
    if not repeated.empty:
        first = repeated.iloc[0]
        raise InputError(f"table: {metric} of {first['method']} has two values for {row} {first[row]}; give each metrics.tsv once.")
    return chosen.assign(unit=chosen[unit])


def _score(values: "pd.DataFrame", better: str) -> "pd.DataFrame":
    # A bias of -0.2 is as bad as one of 0.2: what is compared is the distance from the target.
    target = {"zero": 0.0, "one": 1.0}.get(better)
    return values if target is None else (values - target).abs()

"""How well two groups of people are told apart: the table of scores, what is computed from it, and intervals over people."""

from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from petbench.errors import InputError
from petbench.files import atomic

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("dataset", "dose", "classifier", "study", "fold", "row", "repeat", "subject", "ill", "score")
"""A row a subject, row of the table and repeat: `ill` is 1 for patients, `score` the classifier's probability of it."""

THRESHOLD = 0.5
LEVEL = 0.95


def write_scores(path: str | Path, scores: "pd.DataFrame") -> None:
    """Write scores as TSV, atomically."""
    with atomic(path) as temporary:
        scores.to_csv(temporary, columns=list(COLUMNS), sep="\t", index=False)


def read_scores(paths: Iterable[str | Path]) -> "pd.DataFrame":
    """Read tables of scores into one.

    Raises:
        InputError: a file is missing or is no table of scores, or there is none.
    """
    import pandas as pd

    kinds: dict[Hashable, type] = {**dict.fromkeys(COLUMNS, str), "repeat": int, "ill": int, "score": float}
    tables = []
    for path in paths:
        try:
            tables.append(pd.read_csv(path, sep="\t", dtype=kinds, keep_default_na=False)[list(COLUMNS)])
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; check the path.") from None
        except (KeyError, ValueError) as error:
            raise InputError(f"{path}: is no table of scores ({error}); classify again.") from None
    if not tables:
        raise InputError("scores: no table was given; name at least one scores.tsv.")
    return pd.concat(tables, ignore_index=True)


def auc(ill: ArrayLike, scores: ArrayLike) -> float:
    """Probability that a patient scores higher than a control, ties counted half (Mann and Whitney); NaN with one group alone."""
    from scipy.stats import rankdata

    positive = np.asarray(ill, dtype=bool)
    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        return float("nan")
    return float((rankdata(scores)[positive].sum() - count * (count + 1) / 2) / (count * others))


def roc(ill: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False and true positive rate at each threshold, from (0, 0) to (1, 1); equal scores make one step.

    Raises:
        InputError: there is one group alone.
    """
    positive, values = np.asarray(ill, dtype=bool), np.asarray(scores, dtype=np.float64)
    if positive.all() or not positive.any():
        raise InputError("roc: one group alone has no curve; test patients and controls.")
    order = np.argsort(-values, kind="stable")
    last = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    true, false = np.cumsum(positive[order])[last], np.cumsum(~positive[order])[last]
    return np.append(0.0, false / false[-1]), np.append(0.0, true / true[-1])


def mean_roc(ill: ArrayLike, scores: Sequence[ArrayLike]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The ROC curves of several sets of scores of the same people, averaged at each false positive rate.

    The area below it is the mean of their areas: between the shares that controls can make, every curve is straight.

    Args:
        ill: 1 for patients, (n,).
        scores: Several sets of scores, (k, n).

    Returns:
        False and true positive rate, as of `roc`, with both ends of each step upwards.

    Raises:
        InputError: there is one group alone.
    """
    curves = [roc(ill, values) for values in scores]
    controls = int((~np.asarray(ill, dtype=bool)).sum())
    places = np.arange(controls + 1) / controls
    ends = []
    for side in ("left", "right"):
        reached = []
        for false, true in curves:
            # Where a curve has no corner at a place it is straight there; where it has several it steps up.
            first, last = np.searchsorted(false, places, "left"), np.searchsorted(false, places, "right") - 1
            corner = first if side == "left" else last
            reached.append(np.where(first <= last, true[corner], np.interp(places, false, true)))
        ends.append(np.mean(reached, axis=0))
    return np.repeat(places, 2), np.stack(ends, axis=1).ravel()


def told_apart(ill: ArrayLike, scores: ArrayLike) -> dict[str, float]:
    """Accuracy, precision, specificity, sensitivity and F1 at a score of one half, and AUC; NaN where a ratio has no denominator.

    Args:
        ill: 1 for patients, 0 for controls, (n,).
        scores: Probability of being ill, (n,).
    """
    positive, called = np.asarray(ill, dtype=bool), np.asarray(scores) > THRESHOLD
    hits, alarms = int((positive & called).sum()), int((~positive & called).sum())
    missed, spared = int((positive & ~called).sum()), int((~positive & ~called).sum())

    def share(part: float, whole: float) -> float:
        return part / whole if whole else float("nan")

    return {
        "accuracy": share(hits + spared, positive.size),
        "precision": share(hits, hits + alarms),
        "specificity": share(spared, spared + alarms),
        "sensitivity": share(hits, hits + missed),
        "f1": share(2 * hits, 2 * hits + alarms + missed),
        "auc": auc(positive, scores),
    }


def bootstrap_auc(ill: ArrayLike, scores: Sequence[ArrayLike], resamplings: int, seed: int = 0) -> NDArray[np.float64]:
    """AUCs of several scores of the same people under resampling of patients and of controls, each by itself.

    Args:
        ill: 1 for patients, (n,).
        scores: Several sets of scores, (k, n).
        resamplings: How often.
        seed: Of the resampling.

    Returns:
        (resamplings, k); a row's people are the same for all scores, so that differences are paired.

    Raises:
        InputError: there is one group alone.
    """
    positive = np.asarray(ill, dtype=bool)
    patients, controls = np.flatnonzero(positive), np.flatnonzero(~positive)
    if not len(patients) or not len(controls):
        raise InputError("bootstrap: one group alone has no AUC; test patients and controls.")
    values = np.asarray(scores, dtype=np.float64)
    rng = np.random.default_rng(seed)
    # How a patient's score compares with a control's: the AUC is the mean over resampled pairs.
    wins = (values[:, patients, None] > values[:, None, controls]) + 0.5 * (values[:, patients, None] == values[:, None, controls])
    drawn = np.empty((resamplings, len(values)))
    for number in range(resamplings):
        weights = np.bincount(rng.integers(len(patients), size=len(patients)), minlength=len(patients))
        others = np.bincount(rng.integers(len(controls), size=len(controls)), minlength=len(controls))
        drawn[number] = weights @ wins @ others / (len(patients) * len(controls))
    return drawn


def interval(drawn: NDArray[np.float64]) -> tuple[float, float]:
    """Ends of the central 95 % of bootstrapped values."""
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)

"""What the page says beside the experiments: the scale, quantification against the truth, cost, and scalings that leak."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from petbench.evaluation.definitions import COSTS, DEFINITIONS, Metric
from petbench.evaluation.statistics import mean_interval

if TYPE_CHECKING:
    from pandas import DataFrame

QUANTIFICATION = ("bias", "recovery", "contrast_recovery")


@dataclass(frozen=True)
class Summary:
    """A plain table of means: `rows` are a method's title and, for each heading, mean, SD and n."""

    label: str
    headings: tuple[tuple[Metric, str], ...]
    rows: tuple[tuple[str, tuple[tuple[float, float, int], ...]], ...]


def scale_facts(entries: Mapping[str, Any], metrics: "DataFrame") -> dict[str, list[dict[str, str]]]:
    """What was run: a row a data set (name, source, subjects, doses, folds) and a row a trained method (title, steps or epochs)."""
    datasets, methods = [], []
    for name, entry in entries["datasets"].items():
        subjects = entry.get("subjects", "")
        folds = metrics.loc[(metrics["dataset"] == name) & (metrics["fold"] != "n/a"), "fold"]
        datasets.append(
            {
                "name": name,
                "title": str(entry.get("title", name)),
                "source": str(entry.get("source", "")),
                "subjects": str(len(subjects) if isinstance(subjects, list | tuple) else subjects),
                "doses": ", ".join(entry.get("doses", {})),
                "folds": str(folds.nunique()),
            }
        )
    for name, entry in entries["methods"].items():
        for unit in ("steps", "epochs"):
            if unit in entry.get("train", {}):
                methods.append({"title": str(entry.get("title", name)), "length": f"{entry['train'][unit]:,} {unit}"})
    return {"datasets": datasets, "methods": methods}


def leaking_datasets(datasets: Mapping[str, Any]) -> list[str]:
    """Data sets whose images are each scaled to their own range, so that the reference's scale reaches the method."""
    return [name for name, entry in datasets.items() if entry.get("preprocess", {}).get("scaling", {}).get("mode") == "own_range"]


def quantification(metrics: "DataFrame", titles: Mapping[str, str]) -> list[Summary]:
    """Regional bias and lesion recovery against the true activity, one table a data set and dose."""
    # A subject's mean over its lesions is what subjects can be compared by; single lesions stay in the metrics tables.
    chosen = metrics[metrics["metric"].isin(QUANTIFICATION) & ~metrics["region"].str.startswith("lesion-")]
    return _summaries(chosen, QUANTIFICATION, titles)


def costs(metrics: "DataFrame", titles: Mapping[str, str]) -> list[Summary]:
    """What each method costs to train and to restore with, one table a data set and dose."""
    return _summaries(metrics[metrics["metric"].isin(COSTS)], COSTS, titles)


def _summaries(metrics: "DataFrame", names: Sequence[str], titles: Mapping[str, str]) -> list[Summary]:
    summaries = []
    for (dataset, dose), group in metrics.groupby(["dataset", "dose"], sort=False):
        headings = [(DEFINITIONS[name], region) for name in names for region in dict.fromkeys(group.loc[group["metric"] == name, "region"])]
        rows = []
        for method in dict.fromkeys(group["method"]):
            own = group[group["method"] == method]
            cells = []
            for metric, region in headings:
                values = own.loc[(own["metric"] == metric.name) & (own["region"] == region), "value"].astype(float).dropna()
                cells.append(_mean(values.tolist()))
            rows.append((titles.get(method, method), tuple(cells)))
        shown = tuple((metric, "" if region in ("n/a", "none", "whole") else region.replace("_", " ")) for metric, region in headings)
        summaries.append(Summary(f"{dataset}, {dose}", shown, tuple(rows)))
    return summaries


def _mean(values: Sequence[float]) -> tuple[float, float, int]:
    if not values:
        return math.nan, math.nan, 0
    if min(values) == max(values):  # the size of a network, say, of which a spread says nothing
        return values[0], math.nan, len(values)
    interval = mean_interval(values)
    return interval.mean, interval.sd, interval.n

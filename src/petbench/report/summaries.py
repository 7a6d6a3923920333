"""What the page says beside the experiments: the scale, quantification against the truth, and cost, device by device."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from petbench.evaluation.definitions import COSTS, DEFINITIONS, OF_TRAINING, Metric
from petbench.evaluation.statistics import mean_interval

if TYPE_CHECKING:
    from pandas import DataFrame

Devices = Mapping[tuple[str, str, str, str], str]

PLACE = ("dataset", "dose")
QUANTIFICATION = ("bias", "recovery", "contrast_recovery", "false_contrast")


@dataclass(frozen=True)
class Summary:
    """A plain table of means: `rows` are a method's title and, for each heading, mean, SD and n."""

    label: str
    headings: tuple[tuple[Metric, str], ...]
    rows: tuple[tuple[str, tuple[tuple[float, float, int], ...]], ...]


def scale_facts(entries: Mapping[str, Any], metrics: "DataFrame") -> dict[str, list[dict[str, str]]]:
    """What was run: a row a data set (name, source, subjects, doses, folds), a training (title, steps or epochs), and a simulation."""
    datasets, methods = [], []
    for name, entry in entries["datasets"].items():
        subjects, phantoms = entry.get("subjects", ""), {copy["phantom"] for copy in entry.get("phantoms", {}).values()}
        own = metrics[metrics["dataset"] == name]
        doses = [dose for dose in entry.get("doses", {}) if dose in set(own["dose"])]
        datasets.append(
            {
                "name": name,
                "title": str(entry.get("title", name)),
                "source": str(entry.get("source", "")),
                "subjects": str(len(subjects) if isinstance(subjects, list | tuple) else subjects)
                + (f" (copies of {len(phantoms)} phantoms)" if phantoms else "")
                + (f" and {len(entry['mr_only'])} with MR only" if entry.get("mr_only") else ""),
                "doses": ", ".join(doses) or "none",
                "folds": str(own.loc[own["fold"] != "n/a", "fold"].nunique()),
            }
        )
    for name, entry in entries["methods"].items():
        for unit in ("steps", "epochs"):
            if unit in entry.get("train", {}):
                methods.append({"title": str(entry.get("title", name)), "length": f"{entry['train'][unit]:,} {unit}"})
    for entry in entries.get("predictors", {}).values():
        for unit in ("steps", "epochs"):
            if unit in entry["train"]:
                methods.append({"title": str(entry["title"]), "length": f"{entry['train'][unit]:,} {unit}"})
    return {"datasets": datasets, "methods": methods, "monte_carlo": _monte_carlo(entries)}


def _monte_carlo(entries: Mapping[str, Any]) -> list[dict[str, str]]:
    """A row a simulation with GATE: what positrons were started in, how many, and with which of Geant4's data."""
    rows = []
    for entry in entries.get("psf_sets", {}).values():
        groups = [f"{group['count']} random" if "count" in group else str(group["kind"]) for group in entry["media"]]
        rows.append({"title": str(entry["title"]), "where": " + ".join(groups) + " media", "each": "a medium", **_gate(entry["gate"])})
    for entry in entries.get("torsos", {}).values():
        rows.append({"title": str(entry["title"]), "where": "its activity", "each": "in all", **_gate(entry["gate"])})
    return rows


def _gate(gate: Mapping[str, Any]) -> dict[str, str]:
    return {"isotope": str(gate["isotope"]), "positrons": f"{gate['positrons']:,}", "data": str(gate.get("data", "embedded"))}


def quantification(metrics: "DataFrame", titles: Mapping[str, str], datasets: Mapping[str, str]) -> list[Summary]:
    """Regional bias and lesion recovery against the true activity, one table a data set and dose; titles of methods and data sets."""
    # A subject's mean over its lesions is what subjects can be compared by; single lesions stay in the metrics tables.
    chosen = metrics[metrics["metric"].isin(QUANTIFICATION) & ~metrics["region"].str.startswith("lesion-")]
    # Copies of one phantom are not independent: they count as one.
    chosen = chosen.groupby([*PLACE, "method", "region", "metric", "person"], sort=False)["value"].mean().reset_index()
    summaries = []
    for place, group in chosen.groupby(list(PLACE), sort=False):
        rows = [(titles.get(str(method), str(method)), own) for method, own in group.groupby("method", sort=False)]
        summaries.append(_summary(_place(datasets, place), rows, QUANTIFICATION))
    return summaries


def costs(
    metrics: "DataFrame", titles: Mapping[str, str], datasets: Mapping[str, str], trained_on: Devices, restored_on: Devices
) -> list[Summary]:
    """What each method costs on each data set and dose, one table a kind of work and device: times on different devices are never averaged.

    Args:
        metrics: Long table.
        titles: Method entry name to title.
        datasets: Data set to title.
        trained_on: Device by data set, dose, method and fold.
        restored_on: Device by data set, dose, method and subject.
    """
    chosen = metrics[metrics["metric"].isin(COSTS)]
    training = chosen["metric"].isin(OF_TRAINING)
    made = {
        "Training": (chosen[training], "fold", trained_on, OF_TRAINING),
        "Restoring": (chosen[~training], "subject", restored_on, [name for name in COSTS if name not in OF_TRAINING]),
    }
    summaries = []
    for work, (rows, unit, made_on, names) in made.items():
        keys = rows[[*PLACE, "method", unit]].astype(str).itertuples(index=False, name=None)
        found = rows.assign(device=[made_on.get(key, "a device that was not recorded") for key in keys])
        for device, group in found.groupby("device", sort=False):
            several = [
                (f"{titles.get(str(method), str(method))} ({_place(datasets, place)})", own)
                for (*place, method), own in group.groupby([*PLACE, "method"], sort=False)
            ]
            summaries.append(_summary(f"{work} on {device}", several, names))
    return summaries


def devices(trained_on: Devices, restored_on: Devices) -> dict[str, list[str]]:
    """Each device once, by what it did: `trained` and `restored`."""
    return {"trained": sorted(set(trained_on.values())), "restored": sorted(set(restored_on.values()))}


def _place(datasets: Mapping[str, str], place: Sequence[Any]) -> str:
    """What a data set and dose are called."""
    dataset, dose = map(str, place)
    return f"{datasets.get(dataset, dataset)}, {dose}"


def _summary(label: str, rows: "Sequence[tuple[str, DataFrame]]", names: Sequence[str]) -> Summary:
    """A table of means of some metrics, in each region that a row, a title and its values, knows."""
    regions = {name: dict.fromkeys(region for _, own in rows for region in own.loc[own["metric"] == name, "region"]) for name in names}
    headings = [(DEFINITIONS[name], region) for name in names for region in regions[name]]
    cells = [
        tuple(
            _mean(own.loc[(own["metric"] == metric.name) & (own["region"] == region), "value"].astype(float).dropna().tolist())
            for metric, region in headings
        )
        for _, own in rows
    ]
    shown = tuple((metric, "" if region in ("n/a", "none", "whole") else region.replace("_", " ")) for metric, region in headings)
    return Summary(label, shown, tuple((title, own) for (title, _), own in zip(rows, cells, strict=True)))


def _mean(values: Sequence[float]) -> tuple[float, float, int]:
    if not values:
        return math.nan, math.nan, 0
    if min(values) == max(values):  # the size of a network, say, of which a spread says nothing
        return values[0], math.nan, len(values)
    interval = mean_interval(values)
    return interval.mean, interval.sd, interval.n

"""Tables of the experiments on positron range: distances to Monte Carlo, truncation, and the recovery of lesions."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from petbench.evaluation.definitions import Metric
from petbench.evaluation.statistics import mean_interval
from petbench.positron_range.long_tables import read_long_tables
from petbench.report.summaries import Summary

if TYPE_CHECKING:
    from pandas import DataFrame

Files = Mapping[str, Sequence[str]]
Cells = tuple[float, float, int]

METRICS = {
    metric.name: metric
    for metric in (
        Metric("l1", "l1", "Sum of absolute differences of two distributions, 0 to 2, mean over two runs of GATE.", "lower", ".3f"),
        Metric("kl", "KL", "Kullback-Leibler divergence KL(GATE || model), mean over two runs of GATE.", "lower", ".4f", "nats"),
        Metric(
            "l1_ratio",
            "l1 / floor",
            "l1 over the distance between the two runs of GATE; 1 is another run, 0.71 an exact model without noise.",
            "lower",
            ".2f",
        ),
        Metric(
            "kl_ratio",
            "KL / floor",
            "KL over the divergence between the two runs of GATE; 1 is another run, 0.5 an exact model without noise.",
            "lower",
            ".2f",
        ),
        Metric(
            "nrmse",
            "NRMSE",
            "Root of the mean squared error over the mean, free of the noise of GATE: from the product of the errors against two runs.",
            "zero",
            ".4f",
        ),
        Metric("mean_range_mm", "Mean range", "Mean distance from source to annihilation within the kernel.", "none", ".2f", "mm"),
        Metric("truncated_fraction", "Truncated", "Share of annihilations that lie beyond the kernel.", "none", ".4f"),
        Metric("recovery", "Recovery", "Mean of the lesion over its true mean.", "one", ".3f"),
        Metric("bias_percent", "Bias", "How far the recovery is from one.", "zero", "+.1f", "%"),
        Metric(
            "recovery_error",
            "Recovery error",
            "How far the recoveries of a lesion's parts by material are from one, weighted by voxels.",
            "lower",
            ".3f",
        ),
    )
}
STRATEGIES = {
    "none": "No correction",
    "svtd": "SVTD",
    "ddconv": "DDConv",
    "network": "DDConv, network alone",
    "fast": "Fast engine",
    "gate": "GATE",
    "activity": "Activity",
}
GROUPS = {
    "homogeneous": "homogeneous media",
    "geometric": "geometric phantoms",
    "random": "held-out random media",
    "official": "held-out random media, as its authors draw them",
}
TEXT = ("medium", "model", "quantity")


def range_tables(experiment: Mapping[str, Any], files: Files, titles: Mapping[str, str]) -> list[Summary]:
    """The tables of an experiment on positron range.

    Args:
        experiment: Resolved entry.
        files: Paths by kind, as `rules/positron_range.smk` names them: of `range_accuracy` `distances` (one a predictor),
            `torso_distances` and `truncation`; of `range_reconstruction` `summary`; of `range_scan` `sidecars`.
        titles: Predictor entry name to title.
    """
    kinds = {"range_accuracy": _accuracy, "range_reconstruction": _reconstruction, "range_scan": _scan}
    return kinds[experiment["kind"]](experiment, files, titles)


def notes(experiment: Mapping[str, Any]) -> str:
    """What the numbers of an experiment's tables are, for below them."""
    return {
        "range_accuracy": "Mean ± SD over media. A model is compared with two independent runs of GATE, neither of which it was made from.",
        "range_reconstruction": "Mean ± SD over noise realisations of one torso, whose annihilations they share.",
        "range_scan": "One scan; times are of the device named in its sidecar.",
    }[experiment["kind"]]


def _accuracy(experiment: Mapping[str, Any], files: Files, titles: Mapping[str, str]) -> list[Summary]:
    found = {titles[name]: read_long_tables([path], TEXT) for name, path in zip(experiment["predictors"], files["distances"], strict=True)}
    (first, own), *_ = found.items()
    torso = read_long_tables(files["torso_distances"], ("region", "model", "quantity"))
    truncation = read_long_tables(files["truncation"], ("medium", "quantity"))
    return [
        _by_group(found),
        _by_medium(own, "geometric-", f"Geometric phantoms ({first})", ("l1", "kl"), ("svtd", "ddconv")),
        _ranges(own, f"Mean range in homogeneous media ({first})"),
        _by_region(torso, f"The torso's activity, blurred ({first})"),
        _truncated(truncation),
    ]


def _by_group(found: "Mapping[str, DataFrame]") -> Summary:
    quantities = ("l1", "l1_ratio", "kl", "kl_ratio")
    kind_of = r"^(geometric|random|official)-"
    groups = {title: table["medium"].str.extract(kind_of)[0].fillna("homogeneous") for title, table in found.items()}
    kinds = [kind for kind in GROUPS if any((group == kind).any() for group in groups.values())]
    rows: dict[str, tuple[Cells, ...]] = {}
    for title, table in found.items():
        group = groups[title]
        for model, name in (("fast", STRATEGIES["fast"]), ("svtd", "SVTD"), ("ddconv", title), ("network", f"{title}, network alone")):
            own = table[table["model"] == model]
            if own.empty:  # an experiment need not run the fast engine
                continue
            cells = tuple(
                _mean(own.loc[(group[own.index] == kind) & (own["quantity"] == quantity), "value"])
                for kind in kinds
                for quantity in quantities
            )
            # SVTD and the fast engine are the same beside every predictor of one kernel size.
            if model not in ("svtd", "fast") or cells not in rows.values():
                rows[f"{name}, as wide as {title}" if name in rows else name] = cells
    headings = tuple((METRICS[quantity], label) for label in (GROUPS[kind] for kind in kinds) for quantity in quantities)
    return Summary("Kernels against GATE", headings, tuple(rows.items()))


def _by_medium(table: "DataFrame", prefix: str, label: str, quantities: Sequence[str], models: Sequence[str]) -> Summary:
    media = [medium for medium in dict.fromkeys(table["medium"]) if medium.startswith(prefix)]
    rows = tuple(
        (STRATEGIES[model], tuple(_one(table, medium=medium, model=model, quantity=name) for medium in media for name in quantities))
        for model in models
    )
    headings = tuple((METRICS[name], f"phantom {medium.removeprefix(prefix)}") for medium in media for name in quantities)
    return Summary(label, headings, rows)


def _ranges(table: "DataFrame", label: str) -> Summary:
    media = [medium for medium in dict.fromkeys(table["medium"]) if "-" not in medium]
    known = set(table["model"])
    rows = tuple(
        (STRATEGIES[model], tuple(_one(table, medium=medium, model=model, quantity="mean_range_mm") for medium in media))
        for model in ("gate", "fast", "svtd", "ddconv", "network")
        if model in known
    )
    return Summary(label, tuple((METRICS["mean_range_mm"], medium.replace("_", " ")) for medium in media), rows)


def _by_region(table: "DataFrame", label: str) -> Summary:
    quantities = ("l1", "l1_ratio", "nrmse")
    regions = list(dict.fromkeys(table["region"]))
    rows = tuple(
        (STRATEGIES[model], tuple(_one(table, region=region, model=model, quantity=name) for region in regions for name in quantities))
        for model in dict.fromkeys(table["model"])
    )
    return Summary(label, tuple((METRICS[name], region.replace("-", " ")) for region in regions for name in quantities), rows)


def _truncated(table: "DataFrame") -> Summary:
    sizes = sorted(set(table.loc[table["quantity"] == "truncated_fraction", "kernel_size"].astype(int)))
    rows = tuple(
        (
            str(medium).replace("_", " "),
            tuple(_one(table, medium=medium, kernel_size=size, quantity="truncated_fraction") for size in sizes),
        )
        for medium in dict.fromkeys(table["medium"])
    )
    return Summary("Annihilations beyond the kernel", tuple((METRICS["truncated_fraction"], f"{size} voxels") for size in sizes), rows)


def _reconstruction(experiment: Mapping[str, Any], files: Files, titles: Mapping[str, str]) -> list[Summary]:
    import pandas

    table = pandas.read_csv(files["summary"][0], sep="\t", dtype={"lesion": str, "part": str, "model": str}, keep_default_na=False)
    table[["mean", "sd"]] = table[["mean", "sd"]].apply(pandas.to_numeric, errors="coerce")
    last = int(table["iteration"].max())
    final = table[table["iteration"] == last]
    lesions = list(dict.fromkeys(table["lesion"]))
    parts = {
        (lesion, part): f"lesion {lesion}, {part.replace('_', ' ')}"
        for lesion, part in dict.fromkeys(zip(final["lesion"], final["part"], strict=True))
        if part not in ("whole", "background")
    }
    whole = {(lesion, "whole"): f"lesion {lesion}" for lesion in lesions}

    def summary(label: str, regions: Mapping[tuple[str, str], str], quantities: Sequence[str], of: "DataFrame") -> Summary:
        rows = tuple(
            (
                STRATEGIES[model],
                tuple(_summarised(of, model, lesion, part, name) for lesion, part in regions for name in quantities),
            )
            for model in experiment["strategies"]
        )
        return Summary(label, tuple((METRICS[name], region) for region in regions.values() for name in quantities), rows)

    tables = [summary(f"Whole lesions after iteration {last}", whole, ("recovery", "bias_percent"), final)]
    if parts:
        held = {(lesion, "whole"): f"lesion {lesion}" for lesion in dict.fromkeys(lesion for lesion, _ in parts)}
        tables.append(summary(f"Lesions on interfaces, part by part, after iteration {last}", parts, ("recovery",), final))
        tables.append(summary(f"Lesions on interfaces: error of the parts after iteration {last}", held, ("recovery_error",), final))
    for iteration in sorted(set(table["iteration"]) - {last}):
        own = table[table["iteration"] == iteration]
        tables.append(summary(f"Whole lesions after iteration {iteration}", whole, ("recovery",), own))
    return tables


def _summarised(table: "DataFrame", model: str, lesion: str, part: str, quantity: str) -> Cells:
    place = (table["model"] == model) & (table["lesion"] == lesion) & (table["part"] == part) & (table["quantity"] == quantity)
    row = table[place].iloc[0]
    return float(row["mean"]), float(row["sd"]), int(row["realisations"])


SECONDS = {
    "SecondsKernels": Metric("seconds_kernels", "Kernels", "Time to make the operator, once a subject.", "lower", ".1f", "s"),
    "SecondsReconstruction": Metric("seconds_reconstruction", "Reconstruction", "Time of all iterations.", "lower", ".1f", "s"),
}


def _scan(experiment: Mapping[str, Any], files: Files, titles: Mapping[str, str]) -> list[Summary]:
    from petbench.files import read_json

    rows = []
    for strategy, path in zip(experiment["strategies"], files["sidecars"], strict=True):
        sidecar = read_json(path)
        rows.append((STRATEGIES[strategy], tuple((float(sidecar[key]), float("nan"), 1) for key in SECONDS)))
    return [Summary("Time of each strategy", tuple((metric, "") for metric in SECONDS.values()), tuple(rows))]


def _mean(values: Any) -> Cells:
    known = [float(value) for value in values.dropna()]
    if not known:
        return float("nan"), float("nan"), 0
    interval = mean_interval(known)
    return interval.mean, interval.sd, interval.n


def _one(table: "DataFrame", **place: Any) -> Cells:
    """The one value at a place of a long table."""
    chosen = table
    for column, value in place.items():
        chosen = chosen[chosen[column] == value]
    return float(chosen["value"].iloc[0]), float("nan"), 1

"""An experiment's table: mean and spread over subjects, the best two, and the stars of a paired test."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from petbench.errors import InputError
from petbench.evaluation.definitions import DEFINITIONS, FRAME, RANK, STANDARD_ROW, Metric, measured_in, shown_in
from petbench.evaluation.standings import by_person, ranks
from petbench.evaluation.statistics import MIN_SUBJECTS, corrected, summarise, uncorrected
from petbench.evaluation.table import COLUMNS as METRIC_COLUMNS
from petbench.report.published import Quoted, sources

if TYPE_CHECKING:
    from pandas import DataFrame

COST = "cost"
PAPER, DIFFERENCE = "Paper", "Ours − paper"
"""Headings of a printed number beside ours, and of our mean minus it."""
ARROWS = {"higher": "↑", "lower": "↓", "zero": "→ 0", "one": "→ 1", "none": ""}
TITLES = {"low_dose": "Low dose", "standard_dose": "Standard dose", "true_activity": "True activity"}
DIAGNOSIS = "diagnosis"
WHY_UNKNOWN = {
    "lpips": "it needs published weights that are not bundled, which a data set names under evaluation/lpips",
    "ssim": "the slices that are evaluated are no neighbours",
}
WHY_UNKNOWN |= {"frame_lpips": WHY_UNKNOWN["lpips"]} | dict.fromkeys(["frame_psnr", "frame_ssim", "frame_nmse"], "no slice holds a head")
REFERENCES = {"standard_dose": "the standard-dose image", "true_activity": "the true activity"}
FRAMES = (
    "Columns of the frame are measured as M2Diff's authors do, to be held against the published values only: over whole slices that are"
    " zero around the head, which raises PSNR and SSIM."
)
REGION_NAMES = {"whole": "whole volume", "brain": "brain"}
"""What headings call the regions that a column's label does not say."""


@dataclass(frozen=True)
class Column:
    """A data set at a dose, measured in a region.

    Attributes:
        key: What tells it from other columns: its place, and its region where it names one of its own.
        place: `dataset/dose`; of a diagnosis `dataset/dose/study`.
        label: Its heading.
        published: The paper's name of it, empty where it has none.
        region: Region measured; "n/a" of a diagnosis.
        metrics: Metrics that it shows.
    """

    key: str
    place: str
    label: str
    published: str
    region: str
    metrics: tuple[Metric, ...]


@dataclass(frozen=True)
class Cell:
    """One method's metric over `n` people, or over the columns for a cost; NaN where it is not known.

    `p_holm` is NaN unless the cell was tested; `mark` is "*" where the row is significantly worse than the method tested against.
    """

    mean: float = math.nan
    sd: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    n: int = 0
    p_holm: float = math.nan
    mark: str = ""
    best: bool = False
    second: bool = False


@dataclass(frozen=True)
class Table:
    """A table of our own values, and beside those that the paper printed too, its numbers; these ride along untouched.

    Attributes:
        region: Region of the columns that name none of their own.
        rows: Method entry name to title, in the order shown.
        cells: By (method, column key, metric name); the column key of a cost is "cost".
        published_rows: Method entry name to the paper's name of it.
        published_metrics: Metric name to the paper's name of it, where that is not the metric's own.
        notes: Sentences that belong below the table.
        differs: How the experiment differs from the published one.
        intervals: Whether confidence intervals stand in every form of the table, not on the page alone.
    """

    title: str
    reference: str
    region: str
    rows: Mapping[str, str]
    columns: tuple[Column, ...]
    metrics: tuple[Metric, ...]
    cost: tuple[Metric, ...]
    cells: Mapping[tuple[str, str, str], Cell]
    published: tuple[Quoted, ...]
    published_rows: Mapping[str, str]
    notes: tuple[str, ...]
    differs: str = ""
    intervals: bool = False
    published_metrics: Mapping[str, str] = field(default_factory=dict)

    def blocks(self) -> list[tuple[str, str, tuple[Metric, ...]]]:
        """Column key, heading and metrics of each block of columns, from left to right; headings say the region where it differs.

        A metric of which no row has a value is left out; a note says why.
        """
        mixed = len({column.region for column in self.columns}) > 1
        blocks = []
        for column in self.columns:
            where = f", {REGION_NAMES[column.region]}" if mixed and column.region in REGION_NAMES else ""
            blocks.append((column.key, f"{column.label}{where} ({self.subjects(column.key)})", self._known(column.key, column.metrics)))
        blocks += [(COST, "Cost", self._known(COST, self.cost))]
        return [block for block in blocks if block[2]]

    def _known(self, key: str, metrics: tuple[Metric, ...]) -> tuple[Metric, ...]:
        return tuple(metric for metric in metrics if any(not math.isnan(self.cells[row, key, metric.name].mean) for row in self.rows))

    def beside(self) -> dict[tuple[str, str, str], Quoted]:
        """The paper's number of each cell that it has one of, by the cell's key."""
        printed = {(quoted.row, quoted.column, quoted.metric.casefold()): quoted for quoted in self.published}
        names = {column.key: column.published for column in self.columns} | {COST: ""}
        # What the paper calls PSNR is one of our columns, the one that is measured as it is.
        claimed = {called.casefold() for called in self.published_metrics.values()}
        found = {}
        for method, key, metric in self.cells:
            called = self.published_metrics.get(metric, "" if metric in claimed else metric).casefold()
            quoted = printed.get((self.published_rows.get(method, ""), names[key], called))
            if quoted is not None:
                found[method, key, metric] = quoted
        return found

    def paired(self, key: str) -> set[str]:
        """Names of the metrics of a column of which the paper printed some number, too."""
        return {metric for _, column, metric in self.beside() if column == key}

    def subjects(self, key: str) -> str:
        """How many people stand behind a column, as `n = 4`, or as a range where methods differ."""
        counts = sorted({cell.n for (_, column, _), cell in self.cells.items() if column == key and cell.n}) or [0]
        return "n = " + "–".join(str(count) for count in dict.fromkeys([counts[0], counts[-1]]))


def build_table(
    experiment: Mapping[str, Any],
    metrics: "DataFrame",
    published: tuple[Quoted, ...],
    titles: Mapping[str, str],
    reference: str | None = None,
    notes: Sequence[str] = (),
) -> Table:
    """Build an experiment's table.

    Args:
        experiment: Resolved entry, see config/schemas/experiment.yaml.
        metrics: Long table of all its methods, with the columns METRIC_COLUMNS.
        published: Values the paper printed, see `petbench.report.published`, or none; kept apart.
        titles: Method entry name to title; the low-dose image has its own.
        reference: `standard_dose` or `true_activity` in place of the experiment's own.
        notes: Sentences to stand below it after its own, see `petbench.report.notes`.

    Raises:
        InputError: a method of the experiment has no value of a metric, a value stands twice, a metric is not defined, or the method
            to test against is no row.
    """
    missing = [name for name in METRIC_COLUMNS if name not in metrics.columns]
    if missing:
        raise InputError(f"metrics: has no column {', '.join(missing)}; a metrics table has {', '.join(METRIC_COLUMNS)}.")
    titles = TITLES | dict(titles)
    reference, region = reference or experiment["reference"], experiment["region"]
    shown, cost = _definitions(experiment["metrics"]), _definitions(experiment.get("cost", []))
    columns = tuple(_column(column, experiment) for column in experiment["columns"])
    if "leaderboard" in experiment:
        columns = tuple(replace(column, metrics=(DEFINITIONS[RANK], *column.metrics)) for column in columns)
    own = metrics.assign(place=metrics["dataset"] + "/" + metrics["dose"])
    own = own[own["method"].isin(experiment["rows"]) & own["place"].isin([column.place for column in columns])]
    cells: dict[tuple[str, str, str], Cell] = {}
    known, left_out = dict.fromkeys(shown, False), 0
    unscanned = experiment.get("left_out", [])
    own_notes = [*_copies(own)]
    if unscanned:
        names = ", ".join(dict.fromkeys(titles.get(row, row) for *_, row in unscanned))
        own_notes.append(f"{names}: n/a where a data set has images and no scans, which the method reconstructs.")
    if "leaderboard" in experiment:
        for column in columns:
            name = experiment["leaderboard"]["metric"]
            places = ranks(values_at(own, column, name, reference), name)
            cells |= {(row, column.key, RANK): Cell() for row in experiment["rows"]}
            cells |= {(method, column.key, RANK): Cell(mean=one.place, ci_low=one.low, ci_high=one.high) for method, one in places.items()}
    for column in columns:
        here = own[own["place"] == column.place]
        for metric in column.metrics:
            if metric.name == RANK:
                continue
            where = measured_in(metric.name, column.region)
            rows = [row for row in experiment["rows"] if [*column.place.split("/"), row] not in unscanned]
            if lacking := [method for method in rows if not _measured(here, method, metric.name, reference, where)]:
                raise InputError(
                    f"{lacking[0]} on {column.place}: {metric.name} against {reference} in region {where} is in no metrics.tsv;"
                    " evaluate that method or take it out of the experiment's rows."
                )
            summary = summarise(here, metric.name, reference, where)
            found = {method: _cell(summary, method) if method in rows else Cell() for method in experiment["rows"]}
            cells |= {(method, column.key, metric.name): cell for method, cell in ranked(found, metric).items()}
            # The standard dose has no similarity to itself: it is n/a by what it is, not by what is missing.
            compared = summary[summary["method"] != STANDARD_ROW]
            known[metric] |= bool(compared["n"].any())
            left_out += int(compared.loc[compared["n"] > 0, "left_out"].sum())
    for metric, found_some in known.items():
        if not found_some:
            own_notes.append(f"{metric.title} is n/a: {WHY_UNKNOWN.get(metric.name, 'no value is finite')}.")
    if any(metric.regions == (FRAME,) for metric in shown):
        own_notes.append(FRAMES)
    for method in experiment["rows"]:
        cells |= {(method, COST, metric.name): _cost(own, method, metric.name) for metric in cost}
    if left_out:
        own_notes.append(f"{left_out} values that are not finite are left out.")
    if "statistics" in experiment:
        marked = _marked(cells, experiment["statistics"], own, columns, reference)
        own_notes.append(_sentence(experiment["statistics"], titles, marked))
        cells = marked
    return Table(
        title=experiment["title"],
        reference=reference,
        region=region,
        rows={method: titles.get(method, method) for method in experiment["rows"]},
        columns=columns,
        metrics=shown,
        cost=cost,
        cells=cells,
        published=published,
        published_rows=experiment.get("published_rows", {}),
        notes=(*own_notes, *notes),
        differs=" ".join(experiment["differs"].split()),
        published_metrics=experiment.get("published_metrics", {}),
    )


def values_at(metrics: "DataFrame", column: Column, name: str, reference: str) -> "DataFrame":
    """Values of a metric in a column, a row a person and a column a method; the standard dose itself is no method."""
    methods = metrics[metrics["method"] != STANDARD_ROW]
    return by_person(methods, column.place, name, reference, measured_in(name, column.region))


def has_reference(experiment: Mapping[str, Any], metrics: "DataFrame", reference: str) -> bool:
    """Whether every column was measured against `reference`: a patient's true activity is not known, and lesions have no other."""
    measured = set(metrics.loc[metrics["reference"] == reference, ["dataset", "dose"]].itertuples(index=False, name=None))
    of_truth = any(DEFINITIONS[name].truth for name in experiment["metrics"] if name in DEFINITIONS)
    if of_truth and reference != "true_activity":
        return False
    return all((column["dataset"], column["dose"]) in measured for column in experiment["columns"])


def few_subjects(table: Table) -> list[str]:
    """Data set and dose, as `dataset/dose`, of the columns in which some value stands for too few subjects to be tested."""
    few = {key for (_, key, _), cell in table.cells.items() if 0 < cell.n < MIN_SUBJECTS}
    return list(dict.fromkeys(column.place for column in table.columns if column.key in few))


def caption(table: Table, intervals: bool) -> str:
    """What the numbers are, for below the table; `intervals` says whether confidence intervals stand in its cells."""
    beside = tuple(table.beside().values())
    theirs = f" {PAPER}: as printed in {sources(beside)}, of other data; it enters no mean, rank or test." if beside else ""
    marks = " Best in bold, second underlined." if any(cell.best for cell in table.cells.values()) else ""
    if table.reference == DIAGNOSIS:
        return (
            "Mean ± SD over repeated trainings, of all people tested, pooled over folds; in brackets the 95 % interval of AUC and of its"
            f" gain over MR alone, bootstrapped over people.{marks}{theirs}"
        )
    brackets = ", with the 95 % confidence interval of the mean in brackets" if intervals else ""
    regions = [column.region.replace("_", " ") for column in table.columns]
    where = f"region: {regions[0]}" if len(set(regions)) == 1 else f"regions of the columns, from left to right: {', '.join(regions)}"
    against = f"against {REFERENCES[table.reference]}; {where}"
    return f"Mean ± SD over subjects{brackets}, {against}.{marks}{theirs}"


def _definitions(names: list[str]) -> tuple[Metric, ...]:
    for name in names:
        if name not in DEFINITIONS:
            raise InputError(f"metrics: {name} is not defined; use one of {', '.join(DEFINITIONS)}.")
    return tuple(DEFINITIONS[name] for name in names)


def _column(column: Mapping[str, Any], experiment: Mapping[str, Any]) -> Column:
    """A column with the region and the metrics that hold in it."""
    region = column.get("region", experiment["region"])
    place = f"{column['dataset']}/{column['dose']}"
    key = f"{place}/{region}" if "region" in column else place
    return Column(key, place, column["label"], column.get("published", ""), region, _definitions(shown_in(experiment["metrics"], region)))


def _measured(metrics: "DataFrame", method: str, metric: str, reference: str, region: str) -> bool:
    of_metric = (metrics["metric"] == metric) & (metrics["reference"] == reference) & (metrics["region"] == region)
    return bool((of_metric & (metrics["method"] == method)).any())


def _cell(summary: "DataFrame", method: str) -> Cell:
    row = summary[summary["method"] == method].iloc[0]
    return Cell(mean=float(row["mean"]), sd=float(row["sd"]), ci_low=float(row["ci_low"]), ci_high=float(row["ci_high"]), n=int(row["n"]))


def _copies(metrics: "DataFrame") -> Iterator[str]:
    """What the table says of data sets whose subjects are copies of phantoms."""
    measured = metrics[metrics["subject"] != "n/a"]
    for dataset, rows in measured.groupby("dataset", sort=False):
        people, copies = rows["person"].nunique(), rows["subject"].nunique()
        if copies > people:
            where = f"{dataset}: " if measured["dataset"].nunique() > 1 else ""
            phantoms = "1 phantom" if people == 1 else f"{people} phantoms"
            yield (
                f"{where}n counts phantoms: {copies} rotated copies of {phantoms} were measured, and copies of one phantom, which are not"
                " independent, are averaged first."
            )


def ranked(cells: Mapping[str, Cell], metric: Metric, meaningless: Collection[str] = ()) -> dict[str, Cell]:
    """The same cells, the best and second-best mean marked; equal means share a place.

    Nothing is marked below `MIN_SUBJECTS` people or where all rows are equal. The standard dose is not ranked, nor are the rows that are
    `meaningless`, whose value says nothing.
    """
    ranked = dict(cells)
    unranked = {STANDARD_ROW, *meaningless}
    known = {method: cell for method, cell in cells.items() if not math.isnan(cell.mean) and method not in unranked}
    if metric.better == "none" or any(cell.n < MIN_SUBJECTS for cell in known.values()):
        return ranked
    distance = {method: _distance(cell.mean, metric.better) for method, cell in known.items()}
    places = sorted(set(distance.values()))
    if len(places) < 2:
        return ranked
    for method, far in distance.items():
        ranked[method] = replace(cells[method], best=far == places[0], second=far == places[1])
    return ranked


def _distance(mean: float, better: str) -> float:
    return {"higher": -mean, "lower": mean, "zero": abs(mean), "one": abs(mean - 1)}[better]


def _cost(metrics: "DataFrame", method: str, metric: str) -> Cell:
    """A method's cost, averaged over the jobs that measured it; the low-dose image costs nothing and has none."""
    values = metrics.loc[(metrics["method"] == method) & (metrics["metric"] == metric), "value"].astype(float)
    known = values.dropna()
    if known.empty:
        return Cell()
    # The size of a network is the same in every job; averaging would round it.
    mean = float(known.iloc[0]) if known.nunique() == 1 else float(known.mean())
    return Cell(mean=mean, n=len(known))


def _marked(
    cells: Mapping[tuple[str, str, str], Cell],
    statistics: Mapping[str, Any],
    metrics: "DataFrame",
    columns: Sequence[Column],
    reference: str,
) -> dict[tuple[str, str, str], Cell]:
    """The same cells with the corrected p-value and the star of each test of the whole table, each column tested in its own region."""
    compared = metrics[metrics["method"] != STANDARD_ROW]
    tests = []
    for column in columns:
        here = compared[compared["place"] == column.place]
        for name in _tested(statistics):
            if name in [metric.name for metric in column.metrics]:
                found = uncorrected(here, [name], statistics["against"], reference, measured_in(name, column.region))
                tests += [{**test, "column": column.key} for test in found]
    marked = dict(cells)
    for test in corrected(tests, statistics["alpha"]).to_dict("records"):
        place = (test["method"], test["column"], test["metric"])
        marked[place] = replace(marked[place], p_holm=float(test["p_holm"]), mark=test["mark"])
    return marked


def _tested(statistics: Mapping[str, Any]) -> list[str]:
    """Metrics that are tested."""
    names: str | list[str] = statistics["metric"]
    return [names] if isinstance(names, str) else names


def _sentence(statistics: Mapping[str, Any], titles: Mapping[str, str], cells: Mapping[tuple[str, str, str], Cell]) -> str:
    names, against = _tested(statistics), titles.get(statistics["against"], statistics["against"])
    fewest = min((cell.n for (_, _, name), cell in cells.items() if name in names and cell.n), default=0)
    metric = " or ".join(filter(None, [", ".join(DEFINITIONS[name].title for name in names[:-1]), DEFINITIONS[names[-1]].title]))
    test = f"paired two-tailed t-test on subjects, Holm-corrected within the table, p < {statistics['alpha']:g}"
    text = f"*: {metric} significantly worse than {against} ({test})."
    return text if fewest >= MIN_SUBJECTS else f"{text} Below {MIN_SUBJECTS} subjects nothing is tested, and nothing marked."

"""The page's first screen: for each paper one table that says which method is better than what, how sure that is, and what it costs."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from petbench.evaluation.definitions import DEFINITIONS, RANK, STANDARD_ROW, Better, Metric, measured_in
from petbench.evaluation.statistics import MIN_SUBJECTS, mean_interval
from petbench.report.tables import Column, Table
from petbench.report.write_tables import number

if TYPE_CHECKING:
    from pandas import DataFrame, Series

LOW_DOSE = "low_dose"
SIMILARITIES = ("psnr", "slice_psnr")
"""What an overview ranks by: the first that a table has."""
BESIDE = (
    ("contrast_recovery", "lesions", "Lesion recovery"),
    ("false_contrast", "mr_only_lesions", "False contrast"),
)
"""What is said beside it against the true activity: metric, region, heading."""
COSTS = ("train_cpu_seconds", "restore_cpu_seconds", "parameters")


class Value(NamedTuple):
    """What a cell shows, what it is sorted by (NaN where nothing is known), and what stands below it in small print."""

    text: str
    sort: float
    below: str = ""


NOTHING = Value("–", math.nan)


@dataclass(frozen=True)
class Heading:
    """A column: its text, what it means, and which side is better."""

    text: str
    definition: str
    better: Better


@dataclass(frozen=True)
class Overview:
    """One paper's methods at a glance.

    Attributes:
        paper: Its name.
        caption: What is measured, where, on how many people.
        headings: Of the columns after the method's title.
        rows: Title, values a column, and the similarity of each person, for dots.
        span: The least and greatest of all people's values, for dots.
        sentence: What must be known before ranking: how few people there are. Empty where they suffice.
        details: Id of the experiment with the whole table.
    """

    paper: str
    caption: str
    headings: tuple[Heading, ...]
    rows: tuple[tuple[str, tuple[Value, ...], tuple[float, ...]], ...]
    span: tuple[float, float]
    sentence: str
    details: str


def build_overview(
    paper: str,
    details: str,
    table: Table,
    metrics: "DataFrame",
    reliance: "Sequence[DataFrame]",
    trivial: Collection[str],
    named: str | None,
) -> Overview | None:
    """The overview of a paper from one of its tables; None where that has no PSNR.

    The table's first column stands for the rest. Differences are means over people of paired values.

    Args:
        paper: The paper's name.
        details: Id of the experiment that the table is of.
        table: Its table.
        metrics: Long table of all methods, see `petbench.evaluation.table`.
        reliance: Long tables of what swapping inputs does.
        trivial: Methods that take no network.
        named: The method that others are tested against, or none.
    """
    column = table.columns[0]
    metric = next((metric for name in SIMILARITIES for metric in column.metrics if metric.name == name), None)
    if metric is None:
        return None
    here = metrics[metrics["dataset"] + "/" + metrics["dose"] == column.place]
    people = _people(here, metric, table.reference, measured_in(metric.name, column.region))
    rows = [STANDARD_ROW, *(row for row in table.rows if row != STANDARD_ROW)] if STANDARD_ROW in set(here["method"]) else list(table.rows)
    means = {row: values.mean() for row, values in people.items()}
    filters = [row for row in rows if row in trivial and row in means]
    best_filter = max(filters, key=lambda row: means[row], default=None)
    against = [
        (LOW_DOSE, "low dose"),
        (best_filter, table.rows.get(best_filter, "") if best_filter else ""),
        (named, table.rows.get(named, "") if named else ""),
    ]
    columns: list[tuple[Heading, dict[str, Value]]] = [
        (Heading(f"{metric.title}, dB", metric.definition, metric.better), {row: _with_interval(people.get(row), metric) for row in rows}),
        (Heading("Rank", DEFINITIONS[RANK].definition, "lower"), {row: _rank(table, row, column.key) for row in rows}),
    ]
    for other, title in against:
        if other in people:
            definition = f"{metric.title} minus that of {title} on the same people, dB; p as the table tests it."
            values = {
                row: _difference(people.get(row), people[other], table, (row, column.key, metric.name) if other == named else None)
                for row in rows
                if row != other
            }
            columns.append((Heading(f"Δ {title}", definition, "higher"), values))
    printed = Heading("Δ published", "Ours minus the number that the paper prints, of other data.", "none")
    columns.append((printed, _published(table, column, metric)))
    for name, region, text in BESIDE:
        columns.append((Heading(text, DEFINITIONS[name].definition, DEFINITIONS[name].better), _means(here, name, region, rows)))
    swapped = [part[part["dataset"] + "/" + part["dose"] == column.place] for part in reliance]
    columns.append((Heading("MR is worth, dB", DEFINITIONS["loss_other_mr"].definition, "none"), _reliance(swapped, column.region, rows)))
    for name in COSTS:
        text = f"{DEFINITIONS[name].title}{', s' if name.endswith('seconds') else ''}"
        columns.append((Heading(text, DEFINITIONS[name].definition, "lower"), _means(here, name, None, rows)))
    shown = [(heading, values) for heading, values in columns if any(value != NOTHING for value in values.values())]
    everybody = [value for values in people.values() for value in values]
    fewest = min((len(values) for values in people.values()), default=0)
    few = f"{fewest} {'person is' if fewest == 1 else 'people are'} too few to rank methods by: nothing is tested below {MIN_SUBJECTS}."
    titles = {**table.rows, STANDARD_ROW: "Standard dose"}
    return Overview(
        paper,
        f"{table.title}: {column.label}, {table.subjects(column.key)}",
        tuple(heading for heading, _ in shown),
        tuple((titles[row], tuple(values.get(row, NOTHING) for _, values in shown), tuple(people.get(row, ()))) for row in rows),
        (min(everybody, default=0.0), max(everybody, default=1.0)),
        few if fewest < MIN_SUBJECTS else "",
        details,
    )


def _people(metrics: "DataFrame", metric: Metric, reference: str, region: str) -> "dict[str, Series[float]]":
    """Each method's finite values, a person each."""
    chosen = metrics[(metrics["metric"] == metric.name) & (metrics["reference"] == reference) & (metrics["region"] == region)]
    finite = chosen[chosen["value"].abs() < math.inf]
    return {str(method): group.groupby("person")["value"].mean() for method, group in finite.groupby("method", sort=False)}


def _rank(table: Table, row: str, key: str) -> Value:
    """A method's place in a leaderboard, and between which ones it may lie."""
    cell = table.cells.get((row, key, RANK))
    if cell is None or math.isnan(cell.mean):
        return NOTHING
    return Value(
        number(cell.mean, DEFINITIONS[RANK].format), cell.mean, "" if math.isnan(cell.ci_low) else f"[{cell.ci_low:.0f}–{cell.ci_high:.0f}]"
    )


def _with_interval(values: "Series[float] | None", metric: Metric) -> Value:
    if values is None:
        return NOTHING
    interval = mean_interval(values)
    reach = "" if math.isnan(interval.low) else f"[{number(interval.low, metric.format)}, {number(interval.high, metric.format)}]"
    return Value(number(interval.mean, metric.format), interval.mean, reach)


def _difference(values: "Series[float] | None", others: "Series[float]", table: Table, tested: tuple[str, str, str] | None) -> Value:
    pairs = None if values is None else (values - others).dropna()
    if pairs is None or pairs.empty:
        return NOTHING
    p = table.cells[tested].p_holm if tested is not None and tested in table.cells else math.nan
    return Value(number(pairs.mean(), "+.2f"), float(pairs.mean()), "" if math.isnan(p) else f"p {p:.2g}")


def _published(table: Table, column: Column, metric: Metric) -> dict[str, Value]:
    found = {}
    for (row, key, name), quoted in table.beside().items():
        if key == column.key and name == metric.name and not math.isnan(quoted.number):
            difference = table.cells[row, key, name].mean - quoted.number
            found[row] = Value(number(difference, "+.2f"), difference)
    return found


def _means(metrics: "DataFrame", name: str, region: str | None, rows: Sequence[str]) -> dict[str, Value]:
    chosen = metrics[(metrics["metric"] == name) & metrics["method"].isin(rows)]
    if region is not None:
        chosen = chosen[chosen["region"] == region]
    # Copies of one phantom are not independent: they count as one. A cost of a fold is nobody's.
    people = chosen[chosen["value"].abs() < math.inf].groupby(["method", "person"])["value"].mean()
    means = people.groupby(level="method").mean()
    return {str(row): Value(number(mean, DEFINITIONS[name].format), float(mean)) for row, mean in means.items()}


def _reliance(tables: "Sequence[DataFrame]", region: str, rows: Sequence[str]) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for table in tables:
        found |= _means(table, "loss_other_mr", region, rows)
    return found

"""What a leaderboard says beside its table: what beats what, how alike its order is to printed ones; and which claims of papers held."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from petbench.evaluation.definitions import DEFINITIONS, RANK
from petbench.evaluation.standings import Comparison, all_pairs, compare_pairs, likeness, ranks
from petbench.evaluation.statistics import MIN_SUBJECTS, holm
from petbench.report.published import Quoted
from petbench.report.tables import Column, Table, values_at

if TYPE_CHECKING:
    from pandas import DataFrame


class Match(NamedTuple):
    """One method against another in a map: the mean difference as text, and what a test says: `better`, `worse`, or nothing."""

    text: str
    side: str
    definition: str


@dataclass(frozen=True)
class Matches:
    """Every method against every other in one column, by rank: `rows` are a title and a match a method, None on the diagonal."""

    label: str
    titles: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Match | None, ...]], ...]


@dataclass(frozen=True)
class Texts:
    """A plain table of texts."""

    label: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def matches(table: Table, metrics: "DataFrame", name: str) -> list[Matches]:
    """A map a column of what beats what: paired tests, Holm-corrected within the map.

    Args:
        table: The leaderboard's table.
        metrics: Long table of its methods.
        name: The metric that it ranks by.
    """
    found = []
    for column in table.columns:
        values = values_at(metrics[metrics["method"].isin(table.rows)], column, name, table.reference)
        order = sorted(ranks(values, name).items(), key=lambda item: item[1].place)
        pairs = all_pairs(values, name)
        methods = [method for method, _ in order]
        rows = [(table.rows[one], tuple(_match(pairs, one, two, name) for two in methods)) for one in methods]
        label = f"{column.label}: {DEFINITIONS[name].title} of each row minus that of each column, {len(values)} people"
        found.append(Matches(label, tuple(table.rows[method] for method in methods), tuple(rows)))
    return found


def orders(experiment: Mapping[str, Any], table: Table, metrics: "DataFrame", published: Mapping[str, Sequence[Quoted]]) -> Texts:
    """How alike each column's order is to each printed one (`leaderboard/orders`)."""
    name = experiment["leaderboard"]["metric"]
    rows = []
    for column in table.columns:
        values = values_at(metrics[metrics["method"].isin(table.rows)], column, name, table.reference)
        for order in experiment["leaderboard"].get("orders", []):
            printed = printed_values(order, published[order["published"]])
            found = likeness(values, name, printed)
            text = "n/a: fewer than three methods are in both" if math.isnan(found.tau) else f"{found.tau:.2f}"
            interval = "" if math.isnan(found.low) else f"[{found.low:.2f}, {found.high:.2f}]"
            rows.append((column.label, order["label"], str(found.methods), text, interval))
    heads = ("Column", "Printed order", "Methods in both", "Kendall's tau", "95 % interval over our people")
    return Texts("How alike our order is to the printed ones: 1 is the same, -1 the reverse", heads, tuple(rows))


def printed_values(order: Mapping[str, Any], quoted: Sequence[Quoted]) -> dict[str, float]:
    """The paper's number by our method, of a printed order of a leaderboard."""
    numbers = {number.row: number.number for number in quoted if number.column == order["column"] and number.metric == order["metric"]}
    return {method: numbers[row] for method, row in order["rows"].items() if row in numbers}


def claims(experiment: Mapping[str, Any], table: Table, metrics: "DataFrame") -> Texts | None:
    """Whether what a paper says of its methods held here: a row a claim and column, tests Holm-corrected together; None without claims.

    Of rows that a scale leaves out nothing is claimed.

    A claim is held where the difference is on its side and the corrected p below .05, reversed where it is on the other, else undecided.
    """
    pairs = [(claim["better"], other) for claim in experiment.get("claims", []) for other in claim["than"]]
    stated = [pair for pair in pairs if set(pair) <= set(table.rows)]
    if not stated:
        return None
    found: list[tuple[str, tuple[str, str], str, Comparison]] = []
    for column in table.columns:
        name = _claimed(experiment, column)
        values = values_at(metrics, column, name, table.reference)
        found += [(column.label, pair, name, one) for pair, one in _uncorrected(values, name, stated).items()]
    rows = []
    for (label, (better, than), name, one), p in zip(found, holm([one.p for *_, one in found]), strict=True):
        metric = DEFINITIONS[name]
        corrected = Comparison(one.difference, one.low, one.high, p, one.n, one.better)
        interval = "n/a" if math.isnan(one.low) else f"[{one.low:+.3g}, {one.high:+.3g}]"
        claim = f"{table.rows[better]} over {table.rows[than]}"
        shown = "n/a" if p is None else f"{p:.2g}"
        rows.append(
            (claim, label, metric.title, f"{one.difference:+.3g} {metric.unit}".strip(), interval, shown, str(one.n), corrected.verdict)
        )
    heads = ("Claim", "Column", "Metric", "Difference", "95 % interval", "p (Holm)", "People", "Here")
    return Texts("Claims of the paper, and whether they held here", heads, tuple(rows))


def _uncorrected(values: "DataFrame", name: str, stated: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Comparison]:
    """Each claim tested by itself, to be corrected together with those of other columns."""
    return {pair: compare_pairs(values, name, [pair])[pair] for pair in stated}


def _claimed(experiment: Mapping[str, Any], column: Column) -> str:
    """The metric that claims of a column are about: the one that the table tests, else its first."""
    stated = experiment.get("statistics", {}).get("metric", [])
    shown = [metric.name for metric in column.metrics if metric.better != "none" and metric.name != RANK]
    return next((name for name in ([stated] if isinstance(stated, str) else stated) if name in shown), shown[0])


def _match(pairs: Mapping[tuple[str, str], Comparison], one: str, two: str, name: str) -> Match | None:
    if one == two:
        return None
    forward = (one, two) in pairs
    found = pairs[(one, two) if forward else (two, one)]
    difference = found.difference if forward else -found.difference
    side = {"held": ("worse", "better"), "reversed": ("better", "worse")}.get(found.verdict, ("", ""))[forward]
    p = f"p {found.p:.2g}, Holm-corrected" if found.p is not None else f"not tested below {MIN_SUBJECTS} people"
    return Match(format(difference, f"+{DEFINITIONS[name].format}"), side, p)

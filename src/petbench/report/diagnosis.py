"""The table and the ROC curves of a diagnosis study: how well MR alone, with PET, and with generated PET tell patients from controls."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.evaluation.definitions import DEFINITIONS, MR_ALONE, REAL_PET
from petbench.evaluation.scores import auc, bootstrap_auc, interval, mean_roc, told_apart
from petbench.report.figures import PALETTE, plain_style, save
from petbench.report.published import Quoted
from petbench.report.tables import Cell, Column, Table, ranked

if TYPE_CHECKING:
    from pandas import DataFrame

TITLES = {MR_ALONE: "MR alone", REAL_PET: "MR + real PET"}
# With fewer people an interval of the AUC spans most of what it can be.
FEW = 30
# With fewer in either group resampling has next to nothing to draw from, and an interval would feign certainty.
LEAST = 5
NOTHING = {"auc": 0.5, "auc_gain": 0.0}
"""What these are worth by chance."""
OTHER_SIDE = {"specificity": "sensitivity", "sensitivity": "specificity"}
"""Each is one where the other is zero, at no merit."""


def build_diagnosis(
    experiment: Mapping[str, Any],
    scores: "DataFrame",
    published: tuple[Quoted, ...],
    titles: Mapping[str, str],
    bootstrap: int,
    notes: Sequence[str] = (),
) -> Table:
    """Build the table of a diagnosis study.

    Each metric is computed from all tested people of a repeat, pooled over folds; shown are its mean and standard deviation over repeats.
    Intervals of the AUC, and of its gain over MR alone, are bootstrapped over people.

    Args:
        experiment: Resolved entry of kind diagnosis or roc.
        scores: See `petbench.evaluation.scores.COLUMNS`.
        published: Values the paper printed, kept apart.
        titles: Method entry name to title.
        bootstrap: Resamplings.
        notes: Sentences to stand below it after its own.

    Raises:
        InputError: a row has scores in no column, somebody was tested twice, or not by every row and repeat.
    """
    metrics = tuple(DEFINITIONS[name] for name in experiment["metrics"])
    columns = tuple(
        Column(_key(column), _key(column), column["label"], column.get("published", ""), "n/a", metrics) for column in experiment["columns"]
    )
    cells: dict[tuple[str, str, str], Cell] = {}
    own_notes = []
    for column in experiment["columns"]:
        people = _people(scores, experiment, column)
        ill = people.ill
        own_notes.append(f"{column['label']}: {int(ill.sum())} patients and {int((1 - ill).sum())} controls.")
        if len(ill) < FEW:
            own_notes.append(f"{len(ill)} people are too few to tell whether PET, real or generated, helps.")
        bounded = min(int(ill.sum()), int((1 - ill).sum())) >= LEAST
        if not bounded:
            own_notes.append(f"Below {LEAST} in either group no interval is given, and nothing marked.")
        found = _cells(people, bootstrap, experiment["rows"])
        for metric in metrics:
            by_row = {row: found[row].get(metric.name, Cell(n=len(ill))) for row in experiment["rows"]}
            if bounded:
                by_row = ranked(by_row, metric, [row for row in by_row if _says_nothing(metric.name, found[row])])
            cells |= {(row, _key(column), metric.name): cell for row, cell in by_row.items()}
    if missing := [row for row in experiment["rows"] if all(math.isnan(c.mean) for (r, _, _), c in cells.items() if r == row)]:
        raise InputError(f"{missing[0]}: has no scores in any column of {experiment['title']!r}; take it out of the rows.")
    return Table(
        title=experiment["title"],
        reference="diagnosis",
        region="n/a",
        rows=_row_titles(experiment["rows"], titles),
        columns=columns,
        metrics=metrics,
        cost=(),
        cells=cells,
        published=published,
        published_rows=experiment.get("published_rows", {}),
        notes=(*own_notes, *notes),
        differs=" ".join(experiment["differs"].split()),
        intervals=True,
    )


def roc_curves(experiment: Mapping[str, Any], scores: "DataFrame", titles: Mapping[str, str], paths: Sequence[str | Path]) -> None:
    """Draw the ROC curve of each row, one panel a study; curves and their AUC, that of the table, are means over repeats.

    Args:
        experiment: Resolved entry of kind diagnosis or roc.
        scores: See `petbench.evaluation.scores.COLUMNS`.
        titles: Method entry name to title.
        paths: Files to write.
    """
    names = _row_titles(experiment["rows"], titles)
    with plain_style() as pyplot:
        count = len(experiment["columns"])
        figure, axes = pyplot.subplots(1, count, figsize=(3.6 * count, 3.9), layout="constrained", squeeze=False)
        for axis, column in zip(axes[0], experiment["columns"], strict=True):
            people = _people(scores, experiment, column)
            axis.plot([0, 1], [0, 1], color="0.8", linewidth=0.8)
            for number, (row, title) in enumerate(names.items()):
                if row in people.scores:
                    area = np.mean([auc(people.ill, repeat) for repeat in people.scores[row]])
                    label = f"{title}: {area:.2f}"
                    colour, dash = PALETTE[number % len(PALETTE)], ("-", "--", ":", "-.")[number % 4]
                    axis.plot(*mean_roc(people.ill, list(people.scores[row])), color=colour, linestyle=dash, linewidth=1.4, label=label)
            axis.set_title(f"{column['label']} (n = {len(people.ill)})")
            axis.set_xlabel("1 - specificity")
            axis.set_ylabel("sensitivity")
            axis.set_aspect("equal")
            axis.legend(loc="lower right", fontsize=7, title="AUC", title_fontsize=7)
        save(figure, paths)


class _Tested:
    """Who was tested, (n,), and the scores of each row, (repeats, n)."""

    def __init__(self, ill: NDArray[np.int64], scores: dict[str, NDArray[np.float64]]):
        self.ill, self.scores = ill, scores


def _people(scores: "DataFrame", experiment: Mapping[str, Any], column: Mapping[str, Any]) -> _Tested:
    place = {key: column[key] for key in ("dataset", "dose", "study")} | {"classifier": experiment["classifier"]}
    own = scores
    for key, value in place.items():
        own = own[own[key] == value]
    found: dict[str, NDArray[np.float64]] = {}
    ill = None
    for row in experiment["rows"]:
        part = own[own["row"] == row]
        if part.empty:
            continue
        if part.duplicated(["repeat", "subject"]).any():
            raise InputError(f"scores: somebody of {column['dataset']} has two scores of {row} in one repeat; classify again.")
        found[row] = part.pivot(index="repeat", columns="subject", values="score").to_numpy()
        known = part.drop_duplicates("subject").set_index("subject")["ill"].sort_index()
        if np.isnan(found[row]).any() or (ill is not None and not known.equals(ill)):
            raise InputError(f"scores: not everybody of {column['dataset']} has one score of {row} in each repeat; classify again.")
        ill = known
    if ill is None:
        raise InputError(f"scores: none are of {column['dataset']}, study {column['study']}; classify it.")
    return _Tested(ill.to_numpy(), found)


def _cells(people: _Tested, bootstrap: int, rows: Sequence[str]) -> dict[str, dict[str, Cell]]:
    """By row and metric; a row without scores has none."""
    n, bounded = len(people.ill), min(int(people.ill.sum()), int((1 - people.ill).sum())) >= LEAST
    drawn: dict[str, NDArray[np.float64]] = {}
    cells: dict[str, dict[str, Cell]] = {row: {} for row in rows}
    for row, scores in people.scores.items():
        values = [told_apart(people.ill, repeat) for repeat in scores]
        # The same seed draws the same people for every row, so that differences are paired.
        drawn[row] = bootstrap_auc(people.ill, list(scores), bootstrap).mean(axis=1)
        for name in values[0]:
            cells[row][name] = _cell([value[name] for value in values], n, drawn[row] if name == "auc" and bounded else None)
        if row != MR_ALONE and MR_ALONE in drawn:
            alone = [auc(people.ill, repeat) for repeat in people.scores[MR_ALONE]]
            gains = [value["auc"] - base for value, base in zip(values, alone, strict=True)]
            cells[row]["auc_gain"] = _cell(gains, n, drawn[row] - drawn[MR_ALONE] if bounded else None)
    return cells


def _says_nothing(metric: str, found: Mapping[str, Cell]) -> bool:
    """Whether a row's value of a metric is none to be best at: no better than chance, or that of who calls everybody, or nobody, ill."""
    if metric in NOTHING and metric in found:
        return found[metric].mean <= NOTHING[metric]
    return metric in OTHER_SIDE and OTHER_SIDE[metric] in found and found[OTHER_SIDE[metric]].mean == 0


def _cell(values: Sequence[float], n: int, drawn: NDArray[np.float64] | None) -> Cell:
    finite = [value for value in values if not math.isnan(value)]
    if not finite:
        return Cell(n=n)
    low, high = (math.nan, math.nan) if drawn is None else interval(drawn)
    sd = float(np.std(finite, ddof=1)) if len(finite) > 1 else math.nan
    return Cell(mean=float(np.mean(finite)), sd=sd, ci_low=low, ci_high=high, n=n)


def _key(column: Mapping[str, Any]) -> str:
    return f"{column['dataset']}/{column['dose']}/{column['study']}"


def _row_titles(rows: Sequence[str], titles: Mapping[str, str]) -> dict[str, str]:
    return {row: TITLES.get(row) or f"MR + PET of {titles.get(row, row)}" for row in rows}

"""Figures: training curves, points by setting, maps of similarity; as PNG and SVG, the same bytes every time."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from petbench.errors import InputError
from petbench.evaluation.definitions import DEFINITIONS, STANDARD_ROW
from petbench.evaluation.standings import front
from petbench.files import atomic
from petbench.report.tables import COST

if TYPE_CHECKING:
    from pandas import DataFrame

    from petbench.report.tables import Table

# Okabe and Ito's palette: eight colours that stay apart for every common kind of colour blindness.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")
POINTS = 400  # a curve on a page is a few hundred pixels wide; more points only make the file larger


@contextmanager
def plain_style() -> Iterator[Any]:
    """Yield pyplot set for small multiples on white, drawing without a display and naming SVG parts by content rather than at random."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    style = {
        "svg.hashsalt": "petbench",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "legend.frameon": False,
        "figure.dpi": 100,
        "savefig.dpi": 200,
    }
    with matplotlib.rc_context(style):
        yield pyplot


def save(figure: Any, paths: Sequence[str | Path]) -> None:
    """Write a matplotlib figure to each path, by its suffix, without a date, so that equal figures are equal files; then close it.

    Raises:
        InputError: a suffix is neither .png nor .svg.
    """
    from matplotlib import pyplot

    metadata: dict[str, dict[str, str | None]] = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}}
    for path in paths:
        suffix = Path(path).suffix
        if suffix not in metadata:
            raise InputError(f"{path}: figures are written as .png or .svg; rename it.")
        with atomic(path) as temporary:
            figure.savefig(temporary, format=suffix[1:], metadata=metadata[suffix], bbox_inches="tight", facecolor="white")
    pyplot.close(figure)


def training_curves(histories: Mapping[str, Path], paths: Sequence[str | Path]) -> None:
    """Draw what training logged, one panel a value and one line a run.

    Args:
        histories: Label to `history.tsv`, whose columns are step, an optional epoch, and one column a logged value.
        paths: Files to write.

    Raises:
        InputError: a file is missing, has no column `step`, or logs nothing.
    """
    import pandas

    runs = {}
    for label, path in histories.items():
        try:
            runs[label] = pandas.read_csv(path, sep="\t")
        except (FileNotFoundError, pandas.errors.EmptyDataError):
            raise InputError(f"{path}: no such history, or an empty one; train the method first.") from None
        if "step" not in runs[label].columns:
            raise InputError(f"{path}: has no column step; it is no training history.")
    values = list(dict.fromkeys(column for run in runs.values() for column in run.columns if column not in ("step", "epoch")))
    if not values:
        raise InputError(f"{', '.join(map(str, histories.values()))}: logs no value beside step; nothing can be drawn.")
    across = min(3, len(values))
    down = -(-len(values) // across)
    with plain_style() as pyplot:
        figure, axes = pyplot.subplots(down, across, figsize=(3.1 * across, 2.1 * down), layout="constrained", squeeze=False)
        for axis, value in zip(axes.flat, values, strict=False):
            for number, (label, run) in enumerate(runs.items()):
                if value in run:
                    logged = run[["step", value]].dropna()
                    logged = logged.iloc[:: max(1, -(-len(logged) // POINTS))]
                    dash = ("-", "--", ":", "-.")[number // len(PALETTE) % 4]
                    marker = "o" if len(logged) == 1 else None
                    colour = PALETTE[number % len(PALETTE)]
                    axis.plot(logged["step"], logged[value], color=colour, linestyle=dash, marker=marker, linewidth=1.1, label=label)
            axis.set_title(value.replace("_", " "))
            axis.set_xlabel("step")
        for axis in list(axes.flat)[len(values) :]:
            axis.set_visible(False)
        lines = {line.get_label(): line for axis in axes.flat for line in axis.lines}
        figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=min(6, len(lines)))
        save(figure, paths)


def panels(experiment: Mapping[str, Any], table: "Table", paths: Sequence[str | Path]) -> None:
    """Draw a figure experiment: a row of panels a column, its first metric's mean with a 95 % interval at each tick.

    A setting whose interval cannot be given (one subject) is drawn as its mean alone.

    Args:
        experiment: Resolved entry of kind figure.
        table: Its `build_table`.
        paths: Files to write.

    Raises:
        InputError: a panel shows a method that is no row.
    """
    metric = table.metrics[0]
    blocks = experiment["panels"]
    unknown = [tick["method"] for block in blocks for tick in block["ticks"] if tick["method"] not in table.rows]
    if unknown:
        raise InputError(f"panels: {unknown[0]} is not among the rows of {experiment['title']!r}; add it there.")
    with plain_style() as pyplot:
        figure, axes = pyplot.subplots(
            len(table.columns),
            len(blocks),
            figsize=(3.4 * len(blocks), 2.7 * len(table.columns)),
            layout="constrained",
            squeeze=False,
            sharey="row",
            width_ratios=[len(block["ticks"]) + 1 for block in blocks],
        )
        for row, column in zip(axes, table.columns, strict=True):
            for axis, block in zip(row, blocks, strict=True):
                cells = [table.cells[tick["method"], column.key, metric.name] for tick in block["ticks"]]
                means = np.array([cell.mean for cell in cells])
                reach = np.array([[cell.mean - cell.ci_low for cell in cells], [cell.ci_high - cell.mean for cell in cells]])
                places = np.arange(len(cells))
                axis.errorbar(places, means, np.nan_to_num(reach), fmt="o", color=PALETTE[0], ecolor="0.45", capsize=3, markersize=5)
                best = places[[cell.best for cell in cells]]
                axis.plot(best, means[best], "D", color=PALETTE[1], markersize=7, zorder=3)
                axis.set_xticks(places, [tick["label"] for tick in block["ticks"]])
                axis.set_xlim(-0.6, len(cells) - 0.4)
                axis.set_title(block["title"])
                axis.grid(axis="y", color="0.9", linewidth=0.6)
                axis.set_axisbelow(True)
            row[0].set_ylabel(f"{metric.title}\n{column.label}\n({table.subjects(column.key)})")
        figure.supxlabel("Means over subjects with 95 % confidence intervals; the best is a diamond.", fontsize=8, color="0.35")
        save(figure, paths)


def quality_against_cost(experiment: Mapping[str, Any], table: "Table", paths: Sequence[str | Path]) -> None:
    """Draw a leaderboard: each method's mean with its 95 % interval against its cost, a panel a column, those on the front joined.

    Methods are numbered from the best on. Those without the cost, such as the low dose, stand as lines across.

    Args:
        experiment: Resolved entry of kind leaderboard.
        table: Its `build_table`.
        paths: Files to write.
    """
    name, against = (experiment["leaderboard"][key] for key in ("metric", "against"))
    metric, cost = DEFINITIONS[name], DEFINITIONS[against]
    sign = -1.0 if metric.better == "lower" else 1.0
    with plain_style() as pyplot:
        figure, axes = pyplot.subplots(1, len(table.columns), figsize=(6.4 * len(table.columns), 4.6), layout="constrained", squeeze=False)
        for axis, column in zip(axes.flat, table.columns, strict=True):
            cells = {row: table.cells[row, column.key, name] for row in table.rows if row != STANDARD_ROW}
            spent = {row: table.cells[row, COST, against].mean for row in cells}
            quality = {row: sign * cell.mean for row, cell in cells.items()}
            best, order = front(quality, spent), sorted(quality, key=quality.__getitem__, reverse=True)
            for number, row in enumerate(order, start=1):
                cell = cells[row]
                if math.isnan(spent[row]) or spent[row] <= 0:
                    axis.axhline(cell.mean, color="0.6", linewidth=0.8, linestyle=":")
                    axis.annotate(str(number), (0.0, cell.mean), xycoords=("axes fraction", "data"), fontsize=7, va="bottom")
                    continue
                colour = PALETTE[1] if row in best else PALETTE[0]
                reach = np.nan_to_num([[cell.mean - cell.ci_low], [cell.ci_high - cell.mean]])
                axis.errorbar(spent[row], cell.mean, reach, fmt="o", color=colour, ecolor="0.75", elinewidth=0.8, markersize=4)
                axis.annotate(str(number), (spent[row], cell.mean), xytext=(4, 3), textcoords="offset points", fontsize=7)
            names = [f"{number}  {table.rows[row].split(':')[0]}" for number, row in enumerate(order, start=1)]
            axis.text(1.02, 1.0, "\n".join(names), transform=axis.transAxes, fontsize=7, va="top", linespacing=1.35)
            axis.plot([spent[row] for row in best], [cells[row].mean for row in best], color=PALETTE[1], linewidth=0.9)
            axis.set(xscale="log", xlabel=f"{cost.title}{', ' + cost.unit if cost.unit else ''}")
            axis.set(
                ylabel=f"{metric.title}{', ' + metric.unit if metric.unit else ''}", title=f"{column.label} ({table.subjects(column.key)})"
            )
            axis.grid(axis="y", color="0.92", linewidth=0.6)
            axis.set_axisbelow(True)
        caption = "Means over people with 95 % confidence intervals; joined are the methods that none beats at less cost."
        figure.supxlabel(caption, fontsize=8, color="0.35")
        save(figure, paths)


def heat_maps(table: Path, paths: Sequence[str | Path]) -> None:
    """Draw how alike the layers of two branches are, a panel a part of the network, on one scale from 0 to 1.

    Estimates of layers that have nothing in common scatter around 0; those below it are drawn as 0.

    Args:
        table: What `petbench.restoration.representations.compare_layers` writes.
        paths: Files to write.
    """
    import pandas

    found = pandas.read_csv(table, sep="\t")
    first, matrices = found.iloc[0], similarity_matrices(found)
    with plain_style() as pyplot:
        figure, axes = pyplot.subplots(1, len(matrices), figsize=(3.9 * len(matrices), 3.6), layout="constrained", squeeze=False)
        for axis, (part, matrix) in zip(axes.flat, matrices.items(), strict=True):
            shown = axis.imshow(matrix, vmin=0, vmax=1, cmap="viridis", origin="lower")
            axis.set(
                xlabel=f"{first['column_branch'].upper()} branch, layer",
                ylabel=f"{first['row_branch'].upper()} branch, layer",
                title=part.capitalize(),
            )
            for set_ticks, labels in ((axis.set_xticks, matrix.columns), (axis.set_yticks, matrix.index)):
                every = -(-len(labels) // 12)
                set_ticks(range(0, len(labels), every), labels[::every])
            axis.spines[:].set_visible(False)
        figure.colorbar(shown, ax=axes.ravel().tolist(), label="linear CKA", shrink=0.85, pad=0.01)
        caption = f"Unbiased HSIC of {first['samples']} held-out windows at step {first['time_step']}; layers in the order that they run."
        figure.supxlabel(caption, fontsize=8, color="0.35")
        save(figure, paths)


def similarity_matrices(table: "DataFrame") -> "dict[str, DataFrame]":
    """The matrix of each part of the network: layers of one branch down, of the other across; NaN where a layer does not vary."""
    parts = dict.fromkeys(table["part"])
    return {part: table[table["part"] == part].pivot(index="row_layer", columns="column_layer", values="cka") for part in parts}

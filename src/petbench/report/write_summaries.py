"""Writes several plain tables of one experiment as TSV for machines, Markdown for reading and LaTeX for papers."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from petbench.files import atomic
from petbench.report.range_tables import notes
from petbench.report.summaries import Summary
from petbench.report.tables import ARROWS
from petbench.report.write_tables import escape, number, paragraph, pipes


def write_tsv(tables: Sequence[Summary], path: str | Path) -> None:
    """Write all tables in long format: table, row, column, metric, mean, sd, n, at full precision, NaN as "n/a"."""
    import pandas

    rows = [
        {"table": table.label, "row": title, "column": column, "metric": metric.name, "mean": mean, "sd": sd, "n": n}
        for table in tables
        for title, cells in table.rows
        for (metric, column), (mean, sd, n) in zip(table.headings, cells, strict=True)
    ]
    with atomic(path) as temporary:
        pandas.DataFrame(rows).to_csv(temporary, sep="\t", index=False, na_rep="n/a")


def write_markdown(experiment: Mapping[str, Any], tables: Sequence[Summary], note: str, path: str | Path) -> None:
    """Write all tables as Markdown, one under the other."""
    lines = [f"# {experiment['title']}", ""]
    for table in tables:
        lines += [
            f"## {table.label}",
            "",
            *pipes(["", *_heads(table)], [[title, *_texts(table, cells)] for title, cells in table.rows]),
            "",
        ]
    lines += [_below(experiment, note), "", f"What differs from the paper: {_line(experiment['differs'])}"]
    with atomic(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_latex(experiment: Mapping[str, Any], tables: Sequence[Summary], note: str, path: str | Path) -> None:
    """Write all tables as LaTeX for the booktabs package."""
    lines = [f"% {escape(experiment['title'])}"]
    for table in tables:
        lines += [
            *paragraph(table.label),
            rf"\begin{{tabular}}{{l{'r' * len(table.headings)}}}",
            r"\toprule",
            " & ".join(["", *(escape(head) for head in _heads(table))]) + r" \\",
            r"\midrule",
            *(" & ".join(escape(text) for text in [title, *_texts(table, cells)]) + r" \\" for title, cells in table.rows),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    lines += [*paragraph(_below(experiment, note)), *paragraph(f"What differs from the paper: {_line(experiment['differs'])}")]
    with atomic(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _below(experiment: Mapping[str, Any], note: str) -> str:
    return " ".join(filter(None, [notes(experiment), _line(note)]))


def _line(text: str) -> str:
    return " ".join(text.split())


def _heads(table: Summary) -> list[str]:
    heads = []
    for metric, column in table.headings:
        unit = f" ({metric.unit})" if metric.unit else ""
        heads.append(f"{column + ': ' if column else ''}{metric.title}{unit} {ARROWS[metric.better]}".rstrip())
    return heads


def _texts(table: Summary, cells: Sequence[tuple[float, float, int]]) -> list[str]:
    texts = []
    for (metric, _), (mean, sd, _) in zip(table.headings, cells, strict=True):
        spread = "" if math.isnan(sd) else f" ± {number(sd, metric.format.lstrip('+'))}"
        texts.append(f"{number(mean, metric.format)}{spread}")
    return texts

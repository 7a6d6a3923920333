"""Writes a table as TSV for machines, Markdown for reading and LaTeX for papers; published values always stand apart from ours."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from petbench.evaluation.definitions import measured_in
from petbench.files import atomic
from petbench.report.published import grid, sources
from petbench.report.tables import ARROWS, Cell, Column, Table, caption

if TYPE_CHECKING:
    from pandas import DataFrame

LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "<": r"$<$",
    ">": r"$>$",
    "–": "--",
}


def number(value: float, pattern: str) -> str:
    """A value as printed; n/a where it is not known."""
    return "n/a" if math.isnan(value) else format(value, pattern)


def long_table(table: Table) -> "DataFrame":
    """The table in long format: a row a method, column and metric, ours first, what the paper printed in columns of its own at the end."""
    import pandas

    printed: dict[tuple[str, str, str], tuple[str, str]] = {}
    for quoted in table.published:
        printed[quoted.row, quoted.column, quoted.metric.casefold()] = (quoted.value, quoted.mark)
    columns = {column.key: column for column in table.columns}
    # What the paper calls PSNR is one of our columns, the one that is measured as it is.
    claimed = {called.casefold() for called in table.published_metrics.values()}
    rows = []
    for (method, key, metric), cell in table.cells.items():
        column = columns.get(key, Column(key, key, "", "", table.region, table.cost))
        called = table.published_metrics.get(metric, "" if metric in claimed else metric).casefold()
        value, mark = printed.get((table.published_rows.get(method, ""), column.published, called), ("", ""))
        rows.append(
            {
                "method": method,
                "title": table.rows[method],
                "column": column.place,
                "reference": table.reference,
                "region": measured_in(metric, column.region),
                "metric": metric,
                "mean": cell.mean,
                "sd": cell.sd,
                "ci_low": cell.ci_low,
                "ci_high": cell.ci_high,
                "n": cell.n,
                "p_holm": cell.p_holm,
                "mark": cell.mark,
                "best": int(cell.best),
                "second": int(cell.second),
                "published": value,
                "published_mark": mark,
            }
        )
    return pandas.DataFrame(rows)


def write_tsv(table: Table, path: str | Path) -> None:
    """Write `long_table` at full precision, NaN as "n/a"; a cost holds for no reference or region, but stands under the table's own."""
    with atomic(path) as temporary:
        long_table(table).to_csv(temporary, sep="\t", index=False, na_rep="n/a")


def write_markdown(table: Table, path: str | Path) -> None:
    """Write the table as Markdown: ours first, then, under its own heading, what the paper printed."""
    heads = ["Method"]
    for _, label, metrics in table.blocks():
        heads += [f"{label}: {metric.title} {ARROWS[metric.better]}".rstrip() for metric in metrics]
    rows = []
    for method, title in table.rows.items():
        texts = [
            # A bare star would open an emphasis of its own.
            _emphasised(
                _text(table.cells[method, key, m.name], m.format, table.intervals).replace("*", r"\*"),
                table.cells[method, key, m.name],
                "**{}**",
                "<u>{}</u>",
            )
            for key, _, metrics in table.blocks()
            for m in metrics
        ]
        rows.append([title, *texts])
    lines = [f"# {table.title}", "", *pipes(heads, rows), "", _below(table).replace("*", r"\*")]
    if table.published:
        headings, quoted = grid(table.published)
        lines += ["", f"## Published values ({sources(table.published)})", ""]
        lines += pipes(
            ["Method", *(f"{column}: {metric}" if column else metric for column, metric in headings)],
            [[row, *(value.replace("*", r"\*") for value in values)] for row, values in quoted],
        )
    lines += ["", f"What differs from the paper: {table.differs}".replace("*", r"\*")]
    with atomic(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_latex(table: Table, path: str | Path) -> None:
    """Write the table as LaTeX for the booktabs package: a tabular of ours and, where the paper printed values, a second one of those.

    What belongs below them is set in small print, not commented out, so that no warning is lost where the file is taken into a paper.
    """
    blocks = table.blocks()
    metrics = [metric for _, _, block in blocks for metric in block]
    spans, rules, first = [], [], 2
    for _, label, block in blocks:
        spans.append(rf"\multicolumn{{{len(block)}}}{{c}}{{{escape(label)}}}")
        rules.append(rf"\cmidrule(lr){{{first}-{first + len(block) - 1}}}")
        first += len(block)
    lines = [
        f"% {escape(table.title)}",
        rf"\begin{{tabular}}{{l{'r' * len(metrics)}}}",
        r"\toprule",
        " & " + " & ".join(spans) + r" \\",
        "".join(rules),
        "Method & " + " & ".join(escape(f"{metric.title} {ARROWS[metric.better]}".rstrip()) for metric in metrics) + r" \\",
        r"\midrule",
    ]
    for method, title in table.rows.items():
        texts = []
        for key, _, block in blocks:
            for metric in block:
                cell = table.cells[method, key, metric.name]
                texts.append(_emphasised(escape(_text(cell, metric.format, table.intervals)), cell, r"\textbf{{{}}}", r"\underline{{{}}}"))
        lines.append(" & ".join([escape(title), *texts]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", *paragraph(_below(table))]
    if table.published:
        headings, quoted = grid(table.published)
        lines += [
            *paragraph(f"Published values, not measured here: {sources(table.published)}."),
            rf"\begin{{tabular}}{{l{'r' * len(headings)}}}",
            r"\toprule",
            "Method & " + " & ".join(escape(f"{column} {metric}".strip()) for column, metric in headings) + r" \\",
            r"\midrule",
            *(" & ".join(escape(text) for text in [row, *values]) + r" \\" for row, values in quoted),
            r"\bottomrule",
            r"\end{tabular}",
        ]
    lines += paragraph(f"What differs from the paper: {table.differs}")
    with atomic(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def escape(text: str) -> str:
    """`text` with every character that LaTeX reads as a command written as the character itself."""
    return "".join(LATEX.get(character, character) for character in text)


def _below(table: Table) -> str:
    """Caption and notes; of measured images neither format prints confidence intervals."""
    return " ".join([caption(table, intervals=False), *table.notes])


def paragraph(text: str) -> list[str]:
    """A paragraph of small print in LaTeX."""
    return [
        "",
        r"\par\smallskip\noindent",
        r"\begin{minipage}{\linewidth}\footnotesize",
        escape(text),
        r"\end{minipage}",
        r"\par\medskip",
        "",
    ]


def _text(cell: Cell, pattern: str, intervals: bool = False) -> str:
    spread = "" if math.isnan(cell.sd) else f" ± {number(cell.sd, pattern.lstrip('+'))}"
    reach = f" [{number(cell.ci_low, pattern)}, {number(cell.ci_high, pattern)}]" if intervals and not math.isnan(cell.ci_low) else ""
    return f"{cell.mark}{number(cell.mean, pattern)}{spread}{reach}"


def _emphasised(text: str, cell: Cell, best: str, second: str) -> str:
    if cell.best:
        return best.format(text)
    return second.format(text) if cell.second else text


def pipes(heads: list[str], rows: list[list[str]]) -> list[str]:
    """A table in Markdown."""

    def line(texts: list[str]) -> str:
        return "| " + " | ".join(text.replace("|", r"\|") for text in texts) + " |"

    return [line(heads), "|" + "|".join([" :-- ", *[" --: "] * (len(heads) - 1)]) + "|", *(line(row) for row in rows)]

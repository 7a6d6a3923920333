"""Writes a table as TSV for machines, Markdown for reading and LaTeX for papers; published values always stand in columns of their own."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from petbench.evaluation.definitions import measured_in
from petbench.files import atomic
from petbench.report.published import Quoted, grid, sources
from petbench.report.tables import ARROWS, DIFFERENCE, PAPER, Cell, Column, Table, caption

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
    "−": r"$-$",
}


def number(value: float, pattern: str) -> str:
    """A value as printed; n/a where it is not known."""
    return "n/a" if math.isnan(value) else format(value, pattern)


def long_table(table: Table) -> "DataFrame":
    """The table in long format: a row a method, column and metric, ours first, what the paper printed in columns of its own at the end."""
    import pandas

    beside = table.beside()
    columns = {column.key: column for column in table.columns}
    rows = []
    for (method, key, metric), cell in table.cells.items():
        column = columns.get(key, Column(key, key, "", "", table.region, table.cost))
        quoted = beside.get((method, key, metric))
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
                "published": quoted.value if quoted else "",
                "published_mark": quoted.mark if quoted else "",
                "published_unit": quoted.unit if quoted else "",
                "difference": cell.mean - quoted.number if quoted else math.nan,
            }
        )
    return pandas.DataFrame(rows)


def write_tsv(table: Table, path: str | Path) -> None:
    """Write `long_table` at full precision, NaN as "n/a"; a cost holds for no reference or region, but stands under the table's own."""
    with atomic(path) as temporary:
        long_table(table).to_csv(temporary, sep="\t", index=False, na_rep="n/a")


def compared(cell: Cell, pattern: str, quoted: Quoted | None) -> tuple[str, str]:
    """The paper's number as printed, and our mean minus it; dashes where it printed none."""
    if quoted is None:
        return "–", "–"
    return quoted.text, number(cell.mean - quoted.number, f"+{pattern.lstrip('+')}")


def write_markdown(table: Table, path: str | Path) -> None:
    """Write the table as Markdown: ours, with the paper's number beside each that it printed too; then, under its own heading, what the
    paper alone has."""
    beside = table.beside()
    measured = [(key, label, m, m.name in table.paired(key)) for key, label, metrics in table.blocks() for m in metrics]
    heads = ["Method"]
    for _, label, metric, paired in measured:
        heads.append(f"{label}: {metric.title} {ARROWS[metric.better]}".rstrip())
        heads += [PAPER, DIFFERENCE] if paired else []
    rows = []
    for method, title in table.rows.items():
        texts = []
        for key, _, metric, paired in measured:
            cell = table.cells[method, key, metric.name]
            # A bare star would open an emphasis of its own.
            own = _text(cell, metric.format, table.intervals).replace("*", r"\*")
            texts.append(_emphasised(own, cell, "**{}**", "<u>{}</u>"))
            if paired:
                texts += [text.replace("*", r"\*") for text in compared(cell, metric.format, beside.get((method, key, metric.name)))]
        rows.append([title, *texts])
    lines = [f"# {table.title}", "", *pipes(heads, rows), "", _below(table).replace("*", r"\*")]
    headings, quoted = grid(table.published, set(beside.values()))
    if headings:
        lines += ["", f"## Published values ({sources(table.published)})", ""]
        lines += pipes(
            ["Method", *(f"{column}: {metric}" if column else metric for column, metric in headings)],
            [[row, *(value.replace("*", r"\*") for value in values)] for row, values in quoted],
        )
    lines += ["", f"What differs from the paper: {table.differs}".replace("*", r"\*")]
    with atomic(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_latex(table: Table, path: str | Path) -> None:
    """Write the table as LaTeX for the booktabs package: a tabular of ours and, where the paper printed values, one of ours beside those
    and one of what the paper alone has.

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
    beside = table.beside()
    if beside:
        lines += _latex_beside(table, beside)
    headings, quoted = grid(table.published, set(beside.values()))
    if headings:
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


def _latex_beside(table: Table, beside: Mapping[tuple[str, str, str], Quoted]) -> list[str]:
    """A tabular of the rows that the paper has too: our mean, its number, ours minus it."""
    measured = [(key, label, metric) for key, label, metrics in table.blocks() for metric in metrics if metric.name in table.paired(key)]
    spans = [rf"\multicolumn{{3}}{{c}}{{{escape(f'{label}: {metric.title}')}}}" for _, label, metric in measured]
    heads = ["Method", *["Ours", PAPER, DIFFERENCE] * len(measured)]
    lines = [
        *paragraph(f"Ours beside the paper's ({sources(tuple(beside.values()))})."),
        rf"\begin{{tabular}}{{l{'rrr' * len(measured)}}}",
        r"\toprule",
        " & " + " & ".join(spans) + r" \\",
        " & ".join(escape(head) for head in heads) + r" \\",
        r"\midrule",
    ]
    theirs = {method for method, _, _ in beside}
    for method in filter(theirs.__contains__, table.rows):
        texts = [table.rows[method]]
        for key, _, metric in measured:
            cell = table.cells[method, key, metric.name]
            texts += [number(cell.mean, metric.format), *compared(cell, metric.format, beside.get((method, key, metric.name)))]
        lines.append(" & ".join(escape(text) for text in texts) + r" \\")
    return [*lines, r"\bottomrule", r"\end{tabular}"]


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

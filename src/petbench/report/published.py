"""What the papers printed: quoted text, read and laid out as it stood.

It enters no mean, rank or test; ours minus it is all that is computed.
"""

import math
import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from petbench.errors import InputError

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("row", "column", "metric", "value", "mark", "source")
UNITS = {"": 1.0, "%": 0.01}
"""What one of a printed number's units is in ours; a table of resources/published names it in a column `unit`, where it has one."""
SUFFIXES = {"": 1.0, "M": 1e6}
ABOVE = "above"
"""What a box says where the number stands beside ours, in the table above."""
PAPER_COLUMNS = ("paper", "name", "citation")


class Quoted(NamedTuple):
    """One printed number, as text: the paper's names of its row, column and metric, what stands beside it, paper and table, and its unit
    where that is not ours, one of `UNITS`."""

    row: str
    column: str
    metric: str
    value: str
    mark: str
    source: str
    unit: str = ""

    @property
    def text(self) -> str:
        """The number as it is shown: its mark, its digits as printed, its unit."""
        return f"{self.mark}{self.value}{' ' if self.unit else ''}{self.unit}"

    @property
    def number(self) -> float:
        """The printed mean in our units; NaN where no number was printed."""
        found = re.match(r"([-+]?\d+(?:\.\d+)?)(M?)(?: ±|$)", self.value)
        return float(found[1]) * SUFFIXES[found[2]] * UNITS[self.unit] if found else math.nan


def read_published(path: str | Path) -> tuple[Quoted, ...]:
    """Read a table of resources/published, every field as text, so that trailing zeros stay.

    Raises:
        InputError: the file is missing, lacks a column, quotes a number twice, or has a unit that is none of `UNITS`.
    """
    table = _read(path, COLUMNS)
    repeated = table[table.duplicated(["row", "column", "metric"])]
    if len(repeated):
        first = repeated.iloc[0]
        raise InputError(f"{path}: {first['metric']} of {first['row']} stands twice under {first['column']!r}; keep one.")
    quoted = tuple(Quoted(**{name: record.get(name, "") for name in Quoted._fields}) for record in table.to_dict("records"))
    if unknown := [number.unit for number in quoted if number.unit not in UNITS]:
        raise InputError(f"{path}: unit {unknown[0]!r} is unknown; use one of {', '.join(filter(None, UNITS))}, or leave it empty.")
    return quoted


def read_papers(path: str | Path) -> dict[str, Mapping[str, str]]:
    """Read resources/published/papers.tsv: by a paper's short name, its `name` and `citation`.

    Raises:
        InputError: the file is missing or lacks a column.
    """
    return {
        record["paper"]: {"name": record["name"], "citation": record["citation"]}
        for record in _read(path, PAPER_COLUMNS).to_dict("records")
    }


def grid(published: tuple[Quoted, ...], beside: Container[Quoted] = ()) -> tuple[list[tuple[str, str]], list[tuple[str, list[str]]]]:
    """What the paper alone has, in its own order: (column, metric) headings, and for each row its name and printed values with marks.

    Args:
        published: The printed table.
        beside: What stands beside values of ours already. Rows and columns of nothing else are left out; in others it reads `ABOVE`.
    """
    alone = [quoted for quoted in published if quoted not in beside]
    columns, rows = {(quoted.column, quoted.metric) for quoted in alone}, {quoted.row for quoted in alone}
    headings = [heading for heading in dict.fromkeys((quoted.column, quoted.metric) for quoted in published) if heading in columns]
    printed = {(quoted.row, quoted.column, quoted.metric): ABOVE if quoted in beside else quoted.text for quoted in published}
    return headings, [
        (row, [printed.get((row, *heading), "–") for heading in headings])
        for row in dict.fromkeys(quoted.row for quoted in published)
        if row in rows
    ]


def sources(published: tuple[Quoted, ...]) -> str:
    """Papers and tables that are quoted."""
    return ", ".join(dict.fromkeys(quoted.source for quoted in published))


def _read(path: str | Path, columns: tuple[str, ...]) -> "DataFrame":
    import pandas

    try:
        table = pandas.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path.") from None
    except ValueError as error:
        raise InputError(f"{path}: is no table ({error}); write it as tab-separated text with a header.") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(f"{path}: has no column {', '.join(missing)}; it needs {', '.join(columns)}.")
    return table

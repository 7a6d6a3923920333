"""What the papers printed: quoted text, read and laid out as it stood, never computed with."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from petbench.errors import InputError

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = ("row", "column", "metric", "value", "mark", "source")
PAPER_COLUMNS = ("paper", "name", "citation")


class Quoted(NamedTuple):
    """One printed number, as text: the paper's names of its row, column and metric, what stands beside it, and paper and table."""

    row: str
    column: str
    metric: str
    value: str
    mark: str
    source: str


def read_published(path: str | Path) -> tuple[Quoted, ...]:
    """Read a table of resources/published, every field as text, so that trailing zeros stay.

    Raises:
        InputError: the file is missing, lacks a column, or quotes a number twice.
    """
    table = _read(path, COLUMNS)
    repeated = table[table.duplicated(["row", "column", "metric"])]
    if len(repeated):
        first = repeated.iloc[0]
        raise InputError(f"{path}: {first['metric']} of {first['row']} stands twice under {first['column']!r}; keep one.")
    return tuple(Quoted(*(record[name] for name in COLUMNS)) for record in table.to_dict("records"))


def read_papers(path: str | Path) -> dict[str, Mapping[str, str]]:
    """Read resources/published/papers.tsv: by a paper's short name, its `name` and `citation`.

    Raises:
        InputError: the file is missing or lacks a column.
    """
    return {
        record["paper"]: {"name": record["name"], "citation": record["citation"]}
        for record in _read(path, PAPER_COLUMNS).to_dict("records")
    }


def grid(published: tuple[Quoted, ...]) -> tuple[list[tuple[str, str]], list[tuple[str, list[str]]]]:
    """The printed table in the paper's own order: (column, metric) headings, and for each row its name and printed values with marks."""
    headings = list(dict.fromkeys((quoted.column, quoted.metric) for quoted in published))
    printed = {(quoted.row, quoted.column, quoted.metric): quoted.mark + quoted.value for quoted in published}
    return headings, [
        (row, [printed.get((row, *heading), "–") for heading in headings]) for row in dict.fromkeys(quoted.row for quoted in published)
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

"""Measure the restored images of a finished run again and compare with the tables it stored."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petbench.errors import InputError
from petbench.evaluation.evaluate import evaluate
from petbench.evaluation.settings import settings_from
from petbench.evaluation.table import read_tables
from petbench.report.published import read_published
from petbench.report.tables import build_table
from petbench.report.write_tables import write_tsv

if TYPE_CHECKING:
    import pandas as pd

# Reading a number from text may cost its last bit.
TOLERANCE = 1e-9
# Columns that say what a value is of.
KEYS = (
    *("dataset", "dose", "method", "fold", "subject", "column", "reference", "region", "metric"),
    *("model", "realisation", "iteration", "lesion", "part", "quantity"),
)


def verify(
    measured: Mapping[str, Mapping[str, Any]], reconstructed: Mapping[str, Mapping[str, Any]], tables: Mapping[str, Mapping[str, Any]]
) -> None:
    """Compare stored tables with what the restored images give now.

    Args:
        measured: By the path of each metrics table, what `evaluate` took, its `settings` as plain values.
        reconstructed: By the path of each table of a torso's measures, what `measure_realisation` took.
        tables: By the path of each experiment's table, its `experiment` and `titles`, the path of its `published` values or none, and the
            `metrics` tables it was built from.

    Raises:
        InputError: some differ; one line a difference, with what is stored and what was recomputed.
    """
    from petbench.positron_range.experiment_reconstruction import measure_realisation

    found: list[str] = []
    anew: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (stored, given) in enumerate(measured.items()):
            path = Path(folder, f"{number}.tsv")
            try:
                evaluate(path, **{**given, "settings": settings_from(given["settings"])})
            except InputError as error:
                found.append(f"{stored}: cannot be recomputed: {error}")
                continue
            anew[stored] = str(path)
            found += differences(stored, path)
        for number, (stored, given) in enumerate(reconstructed.items()):
            path = Path(folder, f"measures-{number}.tsv")
            try:
                measure_realisation(**given, out={"measures": str(path), "profiles": str(path.with_name("profiles.tsv"))})
            except InputError as error:
                found.append(f"{stored}: cannot be recomputed: {error}")
                continue
            found += differences(stored, path)
        for stored, table in tables.items():
            if set(table["metrics"]) <= set(anew):
                path = Path(folder, Path(stored).name)
                published = read_published(table["published"]) if table["published"] else ()
                metrics = read_tables([anew[name] for name in table["metrics"]])
                write_tsv(build_table(table["experiment"], metrics, published, table["titles"]), path)
                found += differences(stored, path)
    if found:
        raise InputError("\n".join(found))


def differences(stored: str | Path, recomputed: str | Path) -> list[str]:
    """One line for each row in which two tables differ; numbers may differ in the last digits that text holds."""
    try:
        ours, theirs = _rows(stored), _rows(recomputed)
    except FileNotFoundError:
        return [f"{stored}: no such file; finish the run first."]
    lines = [f"{stored}: lacks the row {' '.join(key)}." for key in theirs.index.difference(ours.index, sort=False)]
    lines += [f"{stored}: has a row {' '.join(key)} that the run does not give." for key in ours.index.difference(theirs.index, sort=False)]
    for key in ours.index.intersection(theirs.index, sort=False):
        for column in theirs.columns:
            old, new = str(ours.at[key, column]) if column in ours.columns else "nothing", str(theirs.at[key, column])
            if not _equal(old, new):
                lines.append(f"{stored}: {' '.join(key)}: {column} is stored as {old}, recomputed as {new}.")
    return lines


def _rows(path: str | Path) -> "pd.DataFrame":
    """A table as text, its rows named by the columns that say what a value is of."""
    import pandas as pd

    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    names = [name for name in KEYS if name in table.columns]
    return table.set_index(pd.MultiIndex.from_frame(table[names])).drop(columns=names)


def _equal(stored: str, recomputed: str) -> bool:
    if stored == recomputed:
        return True
    try:
        one, other = float(stored), float(recomputed)
    except ValueError:
        return False
    return abs(one - other) <= TOLERANCE * max(abs(one), abs(other))

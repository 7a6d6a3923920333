"""Measure the restored images of a finished run again, build its tables again, and compare with what it stored."""

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petbench.errors import InputError
from petbench.evaluation.evaluate import evaluate
from petbench.evaluation.scores import read_scores
from petbench.evaluation.settings import settings_from
from petbench.evaluation.table import read_tables
from petbench.files import read_json
from petbench.report import write_summaries, write_tables
from petbench.report.diagnosis import build_diagnosis
from petbench.report.provenance import sources
from petbench.report.published import read_published
from petbench.report.range_tables import range_tables
from petbench.report.tables import build_table

if TYPE_CHECKING:
    import pandas as pd

# Reading a number from text may cost its last bit.
TOLERANCE = 1e-9
# Columns that say what a value is of.
KEYS = (
    *("dataset", "dose", "method", "fold", "subject", "table", "row", "column", "reference", "region", "metric"),
    *("model", "realisation", "iteration", "lesion", "part", "quantity"),
)


def verify(
    scale: str,
    measured: Mapping[str, Mapping[str, Any]],
    reconstructed: Mapping[str, Mapping[str, Any]],
    summarised: Mapping[str, Sequence[str]],
    tables: Mapping[str, Mapping[str, Any]],
) -> None:
    """Compare stored tables with what the restored images give now.

    Args:
        scale: The run's scale.
        measured: By the path of each metrics table, what `evaluate` took, its `settings` as plain values.
        reconstructed: By the path of each table of a torso's measures, what `measure_realisation` took.
        summarised: By the path of each summary of such measures, their paths.
        tables: By the path of each experiment's table, its `experiment` and `titles`, the `files` it was built from by kind, the path
            of its `published` values or none, and `bootstrap` of a diagnosis, whose scores are taken as they are stored; `record`, what
            `sources` takes.

    Raises:
        InputError: there is no such run, or some differ; one line a difference, with what is stored and what was recomputed.
    """
    if not any(Path(path).exists() for path in (*measured, *reconstructed, *tables)):
        raise InputError(f"verify: no table of a run at scale {scale} is here; finish one, or name the scale's file with --configfile.")
    found: list[str] = []
    anew: dict[str, str] = {}
    lost: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:

        def again(stored: str, made_from: Iterable[str], make: Callable[[str], None]) -> None:
            if not lost.isdisjoint(made_from):
                lost.add(stored)  # what it is made of was told
                return
            path = str(Path(folder, f"{len(anew) + len(lost)}.tsv"))
            try:
                make(path)
            except (InputError, OSError) as error:
                lost.add(stored)
                found.append(f"{stored}: cannot be recomputed: {error}")
                return
            anew[stored] = path
            found.extend(differences(stored, path))

        for stored, given in measured.items():
            again(stored, (), partial(_evaluate, given))
        for stored, given in reconstructed.items():
            again(stored, (), partial(_measure, given))
        for stored, parts in summarised.items():
            again(stored, parts, partial(_summarise, parts, anew))
        for stored, table in tables.items():
            files = {kind: [anew.get(path, path) for path in paths] for kind, paths in table["files"].items()}
            again(stored, [path for paths in table["files"].values() for path in paths], partial(_tabulate, table, files))
            found.extend(_unlike_record(str(Path(stored).with_suffix(".json")), table["record"]))
    if found:
        raise InputError("\n".join(found))


def _evaluate(given: Mapping[str, Any], path: str) -> None:
    evaluate(path, **{**given, "settings": settings_from(given["settings"])})


def _measure(given: Mapping[str, Any], path: str) -> None:
    from petbench.positron_range.experiment_reconstruction import measure_realisation

    measure_realisation(**given, out={"measures": path, "profiles": f"{path}.profiles"})


def _summarise(parts: Sequence[str], anew: Mapping[str, str], path: str) -> None:
    from petbench.positron_range.experiment_reconstruction import summarise_realisations

    summarise_realisations([anew[part] for part in parts], path)


def _tabulate(table: Mapping[str, Any], files: Mapping[str, Sequence[str]], path: str) -> None:
    """Write an experiment's table as its rule does, without the notes."""
    experiment, titles = table["experiment"], table["titles"]
    published = read_published(table["published"]) if table["published"] else ()
    if "metrics" in files:
        write_tables.write_tsv(build_table(experiment, read_tables(files["metrics"]), published, titles), path)
    elif "scores" in files:
        scores = read_scores(files["scores"])
        write_tables.write_tsv(build_diagnosis(experiment, scores, published, titles, table["bootstrap"]), path)
    else:
        write_summaries.write_tsv(range_tables(experiment, files, titles), path)


def _unlike_record(path: str, given: Mapping[str, Any]) -> list[str]:
    """How a table's record differs from its data, seeds and configuration now; other code is no difference, other numbers are."""
    try:
        stored, now = read_json(path), sources(**given)
    except (InputError, OSError) as error:
        return [f"{path}: cannot be compared: {error}"]
    lines = []
    for block, new in now.items():
        old = stored.get(block) if isinstance(stored, dict) else None
        pairs = {block: (old, new)}
        if isinstance(old, dict) and isinstance(new, dict):
            pairs = {f"{block} {name}": (old.get(name), new.get(name)) for name in dict.fromkeys([*new, *old])}
        lines += [f"{path}: {name} is stored as {was}, now {is_now}." for name, (was, is_now) in pairs.items() if was != is_now]
    return lines


def differences(stored: str | Path, recomputed: str | Path) -> list[str]:
    """One line for each row in which two tables differ; numbers may differ in the last digits that text holds."""
    theirs = _rows(recomputed)
    try:
        ours = _rows(stored)
    except FileNotFoundError:
        return [f"{stored}: no such file; finish the run first."]
    except (ValueError, OSError) as error:
        return [f"{stored}: cannot be read as a table ({str(error).splitlines()[0]}); delete it and run again."]
    if list(ours.index.names) != list(theirs.index.names):
        return [f"{stored}: lacks the columns that name its rows, {', '.join(map(str, theirs.index.names))}; delete it and run again."]
    if twice := list(dict.fromkeys(ours.index[ours.index.duplicated()])):
        return [f"{stored}: has the row {' '.join(key)} more than once; delete it and run again." for key in twice]
    lines = [f"{stored}: lacks the row {' '.join(key)}." for key in theirs.index.difference(ours.index, sort=False)]
    lines += [f"{stored}: has a row {' '.join(key)} that the run does not give." for key in ours.index.difference(theirs.index, sort=False)]
    lines += [f"{stored}: has a column {name} that the run does not give." for name in ours.columns.difference(theirs.columns)]
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
    if not names:
        raise ValueError("no column says what a value is of")
    return table.set_index(pd.MultiIndex.from_frame(table[names])).drop(columns=names)


def _equal(stored: str, recomputed: str) -> bool:
    if stored == recomputed:
        return True
    try:
        one, other = float(stored), float(recomputed)
    except ValueError:
        return False
    return abs(one - other) <= TOLERANCE * max(abs(one), abs(other))

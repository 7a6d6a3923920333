"""Long tables of the experiments: one row a value, written as TSV."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petbench.errors import InputError
from petbench.files import atomic

if TYPE_CHECKING:
    import pandas as pd


def write_long_table(path: str | Path, rows: "Iterable[Mapping[str, Any]] | pd.DataFrame") -> None:
    """Write rows as TSV, atomically; the columns are the keys of the first, values have full precision, NaN is "n/a"."""
    import pandas as pd

    table = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    with atomic(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, na_rep="n/a")


def read_long_tables(paths: Iterable[str | Path], text: Iterable[str]) -> "pd.DataFrame":
    """Read tables of the same columns into one.

    Args:
        paths: The files.
        text: Columns that are words, even where they look like numbers or hold "none".

    Raises:
        InputError: a file is missing or no table, or lacks a column, or there is none.
    """
    import pandas as pd

    text, tables = list(text), []
    for path in paths:
        try:
            table = pd.read_csv(path, sep="\t", dtype=dict.fromkeys(text, str), keep_default_na=False, na_values={"value": ["n/a"]})
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; check the path.") from None
        except ValueError as error:
            raise InputError(f"{path}: is no table ({error}); write it again.") from None
        missing = [name for name in [*text, "value"] if name not in table]
        if missing:
            raise InputError(f"{path}: lacks the column {missing[0]}; write it again.")
        tables.append(table)
    if not tables:
        raise InputError("tables: none was given; name at least one.")
    return pd.concat(tables, ignore_index=True)

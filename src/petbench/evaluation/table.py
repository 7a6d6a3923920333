"""The long-format metrics table: its columns, and how it is written and read.

`person` is whom a subject shows: rotated copies of one phantom are several subjects and one person.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from petbench.errors import InputError
from petbench.files import atomic

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("dataset", "dose", "method", "fold", "subject", "person", "reference", "region", "metric", "value")


def write_table(path: str | Path, table: "pd.DataFrame") -> None:
    """Write a long table as TSV, atomically; values at full precision, NaN as "n/a".

    Raises:
        InputError: a column is missing.
    """
    missing = [name for name in COLUMNS if name not in table.columns]
    if missing:
        raise InputError(f"{path}: the table lacks the columns {', '.join(missing)}; a metrics table has {', '.join(COLUMNS)}.")
    with atomic(path) as temporary:
        table.to_csv(temporary, columns=list(COLUMNS), sep="\t", index=False, na_rep="n/a")


def no_metrics() -> "pd.DataFrame":
    """A table without a value, of a run in which nothing is restored."""
    import pandas as pd

    return pd.DataFrame({name: pd.Series(dtype=float if name == "value" else str) for name in COLUMNS})


def read_tables(paths: Iterable[str | Path]) -> "pd.DataFrame":
    """Read metrics tables into one; every column is text except `value`, whose "n/a" becomes NaN.

    Raises:
        InputError: a file is missing, or is no metrics table, or there is none.
    """
    import pandas as pd

    tables = []
    for path in paths:
        try:
            # Text columns keep words such as "none" and "n/a" that pandas would turn into NaN.
            table = pd.read_csv(path, sep="\t", dtype=dict.fromkeys(COLUMNS[:-1], str), keep_default_na=False, na_values={"value": ["n/a"]})
            table = table[list(COLUMNS)].astype({"value": float})
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; check the path.") from None
        except (KeyError, ValueError) as error:
            raise InputError(f"{path}: is no metrics table ({error}); write it again with evaluate.") from None
        tables.append(table)
    if not tables:
        raise InputError("tables: no metrics table was given; name at least one metrics.tsv.")
    return pd.concat(tables, ignore_index=True)

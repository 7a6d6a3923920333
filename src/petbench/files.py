"""Writing files so that a killed job leaves nothing half-written."""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from petbench.errors import InputError


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` if the block succeeds, remove it if not.

    The temporary name ends like `path`, so that libraries that look at the suffix still work.

    Raises:
        InputError: the disk is full, or nothing may be written there.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-", suffix="-" + path.name)
    except OSError as error:
        if error.errno in FULL:
            raise InputError(_full(path)) from None
        raise InputError(f"{path}: cannot be written ({error.strerror}); make its folder writable, or work in another one.") from None
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except Exception as error:
        if _ran_full(error, path.parent):
            raise InputError(_full(path)) from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


FULL = (errno.ENOSPC, errno.EDQUOT)
LEAST_FREE = 1 << 16


def _ran_full(error: Exception, folder: Path) -> bool:
    """Whether a write failed for want of room, which libraries report in many ways, or leave to be seen."""
    if isinstance(error, OSError) and error.errno in FULL:
        return True
    said = f"{error} {error.__context__}"
    return any(os.strerror(number) in said for number in FULL) or shutil.disk_usage(folder).free < LEAST_FREE


def _full(path: Path) -> str:
    return f"{path}: the disk or your share of it is full; make room and run again."


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as indented JSON; NaN and infinity are refused, as JSON has neither."""
    text = json.dumps(content, indent=2, allow_nan=False)
    with atomic(path) as temporary:
        temporary.write_text(text + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: the file is missing, cannot be read or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path.") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); mend its permissions, or remove it.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); write it again.") from None


def open_array(path: str | Path) -> Any:
    """Map an array `*.npy` into memory.

    Raises:
        InputError: the file is missing, damaged or no plain array.
    """
    import numpy as np

    try:
        return np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run again to make it anew.") from None
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path}: is cut short or damaged ({error}); delete it and run again.") from None


def checksum(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Twelve hexadecimal digits that follow from the content of a JSON-like value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]

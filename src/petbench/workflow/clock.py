"""Files dated in the future: a machine's clock is wrong, and jobs that read them seem never to be done."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# What clocks of one site may differ by, in seconds.
TOLERANCE_S = 60.0


def future_files(folder: str | Path) -> list[str]:
    """Files below `folder` that are dated later than now, sorted."""
    latest = time.time() + TOLERANCE_S
    return sorted(path for path, changed in _files(str(folder)) if changed > latest)


def _files(folder: str) -> Iterator[tuple[str, float]]:
    """Files and when they changed; those that vanish meanwhile, and folders that cannot be read, are left out."""
    for below, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(below, name)
            with suppress(FileNotFoundError):
                yield path, os.lstat(path).st_mtime

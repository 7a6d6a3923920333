"""Files dated in the future: a machine's clock is wrong, and jobs that read them seem never to be done."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

# What clocks of one site may differ by, in seconds.
TOLERANCE_S = 60.0


def future_files(folder: str | Path) -> list[str]:
    """Files below `folder` that are dated later than now, sorted."""
    latest = time.time() + TOLERANCE_S
    return sorted(path for path, changed in _files(str(folder)) if changed > latest)


def _files(folder: str) -> Iterator[tuple[str, float]]:
    if not os.path.isdir(folder):
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path)
            else:
                yield entry.path, entry.stat(follow_symlinks=False).st_mtime

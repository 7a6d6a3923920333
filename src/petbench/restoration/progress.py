"""Restoring that goes on after a kill: what windows have added up to is kept every so often, under the hash of all that it depends on."""

import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from petbench.checkpoint import Checkpoint, locked
from petbench.files import digest


class Progress:
    """How far a volume is restored.

    Attributes:
        windows: How many windows, in their order, are in `total`.
        total: What their weighted values add up to, (x, y, z); none before the first.
    """

    def __init__(self, checkpoint: Checkpoint | None = None, every: float = 60.0) -> None:
        state = None if checkpoint is None else checkpoint.load()
        self._checkpoint, self._every = checkpoint, every
        self._started = self._kept = time.perf_counter()
        self._cpu_started = time.process_time()
        self._before, self._cpu_before = (0.0, 0.0) if state is None else (float(state["seconds"]), float(state["cpu_seconds"]))
        self.windows = 0 if state is None else int(state["windows"])
        self.total: NDArray[np.float64] | None = None if state is None else state["total"].numpy()

    @property
    def seconds(self) -> float:
        """Time spent so far, that of killed jobs up to what they kept included."""
        return self._before + time.perf_counter() - self._started

    @property
    def cpu_seconds(self) -> float:
        """Processor time of the same, over all cores."""
        return self._cpu_before + time.process_time() - self._cpu_started

    def keep(self, total: NDArray[np.float64], windows: int) -> None:
        """Take note of what so many windows add up to, and write it if the last time is long enough ago."""
        self.total, self.windows = total, windows
        if self._checkpoint is not None and time.perf_counter() - self._kept > self._every:
            spent = {"seconds": self.seconds, "cpu_seconds": self.cpu_seconds}
            self._checkpoint.save({"total": torch.from_numpy(total), "windows": windows, **spent})
            self._kept = time.perf_counter()


@contextmanager
def resumable(
    folder: str | Path | None, identity: Mapping[str, Any], volumes: Sequence[NDArray[np.floating] | None], every: float
) -> Iterator[Progress]:
    """Go on from what an interrupted restoration kept, and forget it once the block has ended well.

    Args:
        folder: Where it is kept; one process at a time may restore there. None keeps nothing.
        identity: All the result depends on besides the volumes, JSON-like: what was kept of anything else is not gone on with.
        volumes: The inputs.
        every: Seconds between writes.

    Raises:
        InputError: another process restores there, or what was kept is damaged.
    """
    if folder is None:
        yield Progress()
        return
    contents = [None if volume is None else hashlib.sha256(np.ascontiguousarray(volume).tobytes()).hexdigest() for volume in volumes]
    with locked(folder, digest({**identity, "volumes": contents}), "restoring") as checkpoint:
        progress = Progress(checkpoint, every)
        if progress.windows:
            print(f"resuming after {progress.windows} windows")
        yield progress
        # With its lock: what is restored by the thousand would leave a folder each. Whoever waits for it writes the same image.
        shutil.rmtree(folder, ignore_errors=True)

"""Resume checkpoints: beside the declared outputs, under the hash of all that a training or a restoration depends on, and under a lock."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from petbench.errors import InputError
from petbench.files import atomic


@dataclass(frozen=True)
class Checkpoint:
    """The checkpoint file of one job.

    Attributes:
        path: The file; its name is the hash of configuration, data, weights and code, so that a job only ever finds its own.
        work: What the job does, for messages.
    """

    path: Path
    work: str = "training"

    def load(self) -> dict[str, Any] | None:
        """Read the checkpoint into main memory, or none if the work has not begun.

        Raises:
            InputError: the file is damaged, or was renamed and belongs to another job.
        """
        if not self.path.exists():
            return None
        try:
            state = dict(torch.load(self.path, map_location="cpu", weights_only=True))
        except Exception as error:  # torch raises many kinds for a damaged archive
            raise InputError(
                f"{self.path}: the checkpoint is damaged ({type(error).__name__}); delete it to begin the {self.work} anew."
            ) from None
        if state.get("key") != self.path.stem:
            raise InputError(f"{self.path}: is a checkpoint of another {self.work}; delete it to begin anew.")
        return state

    def save(self, state: dict[str, Any]) -> None:
        """Write the checkpoint, atomically."""
        with atomic(self.path) as temporary:
            torch.save({**state, "key": self.path.stem}, temporary)

    def remove(self) -> None:
        """Delete the checkpoint of what is finished, and those that an earlier configuration left."""
        for path in self.path.parent.glob("*.ckpt"):
            path.unlink()


@contextmanager
def locked(folder: str | Path, key: str, work: str = "training") -> Iterator[Checkpoint]:
    """Hold a checkpoint for one process.

    Args:
        folder: Where it lies.
        key: Hash of all that the result depends on.
        work: What is done, for messages.

    Raises:
        InputError: another process is at it.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise InputError(f"{folder}: another process (started earlier) is {work} this; wait for it or end it.") from None
    try:
        yield Checkpoint(folder / f"{key}.ckpt", work)
    finally:
        lock.release()


def random_state() -> dict[str, Any]:
    """State of torch's random generators."""
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def restore_random_state(state: dict[str, Any]) -> None:
    """Set torch's random generators."""
    torch.set_rng_state(state["cpu"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())

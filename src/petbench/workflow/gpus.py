"""GPUs of one machine, one job each: who holds a GPU's lock file has the GPU, and a job that is killed frees its own."""

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

# All runs of a user on a machine share it, as they share the GPUs.
FOLDER = Path(tempfile.gettempdir()) / f"petbench-gpus-{os.getuid()}"
WAIT_S = 1.0


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """Names of the GPUs that a process may use, as `CUDA_VISIBLE_DEVICES` lists them; without it, all of the machine by number.

    As CUDA does, it ignores what follows the first name that is none, such as -1, or the NoDevFiles of a SLURM without GPUs.
    """
    if "CUDA_VISIBLE_DEVICES" not in environment:
        import torch

        return [str(number) for number in range(torch.cuda.device_count())]
    names: list[str] = []
    for name in environment["CUDA_VISIBLE_DEVICES"].split(","):
        if not name.strip().isdigit() and not name.strip().startswith(("GPU-", "MIG-")):
            break
        names.append(name.strip())
    return names


@contextmanager
def one_gpu(environment: Mapping[str, str], folder: Path | None = None) -> Iterator[str | None]:
    """Hold one of the visible GPUs that no other job holds; wait for one if all are taken.

    A GPU that SLURM gave to the job alone is not locked: where each job sees its own GPUs only, all of them are called 0.

    Args:
        environment: The process's environment variables.
        folder: Where the lock files lie, on a disk of this machine; None for one of the user's own.

    Yields:
        The GPU's name, as `CUDA_VISIBLE_DEVICES` takes it; None where there is no GPU.
    """
    names = visible_gpus(environment)
    if not names or ("SLURM_JOB_ID" in environment and len(names) == 1):
        yield names[0] if names else None
        return
    folder = folder or FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    name, lock = _first_free(names, folder)
    try:
        yield name
    finally:
        lock.release()


def _first_free(names: Sequence[str], folder: Path) -> tuple[str, FileLock]:
    waiting = False
    while True:
        for name in names:
            lock = FileLock(folder / f"{name.replace('/', '-')}.lock")
            try:
                lock.acquire(timeout=0)
                return name, lock
            except Timeout:
                continue
        if not waiting:
            print(f"waiting for a GPU: {len(names)} here, all held by other jobs; --resources gpu={len(names)} starts no more at once")
            waiting = True
        time.sleep(WAIT_S)

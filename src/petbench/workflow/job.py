"""What every script shares: a log, a device, threads, and errors that say what to do."""

import errno
import os
import resource
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any, TextIO

from petbench.errors import InputError

# Parts of ANTsPy that plot and fit models: the libraries they bring take twice as long to import as all else of it.
UNUSED = ("ants.deeplearn", "ants.learn", "ants.math", "ants.plotting")


@dataclass(frozen=True)
class Job:
    """One running job, as Snakemake described it."""

    input: Any
    output: Any
    params: Any
    wildcards: Any
    config: dict[str, Any]
    threads: int
    gpus: int
    held: ExitStack = field(default_factory=ExitStack)

    def input_lists(self) -> dict[str, list[str]]:
        """Input files by name, each a list even where there is one."""
        return {name: [files] if isinstance(files, str) else list(files) for name, files in self.input.items()}

    @cached_property
    def device(self) -> str:
        """`cuda` if the job was given a GPU and finds one, else `cpu`; which one is logged and recorded with the result.

        The job holds its GPU, alone, until it ends, and sees no other.

        Raises:
            InputError: it was given a GPU, finds none, and `without_gpu: error` is set.
        """
        if not self.gpus:
            print("device: cpu (the run gives no GPU (gpu=0))")
            return "cpu"
        import torch

        from petbench.workflow.gpus import one_gpu

        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        name = self.held.enter_context(one_gpu(os.environ))
        if name is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = name
            if torch.cuda.is_available():
                print(f"device: cuda (GPU {name})")
                return "cuda"
        found = f"no GPU found on this machine{'' if given is None else f', where CUDA_VISIBLE_DEVICES is {given!r}'}"
        if self.config.get("without_gpu", "cpu") == "error":
            raise InputError(
                f"{found}, and the job was given one; see what nvidia-smi says there, or go on with the scale's key without_gpu: cpu."
            )
        print(f"device: cpu ({found})")
        return "cpu"


@contextmanager
def job(snakemake: Any) -> Iterator[Job]:
    """Run a script's body: send its output to the job's log, and turn a user's mistake into one line.

    An `InputError` prints its sentence to the log and to the terminal and ends the script with status 1; any other error also leaves
    its traceback in the log.
    """
    run = Job(
        input=snakemake.input,
        output=snakemake.output,
        params=snakemake.params,
        wildcards=snakemake.wildcards,
        config=snakemake.config,
        threads=snakemake.threads,
        gpus=int(getattr(snakemake.resources, "gpu", 0) or 0),
    )
    for name in UNUSED:
        sys.modules.setdefault(name, ModuleType(name))
    terminal, started = sys.stderr, time.perf_counter()
    with _log(snakemake.log[0]) as log, redirect_stdout(log), redirect_stderr(log), run.held:
        try:
            yield run
            print(f"done in {time.perf_counter() - started:.2f} s with {run.threads} threads, {_processor_seconds():.2f} s of processors")
        except Exception as error:
            told = _for_the_user(error)
            print(f"petbench: {told or f'{type(error).__name__}: {error} (traceback in {snakemake.log[0]})'}", file=terminal)
            with suppress(OSError):  # the log's own disk may be full
                print(f"error: {told}" if told else traceback.format_exc(), file=log)
            sys.exit(1)


def _processor_seconds() -> float:
    """Of this process from its start and of what it has run and waited for; Snakemake's benchmarks miss up to 30 s of a job."""
    used = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _log(path: str) -> TextIO:
    try:
        return open(path, "w", buffering=1, encoding="utf-8")
    except OSError as error:
        sys.exit(f"petbench: {_for_the_user(error) or error}")


def _for_the_user(error: Exception) -> str | None:
    """The one line of what a user can mend; None for what only a traceback explains."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and error.errno in DISK_TROUBLE:
        return f"{error.filename or 'a file'}: {error.strerror}; mend that and run again."
    return None


DISK_TROUBLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)

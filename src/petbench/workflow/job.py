"""What every script shares: a log, a device, threads, and errors that say what to do."""

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

from petbench.errors import InputError


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

    def input_lists(self) -> dict[str, list[str]]:
        """Input files by name, each a list even where there is one."""
        return {name: [files] if isinstance(files, str) else list(files) for name, files in self.input.items()}

    @property
    def device(self) -> str:
        """`cuda` if the job was given a GPU and the machine has one, else `cpu`; which one is logged and recorded with the result."""
        import torch

        if self.gpus and torch.cuda.is_available():
            return "cuda"
        print(f"device: cpu ({'no GPU found on this machine' if self.gpus else 'the run gives no GPU (gpu=0)'})")
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
    terminal = sys.stderr
    with open(snakemake.log[0], "w", buffering=1, encoding="utf-8") as log, redirect_stdout(log), redirect_stderr(log):
        try:
            yield run
        except InputError as error:
            print(f"error: {error}", file=log)
            print(f"petbench: {error}", file=terminal)
            sys.exit(1)
        except Exception as error:
            traceback.print_exc(file=log)
            print(f"petbench: {type(error).__name__}: {error} (traceback in {snakemake.log[0]})", file=terminal)
            sys.exit(1)

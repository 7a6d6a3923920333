"""Python imports this first in every process of a run that is watched: it notes each file that a job puts in place, and strikes some jobs.

Which rules are struck, by which signal or by `sleep`, and at which of a job's files, is the variable DRILL_PLAN, such as
`{"train": ["SIGKILL", 2]}`; `*` stands for all others. A rule is struck once, as a file that is whole under its temporary name is about
to get its own.
"""

import json
import os
import re
import signal
import sys
import time

SCRIPT = re.compile(r"/\.snakemake/scripts/tmp\w+\.(\w+)\.py$")
RESULTS = os.path.abspath("results") + os.sep


def watch(rule: str, folder: str, plan: dict[str, tuple[str, int]]) -> None:
    name, number = plan.get(rule, plan.get("*", ("SIGKILL", 0)))
    placed = 0

    def look(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal placed
        if event != "os.rename" or not (path := os.path.abspath(os.fsdecode(arguments[1]))).startswith(RESULTS):
            return
        placed += 1
        if placed == number and claimed(os.path.join(folder, f"struck-{rule}")):
            strike(name)
        with open(os.path.join(folder, "placed"), "a") as file:
            file.write(f"{os.path.relpath(path)}\n")

    sys.addaudithook(look)


def strike(name: str) -> None:
    if name == "sleep":
        time.sleep(3600)
    else:
        os.kill(os.getpid(), signal.Signals[name])


def claimed(path: str) -> bool:
    """Whether this process is the first to ask."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


if found := [match[1] for argument in sys.orig_argv if (match := SCRIPT.search(argument))]:
    watch(found[0], os.environ["DRILL"], json.loads(os.environ.get("DRILL_PLAN", "{}")))

"""Try a method on synthetic windows."""

import sys

from petbench.training.trial import try_method
from petbench.workflow.job import job

terminal = sys.stderr
with job(snakemake) as run:
    entry = run.params.method
    for line in try_method(entry["name"], entry["module"], entry["train"], entry["restore"], entry["window"]):
        print(line)
        print(line, file=terminal, flush=True)

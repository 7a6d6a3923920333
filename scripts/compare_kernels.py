"""Compare the kernels of a predictor, of SVTD and of the fast engine with two runs of GATE."""

from petbench.positron_range.experiment_kernels import compare_kernels
from petbench.workflow.job import job

with job(snakemake) as run:
    found = run.input
    out, fast = dict(run.output.items()), found.get("fast")
    compare_kernels(list(found.runs), found.weights, found.kernels, out, **run.params.options, fast=fast)

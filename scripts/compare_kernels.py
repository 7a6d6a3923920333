"""Compare the kernels of a predictor and of SVTD with two runs of GATE."""

from petbench.positron_range.experiment_kernels import compare_kernels
from petbench.workflow.job import job

with job(snakemake) as run:
    found = run.input
    compare_kernels(list(found.runs), found.weights, found.kernels, dict(run.output.items()), **run.params.options)

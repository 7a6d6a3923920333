"""Take the weights that DDConv's authors publish as a predictor."""

from petbench.positron_range.import_predictor import import_predictor
from petbench.workflow.job import job

with job(snakemake) as run:
    import_predictor({**run.params.weights, "file": run.input[0]}, run.output[0])

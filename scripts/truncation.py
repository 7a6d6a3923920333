"""Write what kernels of several sizes cut off."""

from petbench.positron_range.experiment_kernels import truncation_table
from petbench.workflow.job import job

with job(snakemake) as run:
    truncation_table(run.input[0], run.output[0], **run.params.options)

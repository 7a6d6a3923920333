"""Make a dose of a dynamic image: the mean of its frames."""

from petbench.data.frames import write_mean
from petbench.workflow.job import job

with job(snakemake) as run:
    write_mean(run.input.frames, run.output.image, run.output.sidecar, **run.params.seconds)

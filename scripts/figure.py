"""Draw one experiment's figure."""

from petbench.report.draw import draw
from petbench.workflow.job import job

with job(snakemake) as run:
    draw(run.params.experiment, run.input_lists(), run.params.titles, run.params.datasets, list(run.output))

"""Draw one figure of an experiment on positron range."""

from petbench.report.range_figures import draw
from petbench.workflow.job import job

with job(snakemake) as run:
    draw(run.wildcards.figure, run.params.experiment, run.input_lists(), list(run.output), run.params.titles)

"""Join the measures of all strategies and realisations."""

from petbench.positron_range.experiment_reconstruction import summarise_realisations
from petbench.workflow.job import job

with job(snakemake) as run:
    summarise_realisations(list(run.input), run.output[0])

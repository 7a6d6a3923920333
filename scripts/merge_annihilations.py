"""Add up chunks of a torso's annihilations."""

from petbench.positron_range.annihilation_images import merge_annihilations
from petbench.workflow.job import job

with job(snakemake) as run:
    merge_annihilations(list(run.input), run.output[0])

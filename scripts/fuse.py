"""Fuse one subject's volumes restored by several methods."""

from petbench.restoration.fuse import fuse
from petbench.workflow.job import job

with job(snakemake) as run:
    fuse(run.input.images, run.input.sidecars, run.params.settings, out=dict(run.output.items()))

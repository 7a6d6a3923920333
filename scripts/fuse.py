"""Fuse one subject's volumes restored by several methods."""

from importlib.metadata import version
from pathlib import Path

from petbench.data.bids import write_derivative
from petbench.restoration.fuse import fuse
from petbench.workflow.job import job

with job(snakemake) as run:
    fuse(run.input.images, run.input.sidecars, run.params.settings, out=dict(run.output.items()))
    write_derivative(Path(run.output.image).parents[2], version("petbench"))  # of all subjects, the same each time

"""Describe restored scans as a BIDS derivative."""

from importlib.metadata import version
from pathlib import Path

from petbench.data.bids import write_derivative
from petbench.workflow.job import job

with job(snakemake) as run:
    write_derivative(Path(run.output.description).parent, version("petbench"))

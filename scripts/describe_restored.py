"""Describe restored scans as a BIDS derivative."""

from importlib.metadata import version

from petbench.data.bids import write_derivative_description
from petbench.workflow.job import job

with job(snakemake) as run:
    write_derivative_description(run.output[0], sources=[], version=version("petbench"))

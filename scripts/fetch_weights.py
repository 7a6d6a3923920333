"""Fetch published weights, unless they are there and whole."""

from petbench.data.fetch import fetch
from petbench.workflow.job import job

with job(snakemake) as run:
    fetch(run.params.url, run.output[0], sha256=run.wildcards.sha256, by_hand="or name a file of your own in the data set's entry")

"""Fetch one file of an OpenNeuro data set, unless it is there and whole."""

from petbench.data.openneuro import Remote, fetch_file
from petbench.workflow.job import job

with job(snakemake) as run:
    source = run.params.source
    fetch_file(Remote(*source["remote"]), run.wildcards.accession, run.output[0], source["url"])

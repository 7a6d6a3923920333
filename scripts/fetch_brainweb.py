"""Fetch one BrainWeb model, unless it is there and whole."""

from petbench.data.brainweb_download import fetch_model
from petbench.workflow.job import job

with job(snakemake) as run:
    source = run.params.source
    fetch_model(run.wildcards.model, run.output[0], source["url"], source["sha256"], source["folder"])

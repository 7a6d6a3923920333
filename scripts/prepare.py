"""Normalise one subject at one dose and index its windows."""

from petbench.preprocess.prepare import prepare
from petbench.workflow.job import job

with job(snakemake) as run:
    prepare(dict(run.input.items()), run.params.preprocess, run.params.domain, out=dict(run.output.items()))

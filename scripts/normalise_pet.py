"""Bring one subject's PET to MNI space."""

from petbench.preprocess.structural import normalise_pet
from petbench.workflow.job import job

with job(snakemake) as run:
    files = {name: path for name, path in run.input.items() if name != "preflight"}
    normalise_pet(**files, settings=run.params.settings, grid=run.params.grid, threads=run.threads, out=dict(run.output.items()))

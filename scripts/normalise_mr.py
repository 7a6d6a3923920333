"""Bring one subject's grey matter to MNI space."""

from petbench.preprocess.structural import normalise_mr
from petbench.workflow.job import job

with job(snakemake) as run:
    known = {name: path for name, path in run.input.items() if name in ("labels", "truth")}
    normalise_mr(run.input.t1w, run.params.settings, run.params.grid, run.threads, out=dict(run.output.items()), **known)

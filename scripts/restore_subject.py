"""Restore one held-out subject."""

from petbench.restoration.restore import restore
from petbench.workflow.job import job

with job(snakemake) as run:
    restore(
        run.input.prepared,
        run.input.image,
        run.input.weights,
        run.params.settings,
        run.device,
        run.threads,
        out=dict(run.output.items()),
    )

"""Restore one held-out subject."""

from importlib.metadata import version
from pathlib import Path

from petbench.data.bids import write_derivative
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
        evaluated=run.params.evaluated,
        context=run.input.get("context"),
        context_sidecar=run.input.get("context_sidecar"),
        acquisition=run.input.get("acquisition"),
        partial=Path(run.output.image).parents[3] / "partial" / f"sub-{run.wildcards.subject}",
        checkpoint_seconds=run.config.get("checkpoint_seconds", 60.0),
        code=run.params.code,
    )
    write_derivative(Path(run.output.image).parents[2], version("petbench"))  # of all subjects, the same each time

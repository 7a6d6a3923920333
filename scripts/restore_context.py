"""Restore one subject as the context of another method."""

from pathlib import Path

from petbench.restoration.restore import restore_context
from petbench.workflow.job import job

with job(snakemake) as run:
    place = run.wildcards
    restore_context(
        run.input.prepared,
        f"sub-{place.subject}",
        run.input.weights,
        run.params.settings,
        run.device,
        run.threads,
        out=dict(run.output.items()),
        context=run.input.get("context"),
        context_sidecar=run.input.get("context_sidecar"),
        acquisition=run.input.get("acquisition"),
        partial=Path(run.output.volume).parents[2] / "partial" / f"context-{place.fold}-sub-{place.subject}",
        checkpoint_seconds=run.config.get("checkpoint_seconds", 60.0),
        code=run.params.code,
    )

"""Restore one of a lab's own scans."""

from pathlib import Path

from petbench.restoration.scan import restore_scan
from petbench.workflow.job import job

with job(snakemake) as run:
    restore_scan(
        run.input.pet,
        run.input.mr,
        run.input.weights,
        run.device,
        run.threads,
        out=dict(run.output.items()),
        sampling_steps=run.params.sampling_steps,
        partial=Path(run.output.image).parents[2] / ".partial" / f"sub-{run.wildcards.subject}",
        checkpoint_seconds=run.config.get("checkpoint_seconds", 60.0),
        code=run.params.code,
        allow_unlike=run.params.allow_unlike,
    )

"""Restore one of a lab's own scans."""

from dataclasses import asdict
from pathlib import Path

from petbench.restoration.scan import restore_scan
from petbench.restoration.weights import read_description
from petbench.workflow.job import job
from petbench.workflow.library import check_description

with job(snakemake) as run:
    check_description(asdict(read_description(run.input.weights)), Path(snakemake.scriptdir).parent / "config", run.input.weights)
    place = Path(run.wildcards.folder)
    restore_scan(
        run.input.pet,
        run.input.mr,
        run.input.weights,
        run.device,
        run.threads,
        out=dict(run.output.items()),
        sampling_steps=run.params.sampling_steps,
        partial=Path(run.output.page).parents[len(place.parts)] / ".partial" / run.wildcards.scan,
        checkpoint_seconds=run.config.get("checkpoint_seconds", 60.0),
        code=run.params.code,
        allow_unlike=run.params.allow_unlike,
    )

"""Reconstruct a lab's scan with one strategy."""

from petbench.physics.scanner import Scanner
from petbench.positron_range.patient import correct_scan
from petbench.workflow.job import job

with job(snakemake) as run:
    files, params = dict(run.input.items()), run.params
    mr = files.pop("mr", None)
    correct_scan(
        files.pop("acquisition"),
        files.pop("mu"),
        Scanner.from_entry(params.scanner),
        files,
        params.reconstruction,
        {run.wildcards.strategy: dict(run.output.items())},
        resample=params.resample,
        mr=mr,
        threads=run.threads,
        device=run.device,
        settings=params.settings,
        penalty=params.penalty,
    )

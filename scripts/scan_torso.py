"""Scan a torso's annihilations once."""

from petbench.physics.scanner import Scanner
from petbench.positron_range.experiment_reconstruction import simulate_realisation
from petbench.workflow.job import job

with job(snakemake) as run:
    files, params = dict(run.input.items()), run.params
    simulate_realisation(
        files,
        files["annihilations"],
        Scanner.from_entry(params.scanner),
        params.simulation,
        params.seed,
        int(run.wildcards.realisation),
        run.output[0],
    )

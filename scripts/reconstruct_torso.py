"""Reconstruct one scan of a torso with one strategy."""

from petbench.physics.scanner import Scanner
from petbench.positron_range.experiment_reconstruction import reconstruct_realisations
from petbench.workflow.job import job

with job(snakemake) as run:
    files, params = dict(run.input.items()), run.params
    reconstruct_realisations(
        [files.pop("acquisition")],
        files,
        Scanner.from_entry(params.scanner),
        run.wildcards.strategy,
        {kind: files[kind] for kind in ("weights", "kernels", "predicted") if kind in files},
        params.reconstruction,
        [dict(run.output.items())],
        threads=run.threads,
        device=run.device,
        settings=params.settings,
        penalty=params.penalty,
    )

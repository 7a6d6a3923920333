"""Restore a fold's subjects with their own images and with swapped ones."""

from petbench.evaluation.settings import settings_from
from petbench.restoration.reliance import measure_reliance
from petbench.workflow.job import job

with job(snakemake) as run:
    measure_reliance(
        run.output[0],
        dataset=run.wildcards.dataset,
        dose=run.wildcards.dose,
        method=run.wildcards.method,
        fold=run.wildcards.fold,
        subjects=run.params.subjects,
        people=run.params.people,
        restoring=run.params.restoring,
        grid=run.params.grid,
        settings=settings_from(run.params.settings),
        device=run.device,
        threads=run.threads,
        **{"labels": None, **run.input_lists(), "weights": run.input.weights},
    )

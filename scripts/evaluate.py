"""Measure one method on every subject of a data set at a dose."""

from petbench.evaluation.evaluate import evaluate
from petbench.evaluation.settings import settings_from
from petbench.workflow.job import job

with job(snakemake) as run:
    files = run.input_lists()
    for name in ("preflight", "lpips"):
        files.pop(name, None)
    evaluate(
        run.output[0],
        dataset=run.wildcards.dataset,
        dose=run.wildcards.dose,
        method=run.wildcards.method,
        subjects=run.params.subjects,
        people=run.params.people,
        folds=run.params.folds,
        grid=run.params.grid,
        settings=settings_from(run.params.settings),
        **files,
    )

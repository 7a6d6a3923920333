"""Measure one method on every subject of a data set at a dose."""

from petbench.evaluation.evaluate import evaluate
from petbench.evaluation.settings import settings_from
from petbench.preprocess.grid import working_box
from petbench.workflow.job import job

with job(snakemake) as run:
    files = {key: [value] if isinstance(value, str) else list(value) for key, value in run.input.items()}
    evaluate(
        run.output[0],
        dataset=run.wildcards.dataset,
        dose=run.wildcards.dose,
        method=run.wildcards.method,
        subjects=run.params.subjects,
        folds=run.params.folds,
        boxes=[working_box(path, run.params.grid) for path in files["standard_dose"]],
        settings=settings_from(run.params.settings),
        **files,
    )

"""Measure one method on every subject of a data set at a dose."""

from petbench.data.nifti import read_volume
from petbench.evaluation.evaluate import evaluate
from petbench.evaluation.settings import Settings
from petbench.preprocess.grid import box_of, grid_of
from petbench.workflow.job import job

with job(snakemake) as run:
    image = read_volume(run.input.standard_dose[0])
    files = {key: [value] if isinstance(value, str) else list(value) for key, value in run.input.items()}
    evaluate(
        run.output[0],
        dataset=run.wildcards.dataset,
        dose=run.wildcards.dose,
        method=run.wildcards.method,
        subjects=run.params.subjects,
        folds=run.params.folds,
        settings=Settings(box=box_of(image, *grid_of(image, run.params.grid))),
        **files,
    )

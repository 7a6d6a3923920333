"""Record which fold tests whom."""

from petbench.files import write_json
from petbench.preprocess.splits import folds
from petbench.workflow.job import job

with job(snakemake) as run:
    write_json(run.output[0], {"split": run.params.split, "test_subjects": folds(run.params.subjects, run.params.split)})

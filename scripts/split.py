"""Record which fold tests whom, and who is kept for validation."""

from petbench.files import write_json
from petbench.preprocess.splits import folds, validation_subjects
from petbench.workflow.job import job

with job(snakemake) as run:
    people, split = run.params.people, run.params.split
    write_json(
        run.output[0],
        {"split": split, "test_subjects": folds(people, split), "validation_subjects": validation_subjects(people, split)},
    )

"""Index the windows of one subject's maps in MNI space, and tell its diagnosis where a training may read it."""

from petbench.preprocess.prepare import prepare_maps
from petbench.workflow.job import job

with job(snakemake) as run:
    diagnosis = run.params.get("diagnosis")  # of those with MR only nobody needs it
    prepare_maps(dict(run.input.items()), run.params.preprocess, run.params.domain, dict(run.output.items()), diagnosis)

"""Index the windows of one subject's maps in MNI space."""

from petbench.preprocess.prepare import prepare_maps
from petbench.workflow.job import job

with job(snakemake) as run:
    prepare_maps(dict(run.input.items()), run.params.preprocess, run.params.domain, out=dict(run.output.items()))

"""Register one subject's MR to its PET."""

from petbench.preprocess.registration import register_files
from petbench.workflow.job import job

with job(snakemake) as run:
    register_files(run.input.pet, run.input.mr, run.params.settings, run.threads, out=dict(run.output.items()))

"""Predict a torso's kernels once for all of its scans."""

from petbench.positron_range.experiment_reconstruction import predict_kernels
from petbench.workflow.job import job

with job(snakemake) as run:
    files, params = dict(run.input.items()), run.params
    predict_kernels(files, params.isotope, files, run.output[0], device=run.device, settings=params.settings)

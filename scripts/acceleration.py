"""Time DDConv's operator with and without its acceleration."""

from petbench.positron_range.experiment_kernels import compare_acceleration
from petbench.workflow.job import job

with job(snakemake) as run:
    files, options = dict(run.input.items()), run.params.options
    given = {"settings": run.params.settings, "device": run.device, "threads": run.threads}
    compare_acceleration(files, options["isotope"], files, run.output[0], options["edge"], **given)

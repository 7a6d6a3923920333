"""Join the chunks of point spread functions of one isotope."""

from petbench.positron_range.psf_set import merge_psf_sets
from petbench.workflow.job import job

with job(snakemake) as run:
    merge_psf_sets(list(run.input), run.output[0])

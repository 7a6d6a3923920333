"""Draw profiles through a place of corrected scans."""

from petbench.positron_range.patient import write_profiles
from petbench.workflow.job import job

with job(snakemake) as run:
    write_profiles(dict(zip(run.params.strategies, run.input, strict=True)), run.params.place_mm, run.output[0])

"""Make the media that GATE simulates positrons in."""

from petbench.positron_range.cohort import make_media, write_media
from petbench.workflow.job import job

with job(snakemake) as run:
    write_media(run.output[0], make_media(run.params.media))

"""Check every image of a lab's own data set before anything depends on it."""

from petbench.data.preflight import check_images
from petbench.workflow.job import job

with job(snakemake) as run:
    check_images(run.input.images, run.output[0])

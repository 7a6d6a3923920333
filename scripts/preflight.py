"""Check every image of a lab's own data set before anything depends on it."""

from petbench.data.preflight import check_images
from petbench.workflow.job import job

with job(snakemake) as run:
    images, each = run.input.images, run.params.images_per_subject
    alone = [[image] for image in run.input_lists()["alone"]]
    check_images([images[first : first + each] for first in range(0, len(images), each)] + alone, run.output[0])

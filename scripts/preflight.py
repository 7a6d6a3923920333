"""Check every image of a lab's own data set before anything depends on it."""

from petbench.data.preflight import check_images
from petbench.preprocess.mix_ups import check_mix_ups
from petbench.workflow.job import job

with job(snakemake) as run:
    files = run.input_lists()
    whole, alone = run.params.subjects, run.params.mr_only
    each = len(files["images"]) // max(len(whole), 1)
    images = {label: files["images"][number * each : (number + 1) * each] for number, label in enumerate(whole)}
    pets = {label: pet for label, (_, *pet) in images.items()}
    images |= {label: [image] for label, image in zip(alone, files["alone"], strict=True)}
    check_images(images, run.output[0], run.params.people)
    check_mix_ups(pets)

"""Measure the lesions in the images of one scan."""

from petbench.positron_range.experiment_reconstruction import measure_realisation
from petbench.workflow.job import job

with job(snakemake) as run:
    files, place = dict(run.input.items()), run.wildcards
    measure_realisation(
        files["images"],
        files["sidecar"],
        files,
        place.strategy,
        int(place.realisation),
        dict(run.output.items()),
        **run.params.options,
    )

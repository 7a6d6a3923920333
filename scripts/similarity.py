"""Compare the layers of a network's two branches."""

from petbench.restoration.representations import compare_layers
from petbench.workflow.job import job

with job(snakemake) as run:
    compare_layers(run.input.weights, run.input_lists()["prepared"], run.params.settings, run.device, run.threads, run.output[0])

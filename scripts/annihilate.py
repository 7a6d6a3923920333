"""Simulate one chunk of a torso's positrons with GATE."""

from petbench.positron_range.annihilation_images import simulate_annihilations
from petbench.workflow.job import job

with job(snakemake) as run:
    params = run.params
    torso, chunk = dict(run.input.items()), int(run.wildcards.chunk)
    simulate_annihilations(torso, params.gate, params.seed, run.output[0], chunk, params.chunks)

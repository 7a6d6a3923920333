"""Simulate one chunk of point spread functions with GATE."""

from petbench.positron_range.cohort import read_media
from petbench.positron_range.gate import Simulation, scratch, simulate_psfs
from petbench.positron_range.psf_set import write_psf_set
from petbench.workflow.job import job

with job(snakemake) as run, scratch(run.output[0]) as folder:
    media = read_media(run.input[0]).part(int(run.wildcards.chunk), run.params.chunks)
    write_psf_set(run.output[0], simulate_psfs(media, Simulation.from_entry(run.params.gate), run.params.seed, folder))

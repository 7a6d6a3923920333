"""Simulate one chunk of point spread functions, with GATE or the fast engine."""

from petbench.physics.projector import numba_threads
from petbench.positron_range.calibration import calibrated
from petbench.positron_range.cohort import read_media
from petbench.positron_range.gate import Simulation, scratch, simulate_psfs
from petbench.positron_range.psf_set import write_psf_set
from petbench.workflow.job import job

with job(snakemake) as run, scratch(run.output[0]) as folder, numba_threads(run.threads):
    media = read_media(run.input.media).part(int(run.wildcards.chunk), run.params.chunks)
    simulation = Simulation.from_entry(calibrated(run.params.gate, run.input.get("calibration")))
    write_psf_set(run.output[0], simulate_psfs(media, simulation, run.params.seed, folder, run.device))

"""Simulate one chunk of a torso's positrons, with GATE or the fast engine."""

from petbench.physics.projector import numba_threads
from petbench.positron_range.annihilation_images import simulate_annihilations
from petbench.positron_range.calibration import calibrated
from petbench.workflow.job import job

with job(snakemake) as run, numba_threads(run.threads):
    params, torso = run.params, dict(run.input.items())
    gate = calibrated(params.gate, torso.pop("calibration", None))
    simulate_annihilations(torso, gate, params.seed, run.output[0], int(run.wildcards.chunk), params.chunks, run.device)

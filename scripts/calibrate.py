"""Fit the fast engine's constants to short runs of GATE."""

from petbench.physics.projector import numba_threads
from petbench.positron_range.calibration import calibrate
from petbench.positron_range.gate import scratch
from petbench.workflow.job import job

with job(snakemake) as run, scratch(run.output[0]) as folder, numba_threads(run.threads):
    calibrate(run.params.calibration, run.params.calibration["seed"], run.output[0], folder)

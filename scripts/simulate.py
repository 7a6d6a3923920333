"""Simulate the standard-dose acquisition of one phantom."""

from petbench.data.nifti import read_volume
from petbench.physics.scanner import Scanner
from petbench.physics.simulate import simulate
from petbench.workflow.job import job

with job(snakemake) as run:
    scanner = Scanner.from_entry(run.params.scanner)
    activity, attenuation = read_volume(run.input.activity), read_volume(run.input.attenuation)
    simulate(activity, attenuation, scanner, run.params.simulation, run.params.seed, run.output[0], threads=run.threads)

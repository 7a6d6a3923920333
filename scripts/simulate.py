"""Simulate one scan of one phantom: that of the standard dose, or of a dose drawn independently."""

from petbench.data.nifti import read_volume
from petbench.physics.scanner import Scanner
from petbench.physics.simulate import simulate
from petbench.workflow.job import job

with job(snakemake) as run:
    scanner, params = Scanner.from_entry(run.params.scanner), run.params
    activity, attenuation = read_volume(run.input.activity), read_volume(run.input.attenuation)
    simulate(
        activity,
        attenuation,
        scanner,
        params.simulation,
        params.seed,
        run.output[0],
        dose=params.dose,
        name=run.wildcards.dose,
        threads=run.threads,
    )

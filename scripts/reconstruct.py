"""Reconstruct one subject at one dose."""

from petbench.physics.scanner import Scanner
from petbench.physics.simulate import reconstruct
from petbench.workflow.job import job

with job(snakemake) as run:
    scanner, out = Scanner.from_entry(run.params.scanner), run.output
    reconstruct(
        run.input[0], run.params.dose, run.params.reconstruction, scanner, run.params.seed, out.image, out.sidecar, threads=run.threads
    )

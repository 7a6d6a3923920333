"""Reconstruct one subject at one dose."""

from petbench.physics.dose_images import reconstruct
from petbench.physics.scanner import Scanner
from petbench.workflow.job import job

with job(snakemake) as run:
    scanner, out, params = Scanner.from_entry(run.params.scanner), run.output, run.params
    device = run.device if params.reconstruction.get("device") == "cuda" else "cpu"
    reconstruct(
        run.input[0],
        params.dose,
        params.reconstruction,
        scanner,
        params.seed,
        out.image,
        out.sidecar,
        threads=run.threads,
        device=device,
    )

"""Simulate a low dose of a lab's standard-dose image."""

from petbench.data.nifti import read_volume
from petbench.physics.from_image import from_image
from petbench.physics.scanner import Scanner
from petbench.workflow.job import job

with job(snakemake) as run:
    scanner, out, params = Scanner.from_entry(run.params.scanner), run.output, run.params
    device = run.device if params.reconstruction.get("device") == "cuda" else "cpu"
    from_image(
        read_volume(run.input.image),
        scanner,
        params.simulation,
        params.dose,
        run.wildcards.dose,
        params.reconstruction,
        params.seed,
        out.image,
        out.sidecar,
        threads=run.threads,
        device=device,
    )

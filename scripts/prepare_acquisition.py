"""Write one subject's scan at one dose plane by plane, for methods that reconstruct."""

from petbench.physics.plane_files import write_planes
from petbench.workflow.job import job

with job(snakemake) as run:
    write_planes(
        dict(run.input.items()),
        run.params.dose,
        run.params.reconstruction,
        run.params.scanner,
        run.params.seed,
        out=dict(run.output.items()),
        threads=run.threads,
    )

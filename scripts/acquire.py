"""Make one phantom subject."""

from petbench.data.bids import write_phantom_subject
from petbench.data.phantom import make_subject
from petbench.workflow.job import job

with job(snakemake) as run:
    image = run.params.scanner["image"]
    phantom = make_subject(run.params.phantom, image["shape"], image["voxel_mm"], run.params.seed)
    out = run.output
    write_phantom_subject(phantom, t1w=out.t1w, activity=out.activity, attenuation=out.attenuation, labels=out.labels, truth=out.truth)

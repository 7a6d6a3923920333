"""Make one phantom subject, of the average brain or of a BrainWeb model."""

from petbench.data.brainweb import read_model
from petbench.data.phantom import make_brainweb_subject, make_subject
from petbench.data.phantom_files import write_phantom_subject
from petbench.workflow.job import job

with job(snakemake) as run:
    params = run.params
    where = {"scanner_shape": params.image["shape"], "scanner_voxel_mm": params.image["voxel_mm"], "rotation_deg": params.rotation_deg}
    if params.model is None:
        phantom = make_subject(params.phantom, **where, seed=params.seed, group=params.group)
    else:
        model = read_model(run.input.model, params.model["number"], params.model["sha256"])
        phantom = make_brainweb_subject(model, params.phantom, **where, seed=params.seed)
    out = run.output
    write_phantom_subject(phantom, t1w=out.t1w, activity=out.activity, attenuation=out.attenuation, labels=out.labels, truth=out.truth)

"""Compare a torso blurred by each strategy with where GATE's positrons annihilate."""

from petbench.positron_range.experiment_kernels import compare_torso
from petbench.workflow.job import job

with job(snakemake) as run:
    files = run.input_lists()
    torso = {kind: files[kind][0] for kind in ("activity", "mu", "lesions")}
    sources = {kind: files[kind][0] for kind in ("weights", "kernels", "predicted")}
    out = dict(run.output.items())
    compare_torso(torso, files["runs"], sources, out, settings=run.params.settings, threads=run.threads, **run.params.options)

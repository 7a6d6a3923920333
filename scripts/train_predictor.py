"""Train a predictor of point spread functions."""

from pathlib import Path

from petbench.positron_range.predictor_training import train_predictor
from petbench.workflow.job import job

with job(snakemake) as run:
    train_predictor(
        run.params.train,
        list(run.input.psf_sets),
        checkpoints=Path(run.output.weights).parent / "checkpoints",
        device=run.device,
        threads=run.threads,
        out=dict(run.output.items()),
        code=run.params.code,
        checkpoint_seconds=run.config.get("checkpoint_seconds", 60.0),
    )

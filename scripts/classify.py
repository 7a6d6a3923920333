"""Train and test the classifiers of one fold."""

from pathlib import Path

from petbench.diagnosis.classify import classify
from petbench.workflow.job import job

with job(snakemake) as run:
    classify(
        run.params.plan,
        run.params.classifier,
        run.input_lists(),
        checkpoints=Path(run.output.scores).parent / "checkpoints",
        device=run.device,
        threads=run.threads,
        out=dict(run.output.items()),
        code=run.params.code,
        checkpoint_seconds=run.config.get("checkpoint_seconds", 60.0),
    )

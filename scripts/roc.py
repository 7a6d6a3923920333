"""Draw the ROC curves of one diagnosis study."""

from petbench.evaluation.scores import read_scores
from petbench.report.diagnosis import roc_curves
from petbench.workflow.job import job

with job(snakemake) as run:
    roc_curves(run.params.experiment, read_scores(run.input_lists()["scores"]), run.params.titles, list(run.output))

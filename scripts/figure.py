"""Draw one experiment's figure."""

from petbench.evaluation.table import read_tables
from petbench.report.figures import panels
from petbench.report.tables import build_table
from petbench.workflow.job import job

with job(snakemake) as run:
    table = build_table(run.params.experiment, read_tables(run.input.metrics), (), run.params.titles)
    panels(run.params.experiment, table, list(run.output))

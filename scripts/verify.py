"""Measure a finished run's restored images again and compare with its tables."""

import sys

from petbench.report.verify import verify
from petbench.workflow.job import job

print(f"petbench: verifying the run at scale {snakemake.params.scale}; --configfile names another", file=sys.stderr)
with job(snakemake) as run:
    verify(run.params.scale, run.params.measured, run.params.reconstructed, run.params.summarised, run.params.tables)
count = len(run.params.measured) + len(run.params.reconstructed)
print(f"petbench: {count} tables of metrics and {len(run.params.tables)} of experiments are as stored", file=sys.stderr)

"""Make or read a torso and write it on its scanner's grid."""

from petbench.physics.scanner import Scanner
from petbench.positron_range.torso_files import write_torso
from petbench.workflow.job import job

with job(snakemake) as run:
    write_torso(run.params.torso, Scanner.from_entry(run.params.scanner), dict(run.output.items()))

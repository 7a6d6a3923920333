"""Write the report page."""

from petbench.report.collect import collect
from petbench.report.page import write_report
from petbench.workflow.job import job

with job(snakemake) as run:
    files = {kind: [paths] if isinstance(paths, str) else list(paths) for kind, paths in run.input.items()}
    plan = run.params.plan
    content = collect(run.params.entries, run.params.note, files, plan["trainings"], plan["registrations"], plan["volumes"])
    write_report(run.output[0], content)

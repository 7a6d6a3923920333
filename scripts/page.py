"""Write the report page."""

from petbench.report.collect import collect
from petbench.report.page import write_report
from petbench.workflow.job import job

with job(snakemake) as run:
    files = run.input_lists()
    content = collect(run.params.entries, run.params.note, files, **run.params.plan)
    write_report(run.output[0], content, run.threads)

"""Write the tables of an experiment on positron range."""

from petbench.report.range_tables import range_tables
from petbench.report.write_summaries import write_latex, write_markdown, write_tsv
from petbench.workflow.job import job

with job(snakemake) as run:
    experiment, params = run.params.experiment, run.params
    tables = range_tables(experiment, run.input_lists(), params.titles)
    write_tsv(tables, run.output.tsv)
    write_markdown(experiment, tables, params.note, run.output.markdown)
    write_latex(experiment, tables, params.note, run.output.latex)

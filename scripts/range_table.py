"""Write the tables of an experiment on positron range."""

from pathlib import Path

from petbench.files import write_json
from petbench.report.provenance import numbered, provenance, sentence
from petbench.report.range_tables import range_tables
from petbench.report.write_summaries import write_latex, write_markdown, write_tsv
from petbench.workflow.job import job

with job(snakemake) as run:
    experiment, params, files = run.params.experiment, run.params, run.input_lists()
    named = numbered(files)
    record = provenance(params.configuration, params.stages, list(named), list(named.values()))
    note = f"{params.note} {sentence(record, Path(run.output.record).name)}".strip()
    tables = range_tables(experiment, files, params.titles)
    write_json(run.output.record, record)
    write_tsv(tables, run.output.tsv)
    write_markdown(experiment, tables, note, run.output.markdown)
    write_latex(experiment, tables, note, run.output.latex)

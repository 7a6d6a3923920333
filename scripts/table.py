"""Write one experiment's table."""

from pathlib import Path

from petbench.evaluation.table import read_tables
from petbench.files import read_json, write_json
from petbench.report.notes import device_notes, training_device
from petbench.report.provenance import provenance, sentence
from petbench.report.published import read_published
from petbench.report.tables import build_table
from petbench.report.write_tables import write_latex, write_markdown, write_tsv
from petbench.workflow.job import job

with job(snakemake) as run:
    published = read_published(run.input.published[0]) if run.input.published else ()
    metrics = read_tables(run.input.metrics)
    trained = [training_device(read_json(path)) for path in run.input.train_costs]
    devices = device_notes(run.params.experiment, trained, [read_json(path)["device"] for path in run.input.restore_costs])
    record = provenance(run.params.configuration, run.params.stages, run.params.images, run.input.images)
    notes = [*devices, *run.params.notes, sentence(record, Path(run.output.record).name)]
    table = build_table(run.params.experiment, metrics, published, run.params.titles, notes=notes)
    write_json(run.output.record, record)
    write_tsv(table, run.output.tsv)
    write_markdown(table, run.output.markdown)
    write_latex(table, run.output.latex)

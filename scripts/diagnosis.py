"""Write the table of one diagnosis study."""

from pathlib import Path

from petbench.evaluation.scores import read_scores
from petbench.files import write_json
from petbench.report.diagnosis import build_diagnosis
from petbench.report.provenance import provenance, sentence
from petbench.report.published import read_published
from petbench.report.write_tables import write_latex, write_markdown, write_tsv
from petbench.workflow.job import job

with job(snakemake) as run:
    params = run.params
    published = read_published(run.input.published[0]) if run.input.published else ()
    record = provenance(params.configuration, params.stages, params.images, run.input_lists()["images"])
    notes = [*params.notes, sentence(record, Path(run.output.record).name)]
    scores = read_scores(run.input_lists()["scores"])
    table = build_diagnosis(params.experiment, scores, published, params.titles, params.bootstrap, notes)
    write_json(run.output.record, record)
    write_tsv(table, run.output.tsv)
    write_markdown(table, run.output.markdown)
    write_latex(table, run.output.latex)

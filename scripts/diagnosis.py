"""Write the table of one diagnosis study."""

from petbench.evaluation.scores import read_scores
from petbench.report.diagnosis import build_diagnosis
from petbench.report.published import read_published
from petbench.report.write_tables import write_latex, write_markdown, write_tsv
from petbench.workflow.job import job

with job(snakemake) as run:
    params = run.params
    published = read_published(run.input.published[0]) if run.input.published else ()
    table = build_diagnosis(
        params.experiment, read_scores(run.input_lists()["scores"]), published, params.titles, params.bootstrap, params.notes
    )
    write_tsv(table, run.output.tsv)
    write_markdown(table, run.output.markdown)
    write_latex(table, run.output.latex)

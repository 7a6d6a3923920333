"""Tables, figures and the one page."""


rule table:
    input:
        unpack(PLAN.report.costs),
        metrics=of_job(PLAN.report.values),
        published=PLAN.report.published,
        images=of_job(PLAN.records.images_behind),
    output:
        tsv=in_report(PATHS.table, "table", "Tables"),
        markdown=PATHS.table_markdown,
        latex=PATHS.table_latex,
        record=PATHS.record,
    log:
        "<logs>/table/{experiment}.log",
    benchmark:
        "<benchmarks>/table/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(SCALE.tabulated),
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=10,
    params:
        experiment=SCALE.of("experiment"),
        titles=of_job(PLAN.report.titles),
        notes=PLAN.report.notes,
        published=PLAN.report.published_checksum,
        images=of_job(PLAN.records.names_behind),
        configuration=of_job(PLAN.records.configuration),
        stages=of_job(PLAN.records.stages),
        code=code_of("table"),
    message:
        "Tabulate {wildcards.experiment}"
    script:
        "../scripts/table.py"


rule figure:
    input:
        unpack(PLAN.report.drawn),
    output:
        png=in_report(PATHS.figure, "figure", "Figures"),
        svg=PATHS.figure_svg,
    log:
        "<logs>/figure/{experiment}.log",
    benchmark:
        "<benchmarks>/figure/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(set(SCALE.figures) - set(SCALE.diagnoses)),
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=3_000,
        runtime=10,
    params:
        experiment=SCALE.of("experiment"),
        titles=of_job(PLAN.report.titles),
        datasets=PLAN.report.pictured,
        code=code_of("figure"),
    message:
        "Draw {wildcards.experiment}"
    script:
        "../scripts/figure.py"


rule page:
    input:
        unpack(PLAN.page.inputs),
    output:
        in_report(PATHS.page, "page", "Report"),
    log:
        "<logs>/page.log",
    benchmark:
        "<benchmarks>/page.tsv"
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 4  # it comes last, when no other job wants the machine
    resources:
        mem_mb=4_000,
        runtime=30,
    params:
        entries=ENTRIES,
        note=config.get("note", ""),
        plan=PLAN.page.content(),
        parts=PLAN.page.parts(),
        code=code_of("page"),
    message:
        "Write the report"
    script:
        "../scripts/page.py"


rule latest:
    input:
        PATHS.page,
    output:
        PATHS.latest_page,
    log:
        "<logs>/latest.log",
    benchmark:
        "<benchmarks>/latest.tsv"
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    message:
        "Copy the report to results/report"
    shell:
        "cp {input} {output} 2> {log}"

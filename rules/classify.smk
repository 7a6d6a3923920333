"""Diagnosis: classifiers of MR and PET, real or generated, one job a fold."""


rule classify:
    input:
        unpack(PLAN.diagnosis.to_classify),
    output:
        scores=PATHS.scores,
        history=PATHS.scores_history,
    log:
        "<logs>/classify/{dataset}/{dose}/{classifier}/fold-{fold}.log",
    benchmark:
        "<benchmarks>/classify/{dataset}/{dose}/{classifier}/fold-{fold}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(SCALE.synthetic),
    conda:
        "../envs/petbench.yaml"
    threads: at_most(8)
    resources:
        gpu=1,
        mem_mb=scaled(16_000),
        runtime=scaled(720),
    params:
        classifier=PLAN.diagnosis.classifier,
        plan=PLAN.diagnosis.roles,
        code=code_of("classify", modules=PLAN.diagnosis.modules),
    message:
        "Train and test a classifier of patients"
    script:
        "../scripts/classify.py"


rule diagnosis:
    input:
        scores=PLAN.diagnosis.scored,
        published=PLAN.report.published,
        images=of_job(PLAN.records.images_behind),
    output:
        tsv=in_report(PATHS.table, "table", "Tables"),
        markdown=PATHS.table_markdown,
        latex=PATHS.table_latex,
        record=PATHS.record,
    log:
        "<logs>/diagnosis/{experiment}.log",
    benchmark:
        "<benchmarks>/diagnosis/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(SCALE.diagnoses),
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=10,
    params:
        experiment=SCALE.of("experiment"),
        bootstrap=of_job(PLAN.diagnosis.bootstrap),
        titles=of_job(PLAN.report.titles),
        notes=PLAN.report.notes,
        published=PLAN.report.published_checksum,
        images=of_job(PLAN.records.names_behind),
        configuration=of_job(PLAN.records.configuration),
        stages=of_job(PLAN.records.stages),
        code=code_of("diagnosis"),
    message:
        "Tabulate {wildcards.experiment}"
    script:
        "../scripts/diagnosis.py"


rule roc:
    input:
        scores=PLAN.diagnosis.scored,
    output:
        png=in_report(PATHS.figure, "figure", "Figures"),
        svg=PATHS.figure_svg,
    log:
        "<logs>/roc/{experiment}.log",
    benchmark:
        "<benchmarks>/roc/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(set(SCALE.figures) & set(SCALE.diagnoses)),
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
        code=code_of("roc"),
    message:
        "Draw {wildcards.experiment}"
    script:
        "../scripts/roc.py"

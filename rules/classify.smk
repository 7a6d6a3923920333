"""Diagnosis: classifiers of MR and PET, real or generated, one job a fold."""


rule classify:
    input:
        unpack(classifying_inputs),
    output:
        scores="<results>/{dataset}/{dose}/diagnosis/{classifier}/fold-{fold}/scores.tsv",
        history="<results>/{dataset}/{dose}/diagnosis/{classifier}/fold-{fold}/history.tsv",
    log:
        "<logs>/classify/{dataset}/{dose}/{classifier}/fold-{fold}.log",
    benchmark:
        "<benchmarks>/classify/{dataset}/{dose}/{classifier}/fold-{fold}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(SYNTHETIC),
    conda:
        "../envs/petbench.yaml"
    threads: at_most(8)
    resources:
        gpu=1,
        mem_mb=scaled(16_000),
        runtime=scaled(720),
    params:
        classifier=classifier_of,
        plan=classifying_plan,
        code=code_of("classify", modules=diagnosed_modules),
    script:
        "../scripts/classify.py"


rule diagnosis:
    input:
        scores=lambda wildcards: scores_of([wildcards.experiment]),
        published=published_file,
    output:
        tsv=report(
            "<results>/tables/{experiment}.tsv",
            caption="../resources/captions/table.rst",
            category="Tables",
            labels={"experiment": "{experiment}"},
        ),
        markdown="<results>/tables/{experiment}.md",
        latex="<results>/tables/{experiment}.tex",
    log:
        "<logs>/diagnosis/{experiment}.log",
    benchmark:
        "<benchmarks>/diagnosis/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(DIAGNOSES),
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=10,
    params:
        experiment=lambda wildcards: EXPERIMENTS[wildcards.experiment],
        bootstrap=bootstrap_of,
        titles=titles_of,
        notes=notes_of,
        published=published_checksum,
        code=code_of("diagnosis"),
    script:
        "../scripts/diagnosis.py"


rule roc:
    input:
        scores=lambda wildcards: scores_of([wildcards.experiment]),
    output:
        png=report(
            "<results>/figures/{experiment}.png",
            caption="../resources/captions/figure.rst",
            category="Figures",
            labels={"experiment": "{experiment}"},
        ),
        svg="<results>/figures/{experiment}.svg",
    log:
        "<logs>/roc/{experiment}.log",
    benchmark:
        "<benchmarks>/roc/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(set(FIGURES) & set(DIAGNOSES)),
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=10,
    params:
        experiment=lambda wildcards: EXPERIMENTS[wildcards.experiment],
        titles=titles_of,
        code=code_of("roc"),
    script:
        "../scripts/roc.py"

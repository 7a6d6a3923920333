"""Tables, figures and the one page."""


rule table:
    input:
        unpack(cost_files),
        metrics=values_of,
        published=published_file,
        images=images_behind,
    output:
        tsv=report(
            "<results>/tables/{experiment}.tsv",
            caption="../resources/captions/table.rst",
            category="Tables",
            labels={"experiment": "{experiment}"},
        ),
        markdown="<results>/tables/{experiment}.md",
        latex="<results>/tables/{experiment}.tex",
        record="<results>/tables/{experiment}.json",
    log:
        "<logs>/table/{experiment}.log",
    benchmark:
        "<benchmarks>/table/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(TABULATED),
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
        notes=notes_of,
        published=published_checksum,
        images=names_behind,
        configuration=configuration_behind,
        stages=code_behind,
        code=code_of("table"),
    script:
        "../scripts/table.py"


rule figure:
    input:
        unpack(figure_inputs),
    output:
        png=report(
            "<results>/figures/{experiment}.png",
            caption="../resources/captions/figure.rst",
            category="Figures",
            labels={"experiment": "{experiment}"},
        ),
        svg="<results>/figures/{experiment}.svg",
    log:
        "<logs>/figure/{experiment}.log",
    benchmark:
        "<benchmarks>/figure/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(set(FIGURES) - set(DIAGNOSES)),
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=3_000,
        runtime=10,
    params:
        experiment=lambda wildcards: EXPERIMENTS[wildcards.experiment],
        titles=titles_of,
        datasets=drawn_of,
        code=code_of("figure"),
    script:
        "../scripts/figure.py"


rule page:
    input:
        unpack(page_inputs),
    output:
        report(
            "<results>/report/index.html",
            caption="../resources/captions/page.rst",
            category="Report",
        ),
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
        plan=page_plan(),
        parts=page_parts(),
        code=code_of("page"),
    script:
        "../scripts/page.py"


rule latest:
    input:
        "<results>/report/index.html",
    output:
        "results/report/index.html",
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
    shell:
        "cp {input} {output} 2> {log}"

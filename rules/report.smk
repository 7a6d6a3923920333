"""Tables, figures and the one page."""


rule table:
    input:
        metrics=lambda wildcards: metrics_of([wildcards.experiment]),
    output:
        tsv=report("<results>/tables/{experiment}.tsv", caption="../resources/captions/table.rst", category="Tables", labels={"experiment": "{experiment}"}),
        markdown="<results>/tables/{experiment}.md",
        latex="<results>/tables/{experiment}.tex",
    log:
        "<logs>/table/{experiment}.log",
    benchmark:
        "<benchmarks>/table/{experiment}.tsv"
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=10,
    params:
        experiment=lookup("experiments/{experiment}", within=ENTRIES),
        titles={name: entry["title"] for name, entry in METHODS.items()},
        code=code_of("table"),
    localrule: True
    script:
        "../scripts/table.py"

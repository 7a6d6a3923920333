"""One long table of metrics a data set, dose and method; and the check that a finished run still gives them."""


rule evaluate:
    input:
        unpack(evaluation_inputs),
    output:
        "<results>/{dataset}/{dose}/{method}/metrics.tsv",
    log:
        "<logs>/evaluate/{dataset}/{dose}/{method}.log",
    benchmark:
        "<benchmarks>/evaluate/{dataset}/{dose}/{method}.tsv"
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(8_000),
        runtime=scaled(120),
    params:
        subjects=tested_of,
        people=people_tested,
        folds=folds_of,
        grid=of_dataset("preprocess", "grid"),
        settings=lambda wildcards: DATASETS[wildcards.dataset].get("evaluation", {}),
        weights=lambda wildcards: checksums_of(
            DATASETS[wildcards.dataset].get("evaluation", {}).get("lpips", {}).values()
        ),
        code=code_of("evaluate"),
    script:
        "../scripts/evaluate.py"


# No output or benchmark, so that it runs whenever it is asked for, and no input, so that it takes the run as it stands.
rule verify:
    log:
        "<logs>/verify.log",
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=8_000,
        runtime=120,
    params:
        measured=measured,
        tables=tabulated,
        code=code_of("verify"),
    script:
        "../scripts/verify.py"

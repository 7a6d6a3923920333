"""One long table of metrics a data set, dose and method; the published weights that LPIPS takes; the check that a finished run still gives its tables."""


# Named by what it must hold: a file that is there and whole is kept, whatever address it came from.
rule fetch_weights:
    output:
        update("results/downloads/weights/{sha256}.pth"),
    log:
        "results/downloads/logs/weights/{sha256}.log",
    benchmark:
        "results/downloads/benchmarks/weights/{sha256}.tsv"
    wildcard_constraints:
        sha256="[0-9a-f]{64}",
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=60,
    params:
        url=weights_address,
        code=code_of("fetch_weights"),
    script:
        "../scripts/fetch_weights.py"


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
        settings=evaluation_settings,
        weights=lambda wildcards: lpips_checksums(wildcards.dataset),
        code=code_of("evaluate"),
    script:
        "../scripts/evaluate.py"


rule reliance:
    input:
        unpack(reliance_inputs),
    output:
        "<results>/reliance/{experiment}/{dataset}/{dose}/{method}/fold-{fold}.tsv",
    log:
        "<logs>/reliance/{experiment}/{dataset}/{dose}/{method}/fold-{fold}.log",
    benchmark:
        "<benchmarks>/reliance/{experiment}/{dataset}/{dose}/{method}/fold-{fold}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(RELIANCES),
    conda:
        "../envs/petbench.yaml"
    threads: at_most(4)
    resources:
        gpu=1,
        mem_mb=scaled(16_000),
        runtime=reliance_runtime,
    params:
        subjects=relying,
        people=people_relying,
        restoring=of_method("restore"),
        grid=of_dataset("preprocess", "grid"),
        settings=lambda wildcards: {
            key: value for key, value in evaluation_settings(wildcards).items() if key != "lpips"
        },
        code=code_of("reliance", modules=method_module),
    script:
        "../scripts/reliance.py"


rule similarity:
    input:
        unpack(similarity_inputs),
    output:
        report(
            "<results>/tables/{experiment}.tsv",
            caption="../resources/captions/similarity.rst",
            category="Tables",
            labels={"experiment": "{experiment}"},
        ),
    log:
        "<logs>/similarity/{experiment}.log",
    benchmark:
        "<benchmarks>/similarity/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(MAPS),
    conda:
        "../envs/petbench.yaml"
    threads: at_most(4)
    resources:
        gpu=1,
        mem_mb=scaled(16_000),
        runtime=scaled(60),
    params:
        settings=lambda wildcards: EXPERIMENTS[wildcards.experiment]["similarity"],
        code=code_of("similarity", modules=lambda wildcards: [METHODS[compared(wildcards).method]["module"]]),
    script:
        "../scripts/similarity.py"


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
        reconstructed=reconstructed,
        summarised=summarised,
        tables=tabulated,
        code=code_of("verify"),
    script:
        "../scripts/verify.py"

"""One long table of metrics a data set, dose and method; the published weights that LPIPS takes; the check that a finished run still gives its tables."""


# Named by what it must hold: a file that is there and whole is kept, whatever address it came from.
rule fetch_weights:
    output:
        update(PATHS.lpips_weights),
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
        url=PLAN.evaluation.lpips_address,
        code=code_of("fetch_weights"),
    script:
        "../scripts/fetch_weights.py"


rule evaluate:
    input:
        unpack(or_stop(PLAN.evaluation.to_measure)),
    output:
        PATHS.metrics,
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
        subjects=of_job(PLAN.subjects.tested),
        people=of_job(PLAN.subjects.people_tested),
        folds=of_job(PLAN.subjects.folds_tested),
        grid=SCALE.of("dataset", "preprocess", "grid"),
        settings=of_job(PLAN.evaluation.settings),
        weights=PLAN.evaluation.lpips_checksums,
        code=code_of("evaluate"),
    script:
        "../scripts/evaluate.py"


rule reliance:
    input:
        unpack(PLAN.reliance.inputs),
    output:
        PATHS.reliance,
    log:
        "<logs>/reliance/{experiment}/{dataset}/{dose}/{method}/fold-{fold}.log",
    benchmark:
        "<benchmarks>/reliance/{experiment}/{dataset}/{dose}/{method}/fold-{fold}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(SCALE.reliances),
    conda:
        "../envs/petbench.yaml"
    threads: at_most(4)
    resources:
        gpu=1,
        mem_mb=scaled(16_000),
        runtime=scaled(PLAN.reliance.minutes),
    params:
        subjects=PLAN.reliance.subjects_of,
        people=PLAN.reliance.people_of,
        restoring=SCALE.of("method", "restore"),
        grid=SCALE.of("dataset", "preprocess", "grid"),
        settings=PLAN.reliance.settings,
        code=code_of("reliance", modules=PLAN.trainings.own_module),
    script:
        "../scripts/reliance.py"


rule similarity:
    input:
        unpack(PLAN.evaluation.to_compare),
    output:
        in_report(PATHS.table, "similarity", "Tables"),
    log:
        "<logs>/similarity/{experiment}.log",
    benchmark:
        "<benchmarks>/similarity/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(SCALE.maps),
    conda:
        "../envs/petbench.yaml"
    threads: at_most(4)
    resources:
        gpu=1,
        mem_mb=scaled(16_000),
        runtime=scaled(60),
    params:
        settings=SCALE.of("experiment", "similarity"),
        code=code_of("similarity", modules=PLAN.evaluation.compared_module),
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
        scale=ENTRIES["scale"],
        measured=PLAN.verification.measured,
        reconstructed=PLAN.verification.reconstructed,
        summarised=PLAN.verification.summarised,
        tables=PLAN.verification.tables,
        code=code_of("verify"),
    script:
        "../scripts/verify.py"

"""One job a data set, dose, method and fold; and a method tried on synthetic windows, before any data."""


rule train:
    input:
        split=PATHS.split,
        data=PLAN.trainings.data,
        contexts=or_stop(PLAN.trainings.contexts),
        acquisitions=PLAN.trainings.acquisitions,
        init=PLAN.trainings.start,
    output:
        weights=ensure(PATHS.weights, non_empty=True),
        history=PATHS.history,
        cost=PATHS.cost,
    log:
        "<logs>/train/{dataset}/{dose}/{method}/fold-{fold}.log",
    benchmark:
        "<benchmarks>/train/{dataset}/{dose}/{method}/fold-{fold}.tsv"
    wildcard_constraints:
        method=wildcard_choice(SCALE.trained),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: at_most(8)
    resources:
        gpu=1,
        mem_mb=scaled(16_000),
        runtime=scaled(2_880),
    params:
        method=SCALE.of("method", "train"),
        module=PLAN.trainings.own_module,
        preprocess=SCALE.of("dataset", "preprocess"),
        domain=PLAN.trainings.seen_domain,
        kinds=PLAN.trainings.kinds,
        inputs=PLAN.trainings.inputs,
        part=PLAN.trainings.part,
        code=code_of("train", modules=PLAN.trainings.own_module),
    script:
        "../scripts/train.py"


# No output, so that it runs whenever it is asked for.
rule try:
    log:
        "<logs>/try.log",
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=4_000,
        runtime=10,
    params:
        method=or_stop(PLAN.trial.method),
        code=code_of("try"),
    script:
        "../scripts/try.py"

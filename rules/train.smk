"""One job a data set, dose, method and fold."""


rule train:
    input:
        split="<results>/{dataset}/split.json",
        data=training_data,
        init=starting_weights,
    output:
        weights=ensure("<results>/{dataset}/{dose}/{method}/fold-{fold}/model.safetensors", non_empty=True),
        history="<results>/{dataset}/{dose}/{method}/fold-{fold}/history.tsv",
        cost="<results>/{dataset}/{dose}/{method}/fold-{fold}/cost.json",
    log:
        "<logs>/train/{dataset}/{dose}/{method}/fold-{fold}.log",
    benchmark:
        "<benchmarks>/train/{dataset}/{dose}/{method}/fold-{fold}.tsv"
    wildcard_constraints:
        method=wildcard_choice(TRAINED),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: at_most(8)
    resources:
        gpu=1,
        mem_mb=scaled(16_000),
        runtime=scaled(2_880),
    params:
        method=of_method("train"),
        module=module_of,
        preprocess=of_dataset("preprocess"),
        domain=lambda wildcards: domain_of(own_training(wildcards)),
        code=code_of("train", modules=method_module),
    script:
        "../scripts/train.py"

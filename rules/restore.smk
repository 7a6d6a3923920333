"""Restored volumes: of a data set's held-out subjects, of ensembles, and of a lab's own scans."""


rule restore_subject:
    input:
        unpack(restoring_inputs),
    output:
        image="<results>/{dataset}/{dose}/{method}/restored/sub-{subject}/pet/sub-{subject}_rec-{dose}_desc-restored_pet.nii.gz",
        sidecar="<results>/{dataset}/{dose}/{method}/restored/sub-{subject}/pet/sub-{subject}_rec-{dose}_desc-restored_pet.json",
    log:
        "<logs>/restore/{dataset}/{dose}/{method}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/restore/{dataset}/{dose}/{method}/sub-{subject}.tsv"
    wildcard_constraints:
        method=wildcard_choice(set(METHODS) - set(FUSED)),
    conda:
        "../envs/petbench.yaml"
    threads: at_most(4)
    resources:
        gpu=1,
        mem_mb=scaled(16_000),
        runtime=restoring_runtime,
    params:
        settings=of_method("restore"),
        evaluated=lambda wildcards: evaluated_slices(DATASETS[wildcards.dataset]),
        code=code_of("restore_subject", modules=method_module),
    script:
        "../scripts/restore_subject.py"


rule fuse:
    input:
        images=fused_parts(".nii.gz"),
        sidecars=fused_parts(".json"),
    output:
        image="<results>/{dataset}/{dose}/{method}/restored/sub-{subject}/pet/sub-{subject}_rec-{dose}_desc-restored_pet.nii.gz",
        sidecar="<results>/{dataset}/{dose}/{method}/restored/sub-{subject}/pet/sub-{subject}_rec-{dose}_desc-restored_pet.json",
    log:
        "<logs>/fuse/{dataset}/{dose}/{method}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/fuse/{dataset}/{dose}/{method}/sub-{subject}.tsv"
    wildcard_constraints:
        method=wildcard_choice(FUSED),
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(4_000),
        runtime=scaled(10),
    params:
        settings=of_method("restore"),
        code=code_of("fuse"),
    script:
        "../scripts/fuse.py"


rule restore_scan:
    input:
        unpack(own_scan),
    output:
        image="results/restored/sub-{subject}/pet/sub-{subject}_desc-restored_pet.nii.gz",
        sidecar="results/restored/sub-{subject}/pet/sub-{subject}_desc-restored_pet.json",
        page="results/restored/sub-{subject}/sub-{subject}.html",
    log:
        "results/restored/logs/sub-{subject}.log",
    benchmark:
        "results/restored/benchmarks/sub-{subject}.tsv"
    conda:
        "../envs/petbench.yaml"
    threads: at_most(4)
    resources:
        gpu=1,
        mem_mb=scaled(16_000),
        runtime=scaled(scan_minutes(config.get("sampling_steps"))),
    params:
        sampling_steps=config.get("sampling_steps"),
        code=code_of("restore_scan", modules=any_module),
    script:
        "../scripts/restore_scan.py"


rule describe_restored:
    output:
        "results/restored/dataset_description.json",
    log:
        "results/restored/logs/description.log",
    benchmark:
        "results/restored/benchmarks/description.tsv"
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of("describe_restored"),
    script:
        "../scripts/describe_restored.py"

"""What methods read: normalised volumes with an index of windows, and the split by person."""


rule prepare:
    input:
        unpack(subject_images),
    output:
        low_dose="<results>/{dataset}/{dose}/prepared/{domain}/sub-{subject}/low_dose.npy",
        standard_dose="<results>/{dataset}/{dose}/prepared/{domain}/sub-{subject}/standard_dose.npy",
        mr="<results>/{dataset}/{dose}/prepared/{domain}/sub-{subject}/mr.npy",
        index="<results>/{dataset}/{dose}/prepared/{domain}/sub-{subject}/index.npy",
        parameters="<results>/{dataset}/{dose}/prepared/{domain}/sub-{subject}/prepared.json",
    log:
        "<logs>/prepare/{dataset}/{dose}/{domain}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/prepare/{dataset}/{dose}/{domain}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(set(DATASETS) - set(SYNTHETIC)),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(4_000),
        runtime=scaled(10),
    params:
        preprocess=of_dataset("preprocess"),
        domain=of_dataset("domains", "{domain}"),
        code=code_of("prepare"),
    script:
        "../scripts/prepare.py"


rule split:
    input:
        # no training starts before the MR of every subject that matters is known to fit its PET
        registered=all_registered,
    output:
        "<results>/{dataset}/split.json",
    log:
        "<logs>/split/{dataset}.log",
    benchmark:
        "<benchmarks>/split/{dataset}.tsv"
    priority: EARLY
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        people=lambda wildcards: people_of(DATASETS[wildcards.dataset]),
        split=of_dataset("split"),
        code=code_of("split"),
    script:
        "../scripts/split.py"

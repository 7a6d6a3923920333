"""Data sets whose PET is made of MR alone: grey matter and PET in MNI space, and what methods read of them."""


rule normalise_mr:
    input:
        unpack(structural_inputs),
    output:
        map="<results>/{dataset}/structural/sub-{subject}/sub-{subject}_space-MNI152_label-GM_probseg.nii.gz",
        sidecar="<results>/{dataset}/structural/sub-{subject}/sub-{subject}_space-MNI152_label-GM_probseg.json",
        t1w="<results>/{dataset}/structural/sub-{subject}/sub-{subject}_space-ACPC_T1w.nii.gz",
        tissues="<results>/{dataset}/structural/sub-{subject}/sub-{subject}_space-ACPC_dseg.nii.gz",
        rigid="<results>/{dataset}/structural/sub-{subject}/sub-{subject}_from-ACPC_to-T1w_xfm.mat",
        warp="<results>/{dataset}/structural/sub-{subject}/sub-{subject}_from-MNI152_to-ACPC_xfm.h5",
        picture="<results>/{dataset}/structural/sub-{subject}/sub-{subject}_space-MNI152_label-GM.png",
    log:
        "<logs>/normalise_mr/{dataset}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/normalise_mr/{dataset}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(SYNTHETIC),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: 1  # ANTs repeats bit for bit with one thread only
    resources:
        mem_mb=scaled(8_000),
        runtime=scaled(60),
    params:
        settings=of_dataset("preprocess", "structural"),
        grid=of_dataset("preprocess", "grid"),
        code=code_of("normalise_mr"),
    script:
        "../scripts/normalise_mr.py"


rule normalise_pet:
    input:
        unpack(structural_pet_inputs),
    output:
        pet="<results>/{dataset}/structural/sub-{subject}/sub-{subject}_space-MNI152_pet.nii.gz",
        sidecar="<results>/{dataset}/structural/sub-{subject}/sub-{subject}_space-MNI152_pet.json",
    log:
        "<logs>/normalise_pet/{dataset}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/normalise_pet/{dataset}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(SYNTHETIC),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(4_000),
        runtime=scaled(10),
    params:
        settings=of_dataset("preprocess", "structural"),
        grid=of_dataset("preprocess", "grid"),
        code=code_of("normalise_pet"),
    script:
        "../scripts/normalise_pet.py"


rule prepare_pair:
    input:
        mr=lambda wildcards: grey_matter_map(wildcards.dataset, wildcards.subject),
        standard_dose=lambda wildcards: reference_image(wildcards.dataset, wildcards.subject),
    output:
        standard_dose="<results>/{dataset}/{dose}/prepared/{domain}/sub-{subject}/standard_dose.npy",
        mr="<results>/{dataset}/{dose}/prepared/{domain}/sub-{subject}/mr.npy",
        index="<results>/{dataset}/{dose}/prepared/{domain}/sub-{subject}/index.npy",
        parameters="<results>/{dataset}/{dose}/prepared/{domain}/sub-{subject}/prepared.json",
    log:
        "<logs>/prepare_pair/{dataset}/{dose}/{domain}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/prepare_pair/{dataset}/{dose}/{domain}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(SYNTHETIC),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(1_000),
        runtime=scaled(10),
    params:
        preprocess=of_dataset("preprocess"),
        domain=of_dataset("domains", "{domain}"),
        code=code_of("prepare_maps"),
    script:
        "../scripts/prepare_maps.py"


rule prepare_mr_only:
    input:
        mr=lambda wildcards: grey_matter_map(wildcards.dataset, wildcards.subject),
    output:
        mr="<results>/{dataset}/{dose}/prepared/{domain}/mr_only/sub-{subject}/mr.npy",
        index="<results>/{dataset}/{dose}/prepared/{domain}/mr_only/sub-{subject}/index.npy",
        parameters="<results>/{dataset}/{dose}/prepared/{domain}/mr_only/sub-{subject}/prepared.json",
    log:
        "<logs>/prepare_mr_only/{dataset}/{dose}/{domain}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/prepare_mr_only/{dataset}/{dose}/{domain}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(SYNTHETIC),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(1_000),
        runtime=scaled(10),
    params:
        preprocess=of_dataset("preprocess"),
        domain=of_dataset("domains", "{domain}"),
        code=code_of("prepare_maps"),
    script:
        "../scripts/prepare_maps.py"

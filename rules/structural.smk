"""Data sets whose PET is made of MR alone: grey matter and PET in MNI space, and what methods read of them."""


rule normalise_mr:
    input:
        unpack(PLAN.images.to_normalise),
    output:
        map=PATHS.grey_matter,
        sidecar=PATHS.grey_matter_sidecar,
        t1w=PATHS.acpc_t1w,
        tissues=PATHS.acpc_tissues,
        rigid=PATHS.acpc_to_t1w,
        warp=PATHS.mni_to_acpc,
        picture=PATHS.grey_matter_picture,
    log:
        "<logs>/normalise_mr/{dataset}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/normalise_mr/{dataset}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(SCALE.synthetic),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: 1  # ANTs repeats bit for bit with one thread only
    resources:
        mem_mb=scaled(8_000),
        runtime=scaled(60),
    params:
        settings=SCALE.of("dataset", "preprocess", "structural"),
        grid=SCALE.of("dataset", "preprocess", "grid"),
        code=code_of("normalise_mr"),
    message:
        "Warp the MR of subject {wildcards.subject}"
    script:
        "../scripts/normalise_mr.py"


rule normalise_pet:
    input:
        pet=PLAN.images.standard_dose,
        to_t1w=PATHS.pet_to_t1w,
        rigid=PATHS.acpc_to_t1w,
        warp=PATHS.mni_to_acpc,
    output:
        pet=PATHS.mni_pet,
        sidecar=PATHS.mni_pet_sidecar,
    log:
        "<logs>/normalise_pet/{dataset}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/normalise_pet/{dataset}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(SCALE.synthetic),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(4_000),
        runtime=scaled(10),
    params:
        settings=SCALE.of("dataset", "preprocess", "structural"),
        grid=SCALE.of("dataset", "preprocess", "grid"),
        code=code_of("normalise_pet"),
    message:
        "Warp the PET of subject {wildcards.subject}"
    script:
        "../scripts/normalise_pet.py"


rule prepare_pair:
    input:
        mr=PATHS.grey_matter,
        standard_dose=PATHS.mni_pet,
    output:
        standard_dose=PATHS.prepared_standard_dose,
        mr=PATHS.prepared_mr,
        regions=PATHS.prepared_regions,
        index=PATHS.prepared_index,
        parameters=PATHS.prepared,
    log:
        "<logs>/prepare_pair/{dataset}/{dose}/{domain}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/prepare_pair/{dataset}/{dose}/{domain}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(SCALE.synthetic),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(1_000),
        runtime=scaled(10),
    params:
        preprocess=SCALE.of("dataset", "preprocess"),
        domain=SCALE.domain_of,
        diagnosis=PLAN.subjects.diagnosis,
        code=code_of("prepare_maps"),
    message:
        "Scale and grid subject {wildcards.subject}"
    script:
        "../scripts/prepare_maps.py"


rule prepare_mr_only:
    input:
        mr=PATHS.grey_matter,
    output:
        mr=PATHS.mr_only_mr,
        index=PATHS.mr_only_index,
        parameters=PATHS.mr_only,
    log:
        "<logs>/prepare_mr_only/{dataset}/{dose}/{domain}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/prepare_mr_only/{dataset}/{dose}/{domain}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(SCALE.synthetic),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(1_000),
        runtime=scaled(10),
    params:
        preprocess=SCALE.of("dataset", "preprocess"),
        domain=SCALE.domain_of,
        code=code_of("prepare_maps"),
    message:
        "Scale and grid subject {wildcards.subject}"
    script:
        "../scripts/prepare_maps.py"

"""MR to PET, once a subject."""


rule register:
    input:
        pet=PLAN.images.fixed,
        mr=of_job(PLAN.images.t1w),
        preflight=of_job(PLAN.images.preflight),
    output:
        mr=PATHS.registered_mr,
        transform=PATHS.pet_to_t1w,
        picture=PATHS.registration_picture,
    log:
        "<logs>/register/{dataset}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/register/{dataset}/sub-{subject}.tsv"
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: 1  # ANTs repeats bit for bit with one thread only
    resources:
        mem_mb=scaled(4_000),
        runtime=scaled(30),
    params:
        settings=SCALE.of("dataset", "preprocess", "registration"),
        code=code_of("register"),
    message:
        "Register MR to PET, subject {wildcards.subject} of {wildcards.dataset}"
    script:
        "../scripts/register.py"

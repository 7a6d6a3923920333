"""MR to PET, once a subject."""


rule register:
    input:
        unpack(registration_images),
    output:
        mr="<results>/{dataset}/registered/sub-{subject}/sub-{subject}_space-pet_T1w.nii.gz",
        transform="<results>/{dataset}/registered/sub-{subject}/sub-{subject}_from-pet_to-T1w_xfm.h5",
        picture="<results>/{dataset}/registered/sub-{subject}/sub-{subject}_registration.png",
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
        settings=of_dataset("preprocess", "registration"),
        code=code_of("register"),
    script:
        "../scripts/register.py"

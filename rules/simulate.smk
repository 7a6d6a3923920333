"""Simulated scans of phantoms: the acquisition once a subject, an image once a dose."""


rule simulate:
    input:
        activity="<results>/{dataset}/truth/sub-{subject}/sub-{subject}_activity.nii.gz",
        attenuation="<results>/{dataset}/truth/sub-{subject}/sub-{subject}_mumap.nii.gz",
    output:
        "<results>/{dataset}/acquisition/sub-{subject}.npz",
    log:
        "<logs>/simulate/{dataset}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/simulate/{dataset}/sub-{subject}.tsv"
    conda:
        "../envs/petbench.yaml"
    threads: 2
    resources:
        mem_mb=scaled(6_000),
        runtime=scaled(30),
    params:
        simulation=of_dataset("simulation"),
        scanner=scanner_of,
        seed=subject_seed,
        code=code_of("simulate"),
    script:
        "../scripts/simulate.py"


rule reconstruct:
    input:
        "<results>/{dataset}/acquisition/sub-{subject}.npz",
    output:
        image="<results>/{dataset}/bids/sub-{subject}/pet/sub-{subject}_rec-{dose}_pet.nii.gz",
        sidecar="<results>/{dataset}/bids/sub-{subject}/pet/sub-{subject}_rec-{dose}_pet.json",
    log:
        "<logs>/reconstruct/{dataset}/{dose}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/reconstruct/{dataset}/{dose}/sub-{subject}.tsv"
    conda:
        "../envs/petbench.yaml"
    threads: 2
    resources:
        mem_mb=scaled(6_000),
        runtime=scaled(60),
    params:
        dose=dose_of,
        reconstruction=of_dataset("reconstruction"),
        scanner=scanner_of,
        seed=subject_seed,
        code=code_of("reconstruct"),
    script:
        "../scripts/reconstruct.py"

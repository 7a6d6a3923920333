"""Simulated scans: of phantoms, an acquisition for the standard dose and each independent one and an image a dose; of a lab's images, low doses."""


rule simulate:
    input:
        activity="<results>/{dataset}/truth/sub-{subject}/sub-{subject}_activity.nii.gz",
        attenuation="<results>/{dataset}/truth/sub-{subject}/sub-{subject}_mumap.nii.gz",
    output:
        "<results>/{dataset}/acquisition/sub-{subject}_acq-{dose}.h5",
    log:
        "<logs>/simulate/{dataset}/{dose}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/simulate/{dataset}/{dose}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(PHANTOMS),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: at_most(2)
    resources:
        mem_mb=scaled(6_000),
        runtime=scaled(30),
    params:
        dose=dose_of,
        simulation=of_dose("simulation"),
        scanner=scanner_of,
        seed=subject_seed,
        code=code_of("simulate"),
    script:
        "../scripts/simulate.py"


rule reconstruct:
    input:
        acquisition_of,
    output:
        image="<results>/{dataset}/bids/sub-{subject}/pet/sub-{subject}_rec-{dose}_pet.nii.gz",
        sidecar="<results>/{dataset}/bids/sub-{subject}/pet/sub-{subject}_rec-{dose}_pet.json",
    log:
        "<logs>/reconstruct/{dataset}/{dose}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/reconstruct/{dataset}/{dose}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(PHANTOMS),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: at_most(2)
    resources:
        gpu=gpu_of_reconstruction,
        mem_mb=scaled(6_000),
        runtime=scaled(60),
    params:
        dose=dose_of,
        reconstruction=of_dose("reconstruction"),
        scanner=scanner_of,
        seed=subject_seed,
        code=code_of("reconstruct"),
    script:
        "../scripts/reconstruct.py"


rule simulate_from_image:
    input:
        image=lambda wildcards: pet_image(wildcards.dataset, wildcards.subject, STANDARD),
        preflight=lambda wildcards: preflight_of(wildcards.dataset),
    output:
        image="<results>/{dataset}/bids/sub-{subject}/pet/sub-{subject}_rec-{dose}_pet.nii.gz",
        sidecar="<results>/{dataset}/bids/sub-{subject}/pet/sub-{subject}_rec-{dose}_pet.json",
    log:
        "<logs>/simulate_from_image/{dataset}/{dose}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/simulate_from_image/{dataset}/{dose}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(LABS),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: at_most(2)
    resources:
        gpu=gpu_of_reconstruction,
        mem_mb=scaled(8_000),
        runtime=scaled(240),
    params:
        dose=dose_of,
        simulation=of_dose("simulation"),
        reconstruction=of_dose("reconstruction"),
        scanner=scanner_of,
        seed=subject_seed,
        code=code_of("simulate_from_image"),
    script:
        "../scripts/simulate_from_image.py"

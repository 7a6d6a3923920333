"""Simulated scans: of phantoms, an acquisition for the standard dose and each independent one and an image a dose; of a lab's images, low doses."""


rule simulate:
    input:
        activity=PATHS.activity,
        attenuation=PATHS.attenuation,
    output:
        PATHS.acquisition,
    log:
        "<logs>/simulate/{dataset}/{dose}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/simulate/{dataset}/{dose}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(SCALE.phantoms),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: at_most(2)
    resources:
        mem_mb=scaled(6_000),
        runtime=scaled(30),
    params:
        dose=PLAN.acquisition.dose,
        simulation=PLAN.acquisition.simulation,
        scanner=PLAN.acquisition.scanner,
        seed=PLAN.subjects.scan_seed,
        code=code_of("simulate"),
    message:
        "Scan subject {wildcards.subject} of {wildcards.dataset}"
    script:
        "../scripts/simulate.py"


rule reconstruct:
    input:
        PLAN.acquisition.acquired,
    output:
        image=PATHS.pet,
        sidecar=PATHS.pet_sidecar,
    log:
        "<logs>/reconstruct/{dataset}/{dose}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/reconstruct/{dataset}/{dose}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(SCALE.phantoms),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: at_most(2)
    resources:
        gpu=PLAN.acquisition.gpus,
        mem_mb=scaled(6_000),
        runtime=scaled(60),
    params:
        dose=PLAN.acquisition.dose,
        reconstruction=PLAN.acquisition.reconstruction,
        scanner=PLAN.acquisition.scanner,
        seed=PLAN.subjects.scan_seed,
        code=code_of("reconstruct"),
    message:
        "Reconstruct subject {wildcards.subject} of {wildcards.dataset}"
    script:
        "../scripts/reconstruct.py"


rule simulate_from_image:
    input:
        image=PLAN.images.standard_dose,
        preflight=of_job(PLAN.images.preflight),
    output:
        image=PATHS.pet,
        sidecar=PATHS.pet_sidecar,
    log:
        "<logs>/simulate_from_image/{dataset}/{dose}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/simulate_from_image/{dataset}/{dose}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(SCALE.labs),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: at_most(2)
    resources:
        gpu=PLAN.acquisition.gpus,
        mem_mb=scaled(8_000),
        runtime=scaled(240),
    params:
        dose=PLAN.acquisition.dose,
        simulation=PLAN.acquisition.simulation,
        reconstruction=PLAN.acquisition.reconstruction,
        scanner=PLAN.acquisition.scanner,
        seed=PLAN.subjects.scan_seed,
        code=code_of("simulate_from_image"),
    message:
        "Draw a low dose from an image of subject {wildcards.subject}"
    script:
        "../scripts/simulate_from_image.py"

"""What methods read: normalised volumes with an index of windows, and the split by person."""


rule prepare:
    input:
        low_dose=of_job(PLAN.images.pet),
        standard_dose=PLAN.images.standard_dose,
        mr=PATHS.registered_mr,
    output:
        low_dose=PATHS.prepared_low_dose,
        standard_dose=PATHS.prepared_standard_dose,
        mr=PATHS.prepared_mr,
        index=PATHS.prepared_index,
        parameters=PATHS.prepared,
    log:
        "<logs>/prepare/{dataset}/{dose}/{domain}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/prepare/{dataset}/{dose}/{domain}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(set(SCALE.datasets) - set(SCALE.synthetic)),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(4_000),
        runtime=scaled(10),
    params:
        preprocess=SCALE.of("dataset", "preprocess"),
        domain=SCALE.domain_of,
        code=code_of("prepare"),
    script:
        "../scripts/prepare.py"


rule prepare_acquisition:
    input:
        acquisition=PLAN.acquisition.acquired,
        image=of_job(PLAN.images.pet),
        prepared=PATHS.prepared,
    output:
        data=PATHS.plane_scans,
        parameters=PATHS.plane_scans_parameters,
    log:
        "<logs>/prepare_acquisition/{dataset}/{dose}/{domain}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/prepare_acquisition/{dataset}/{dose}/{domain}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(SCALE.phantoms),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: at_most(2)
    resources:
        mem_mb=scaled(6_000),
        runtime=scaled(10),
    params:
        dose=PLAN.acquisition.dose,
        reconstruction=PLAN.acquisition.reconstruction,
        scanner=PLAN.acquisition.scanner,
        seed=PLAN.subjects.scan_seed,
        code=code_of("prepare_acquisition"),
    script:
        "../scripts/prepare_acquisition.py"


rule split:
    input:
        # no training starts before the MR of every subject that matters is known to fit its PET
        registered=PLAN.images.registered,
    output:
        PATHS.split,
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
        people=of_job(PLAN.subjects.people),
        split=SCALE.of("dataset", "split"),
        code=code_of("split"),
    script:
        "../scripts/split.py"

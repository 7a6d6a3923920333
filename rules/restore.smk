"""Restored volumes: of a data set's held-out subjects, of ensembles, and of a lab's own scans."""


rule restore_subject:
    input:
        unpack(or_stop(PLAN.trainings.to_restore)),
    output:
        image=PATHS.restored,
        sidecar=PATHS.restored_sidecar,
    log:
        "<logs>/restore/{dataset}/{dose}/{method}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/restore/{dataset}/{dose}/{method}/sub-{subject}.tsv"
    wildcard_constraints:
        method=wildcard_choice(set(SCALE.methods) - set(SCALE.fused)),
    conda:
        "../envs/petbench.yaml"
    threads: at_most(4)
    resources:
        gpu=1,
        mem_mb=scaled(16_000),
        runtime=scaled(PLAN.trainings.minutes),
    params:
        settings=SCALE.of("method", "restore"),
        evaluated=PLAN.evaluation.slices,
        code=code_of("restore_subject", modules=PLAN.trainings.restoring_module),
    message:
        "Restore subject {wildcards.subject} by {wildcards.method}, {wildcards.dataset}, dose {wildcards.dose}"
    script:
        "../scripts/restore_subject.py"


rule restore_context:
    input:
        unpack(PLAN.trainings.to_give_context),
    output:
        volume=PATHS.context,
        sidecar=PATHS.context_sidecar,
    log:
        "<logs>/restore_context/{dataset}/{dose}/{method}/fold-{fold}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/restore_context/{dataset}/{dose}/{method}/fold-{fold}/sub-{subject}.tsv"
    wildcard_constraints:
        method=wildcard_choice(SCALE.staged),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: at_most(4)
    resources:
        gpu=1,
        mem_mb=scaled(16_000),
        runtime=scaled(PLAN.trainings.minutes_of_context),
    params:
        settings=SCALE.of("method", "restore"),
        code=code_of("restore_context", modules=PLAN.trainings.own_module),
    message:
        "Restore a context by {wildcards.method}, subject {wildcards.subject}, {wildcards.dataset}, dose {wildcards.dose}"
    script:
        "../scripts/restore_context.py"


rule fuse:
    input:
        unpack(PLAN.trainings.to_fuse),
    output:
        image=PATHS.restored,
        sidecar=PATHS.restored_sidecar,
    log:
        "<logs>/fuse/{dataset}/{dose}/{method}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/fuse/{dataset}/{dose}/{method}/sub-{subject}.tsv"
    wildcard_constraints:
        method=wildcard_choice(SCALE.fused),
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(4_000),
        runtime=scaled(10),
    params:
        settings=SCALE.of("method", "restore"),
        code=code_of("fuse"),
    message:
        "Fuse images of subject {wildcards.subject} for {wildcards.method}, {wildcards.dataset}, dose {wildcards.dose}"
    script:
        "../scripts/fuse.py"


rule restore_scan:
    input:
        unpack(or_stop(PLAN.scans.inputs)),
    output:
        image=PATHS.restored_scan,
        sidecar=PATHS.restored_scan_sidecar,
        page=PATHS.restored_scan_page,
    log:
        PATHS.restored_scan_log,
    benchmark:
        PATHS.restored_scan_benchmark
    wildcard_constraints:
        folder="sub-[^/_]+(/ses-[^/_]+)?",
        scan="sub-[^/]+",
    conda:
        "../envs/petbench.yaml"
    threads: 4  # a lab's scan is of full size, whatever the scale
    resources:
        gpu=1,
        mem_mb=scaled(16_000),
        runtime=scaled(scan_minutes(config.get("sampling_steps"))),
    params:
        checksums=or_stop(of_job(PLAN.scans.checksums)),
        sampling_steps=config.get("sampling_steps"),
        allow_unlike=config.get("allow_unlike", False),
        code=code_of("restore_scan", modules=PLAN.scans.modules),
    message:
        "Restore the scan {wildcards.folder}"
    script:
        "../scripts/restore_scan.py"


rule describe_restored:
    output:
        description=PATHS.restored_description,
        readme=PATHS.restored_readme,
        ignored=PATHS.restored_ignored,
    log:
        PATHS.restored_log,
    benchmark:
        PATHS.restored_benchmark
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        code=code_of("describe_restored"),
    message:
        "Describe the restored scans as BIDS"
    script:
        "../scripts/describe_restored.py"

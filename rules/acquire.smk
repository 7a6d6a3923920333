"""Raw data: phantom subjects made from the MNI maps or BrainWeb's models, and the check of a lab's own images."""


# A model that is there and whole stays: `update` keeps Snakemake from deleting it when code or address change.
rule fetch_brainweb:
    output:
        update(PATHS.brainweb_model),
    log:
        "results/downloads/brainweb/logs/subject_{model}.log",
    benchmark:
        "results/downloads/brainweb/benchmarks/subject_{model}.tsv"
    wildcard_constraints:
        model=wildcard_choice(MODELS),
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=60,
    params:
        source=or_stop(PLAN.acquisition.model_source),
        code=code_of("fetch_brainweb"),
    message:
        "Download a head of BrainWeb"
    script:
        "../scripts/fetch_brainweb.py"


# As for BrainWeb's models; asked for by data sets of that source alone.
rule fetch_openneuro:
    output:
        update(PATHS.openneuro),
    log:
        "results/downloads/openneuro/logs/{accession}/{file}.log",
    benchmark:
        "results/downloads/openneuro/benchmarks/{accession}/{file}.tsv"
    wildcard_constraints:
        accession=r"ds\d{6}",
        file=r"sub-[\w/-]+_(T1w|pet)\.(nii\.gz|json)",
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=240,
    params:
        source=or_stop(PLAN.images.remote_source),
        code=code_of("fetch_openneuro"),
    message:
        "Download {wildcards.file} of {wildcards.accession}"
    script:
        "../scripts/fetch_openneuro.py"


rule average_frames:
    input:
        unpack(PLAN.images.dynamic),
    output:
        image=PATHS.pet,
        sidecar=PATHS.pet_sidecar,
    log:
        "<logs>/average_frames/{dataset}/{dose}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/average_frames/{dataset}/{dose}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(SCALE.fetched),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(3_000),
        runtime=scaled(30),
    params:
        seconds=PLAN.images.seconds,
        code=code_of("average_frames"),
    message:
        "Average frames of subject {wildcards.subject} of {wildcards.dataset}"
    script:
        "../scripts/average_frames.py"


rule acquire:
    input:
        model=or_stop(PLAN.acquisition.model_file),
    output:
        t1w=PATHS.t1w,
        t1w_sidecar=PATHS.t1w_sidecar,
        activity=PATHS.activity,
        activity_sidecar=PATHS.activity_sidecar,
        attenuation=PATHS.attenuation,
        attenuation_sidecar=PATHS.attenuation_sidecar,
        labels=PATHS.labels,
        labels_sidecar=PATHS.labels_sidecar,
        truth=PATHS.truth,
    log:
        "<logs>/acquire/{dataset}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/acquire/{dataset}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(SCALE.phantoms),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(8_000),
        runtime=scaled(30),
    params:
        phantom=PLAN.acquisition.head,
        model=PLAN.acquisition.model,
        rotation_deg=PLAN.subjects.rotation_deg,
        image=PLAN.acquisition.head_image,
        group=PLAN.subjects.group,
        seed=PLAN.subjects.head_seed,
        code=code_of("acquire"),
    message:
        "Make subject {wildcards.subject} of {wildcards.dataset}"
    script:
        "../scripts/acquire.py"


rule describe:
    output:
        description=PATHS.description,
        readme=PATHS.readme,
        participants=PATHS.participants,
        columns=PATHS.participants_columns,
    log:
        "<logs>/describe/{dataset}.log",
    benchmark:
        "<benchmarks>/describe/{dataset}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(SCALE.phantoms),
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        name=SCALE.of("dataset", "title"),
        source=SCALE.of("dataset", "source"),
        subjects=PLAN.subjects.everybody,
        labels=SCALE.of("dataset", "labels", default={}),
        copies=SCALE.of("dataset", "phantoms", default={}),
        code=code_of("describe"),
    message:
        "Describe the data set {wildcards.dataset} as BIDS"
    script:
        "../scripts/describe.py"


rule preflight:
    input:
        images=PLAN.images.to_check,
        alone=PLAN.images.alone,
    output:
        PATHS.preflight,
    log:
        "<logs>/preflight/{dataset}.log",
    benchmark:
        "<benchmarks>/preflight/{dataset}.tsv"
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(4_000),
        runtime=scaled(30),
    params:
        subjects=SCALE.of("dataset", "subjects"),
        mr_only=SCALE.of("dataset", "mr_only", default=[]),
        people=of_job(PLAN.subjects.people),
        code=code_of("preflight"),
    message:
        "Check the images of {wildcards.dataset}"
    script:
        "../scripts/preflight.py"

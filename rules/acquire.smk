"""Raw data: phantom subjects made from the MNI maps or BrainWeb's models, and the check of a lab's own images."""


# A model that is there and whole stays: `update` keeps Snakemake from deleting it when code or address change.
rule fetch_brainweb:
    output:
        update("results/downloads/brainweb/subject_{model}.bin.gz"),
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
        source=brainweb_source,
        code=code_of("fetch_brainweb"),
    script:
        "../scripts/fetch_brainweb.py"


rule acquire:
    input:
        model=model_file,
    output:
        t1w="<results>/{dataset}/bids/sub-{subject}/anat/sub-{subject}_T1w.nii.gz",
        t1w_sidecar="<results>/{dataset}/bids/sub-{subject}/anat/sub-{subject}_T1w.json",
        activity="<results>/{dataset}/truth/sub-{subject}/sub-{subject}_activity.nii.gz",
        activity_sidecar="<results>/{dataset}/truth/sub-{subject}/sub-{subject}_activity.json",
        attenuation="<results>/{dataset}/truth/sub-{subject}/sub-{subject}_mumap.nii.gz",
        attenuation_sidecar="<results>/{dataset}/truth/sub-{subject}/sub-{subject}_mumap.json",
        labels="<results>/{dataset}/truth/sub-{subject}/sub-{subject}_dseg.nii.gz",
        labels_sidecar="<results>/{dataset}/truth/sub-{subject}/sub-{subject}_dseg.json",
        truth="<results>/{dataset}/truth/sub-{subject}/sub-{subject}_truth.json",
    log:
        "<logs>/acquire/{dataset}/sub-{subject}.log",
    benchmark:
        "<benchmarks>/acquire/{dataset}/sub-{subject}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(PHANTOMS),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(8_000),
        runtime=scaled(30),
    params:
        phantom=head_of,
        model=model_of,
        rotation_deg=lambda wildcards: copy_of(wildcards)["rotation_deg"],
        image=lambda wildcards: scanner_of(wildcards)["image"],
        group=group_of,
        seed=phantom_seed,
        code=code_of("acquire"),
    script:
        "../scripts/acquire.py"


rule describe:
    output:
        description="<results>/{dataset}/bids/dataset_description.json",
        participants="<results>/{dataset}/bids/participants.tsv",
    log:
        "<logs>/describe/{dataset}.log",
    benchmark:
        "<benchmarks>/describe/{dataset}.tsv"
    wildcard_constraints:
        dataset=wildcard_choice(PHANTOMS),
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=5,
    params:
        name=of_dataset("title"),
        source=of_dataset("source"),
        subjects=everybody,
        labels=lambda wildcards: DATASETS[wildcards.dataset].get("labels", {}),
        copies=lambda wildcards: DATASETS[wildcards.dataset].get("phantoms", {}),
        code=code_of("describe"),
    script:
        "../scripts/describe.py"


rule preflight:
    input:
        images=preflight_images,
        alone=preflight_alone,
    output:
        "<results>/{dataset}/preflight.json",
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
        subjects=of_dataset("subjects"),
        mr_only=lambda wildcards: DATASETS[wildcards.dataset].get("mr_only", []),
        code=code_of("preflight"),
    script:
        "../scripts/preflight.py"

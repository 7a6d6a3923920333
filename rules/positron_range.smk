"""Positron range: point spread functions by Monte Carlo, the predictor trained on them, and the three experiments of DDConv."""


rule media:
    output:
        "<results>/positron_range/psf_sets/{psf_set}/media.h5",
    log:
        "<logs>/media/{psf_set}.log",
    benchmark:
        "<benchmarks>/media/{psf_set}.tsv"
    priority: EARLY
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        media=lambda wildcards: {key: value for key, value in PSF_SETS[wildcards.psf_set].items() if key in MEDIA_KEYS},
        code=code_of("media"),
    script:
        "../scripts/media.py"


rule gate:
    input:
        "<results>/positron_range/psf_sets/{psf_set}/media.h5",
    output:
        "<results>/positron_range/psf_sets/{psf_set}/chunk-{chunk}.h5",
    log:
        "<logs>/gate/{psf_set}/{chunk}.log",
    benchmark:
        "<benchmarks>/gate/{psf_set}/{chunk}.tsv"
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(3_000),
        runtime=scaled(240),
    params:
        gate=lambda wildcards: PSF_SETS[wildcards.psf_set]["gate"],
        seed=lambda wildcards: PSF_SETS[wildcards.psf_set]["seed"],
        chunks=lambda wildcards: PSF_SETS[wildcards.psf_set]["chunks"],
        code=code_of("gate"),
    script:
        "../scripts/gate.py"


rule merge_psf:
    input:
        psf_chunks,
    output:
        "<results>/positron_range/psf_sets/{psf_set}/psf.h5",
    log:
        "<logs>/merge_psf/{psf_set}.log",
    benchmark:
        "<benchmarks>/merge_psf/{psf_set}.tsv"
    priority: EARLY
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(4_000),
        runtime=10,
    params:
        code=code_of("merge_psf"),
    script:
        "../scripts/merge_psf.py"


rule train_predictor:
    input:
        psf_sets=predictor_psfs,
    output:
        weights=ensure("<results>/positron_range/predictors/{predictor}/model.safetensors", non_empty=True),
        history="<results>/positron_range/predictors/{predictor}/history.tsv",
        cost="<results>/positron_range/predictors/{predictor}/cost.json",
    log:
        "<logs>/train_predictor/{predictor}.log",
    benchmark:
        "<benchmarks>/train_predictor/{predictor}.tsv"
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: at_most(4)
    resources:
        gpu=1,
        mem_mb=scaled(8_000),
        runtime=scaled(720),
    params:
        train=lambda wildcards: PREDICTORS[wildcards.predictor]["train"],
        code=code_of("train_predictor"),
    script:
        "../scripts/train_predictor.py"


rule torso:
    input:
        supplied_volumes,
    output:
        activity="<results>/positron_range/torsos/{torso}/activity.nii.gz",
        mu="<results>/positron_range/torsos/{torso}/mu.nii.gz",
        lesions="<results>/positron_range/torsos/{torso}/lesions.nii.gz",
        table="<results>/positron_range/torsos/{torso}/lesions.tsv",
    log:
        "<logs>/torso/{torso}.log",
    benchmark:
        "<benchmarks>/torso/{torso}.tsv"
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(4_000),
        runtime=10,
    params:
        torso=lambda wildcards: TORSOS[wildcards.torso]["torso"],
        scanner=lambda wildcards: ENTRIES["scanners"][TORSOS[wildcards.torso]["scanner"]],
        code=code_of("torso"),
    script:
        "../scripts/torso.py"


rule annihilate:
    input:
        unpack(lambda wildcards: torso_volumes(wildcards.torso)),
    output:
        "<results>/positron_range/torsos/{torso}/chunk-{chunk}.h5",
    log:
        "<logs>/annihilate/{torso}/{chunk}.log",
    benchmark:
        "<benchmarks>/annihilate/{torso}/{chunk}.tsv"
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(6_000),
        runtime=scaled(240),
    params:
        gate=lambda wildcards: TORSOS[wildcards.torso]["gate"],
        seed=lambda wildcards: TORSOS[wildcards.torso]["seed"],
        chunks=lambda wildcards: TORSOS[wildcards.torso]["chunks"],
        code=code_of("annihilate"),
    script:
        "../scripts/annihilate.py"


rule merge_annihilations:
    input:
        annihilation_chunks,
    output:
        "<results>/positron_range/torsos/{torso}/annihilations-{part}.h5",
    log:
        "<logs>/merge_annihilations/{torso}/{part}.log",
    benchmark:
        "<benchmarks>/merge_annihilations/{torso}/{part}.tsv"
    wildcard_constraints:
        part="1|2|all",
    priority: EARLY
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(4_000),
        runtime=10,
    params:
        code=code_of("merge_annihilations"),
    script:
        "../scripts/merge_annihilations.py"


rule compare_kernels:
    input:
        unpack(kernel_comparison),
    output:
        distances="<results>/positron_range/{experiment}/kernels/{predictor}/distances.tsv",
        profiles="<results>/positron_range/{experiment}/kernels/{predictor}/profiles.tsv",
        kernels="<results>/positron_range/{experiment}/kernels/{predictor}/kernels.h5",
    log:
        "<logs>/compare_kernels/{experiment}/{predictor}.log",
    benchmark:
        "<benchmarks>/compare_kernels/{experiment}/{predictor}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(of_kind("range_accuracy")),
    conda:
        "../envs/petbench.yaml"
    threads: at_most(2)
    resources:
        mem_mb=scaled(4_000),
        runtime=scaled(60),
    params:
        options=kernel_options,
        code=code_of("compare_kernels"),
    script:
        "../scripts/compare_kernels.py"


rule compare_torso:
    input:
        unpack(torso_comparison),
    output:
        distances="<results>/positron_range/{experiment}/torso/distances.tsv",
        profiles="<results>/positron_range/{experiment}/torso/profiles.tsv",
        images="<results>/positron_range/{experiment}/torso/images.h5",
    log:
        "<logs>/compare_torso/{experiment}.log",
    benchmark:
        "<benchmarks>/compare_torso/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(of_kind("range_accuracy")),
    conda:
        "../envs/petbench.yaml"
    threads: at_most(4)
    resources:
        mem_mb=scaled(16_000),
        runtime=scaled(120),
    params:
        options=of_range("epsilon", "interface_mm"),
        settings=applied,
        code=code_of("compare_torso"),
    script:
        "../scripts/compare_torso.py"


rule truncation:
    input:
        lambda wildcards: psf_file(PREDICTORS[RANGE[wildcards.experiment]["predictors"][0]]["kernels"]),
    output:
        "<results>/positron_range/{experiment}/truncation.tsv",
    log:
        "<logs>/truncation/{experiment}.log",
    benchmark:
        "<benchmarks>/truncation/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(of_kind("range_accuracy")),
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=5,
    params:
        options=of_range("sizes"),
        code=code_of("truncation"),
    script:
        "../scripts/truncation.py"


rule scan_torso:
    input:
        unpack(scanned_torso),
    output:
        "<results>/positron_range/{experiment}/realisation-{realisation}.h5",
    log:
        "<logs>/scan_torso/{experiment}/{realisation}.log",
    benchmark:
        "<benchmarks>/scan_torso/{experiment}/{realisation}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice([*of_kind("range_reconstruction"), *of_kind("range_scan")]),
    conda:
        "../envs/petbench.yaml"
    threads: at_most(4)
    resources:
        mem_mb=scaled(32_000),
        runtime=scaled(60),
    params:
        scanner=range_scanner,
        simulation=lambda wildcards: scanned(wildcards.experiment)["simulation"],
        seed=lambda wildcards: scanned(wildcards.experiment)["seed"],
        code=code_of("scan_torso"),
    script:
        "../scripts/scan_torso.py"


rule predict_kernels:
    input:
        unpack(kernels_to_predict),
    output:
        "<results>/positron_range/torsos/{torso}/kernels-{predictor}.h5",
    log:
        "<logs>/predict_kernels/{torso}/{predictor}.log",
    benchmark:
        "<benchmarks>/predict_kernels/{torso}/{predictor}.tsv"
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: at_most(8)
    resources:
        gpu=1,
        mem_mb=scaled(16_000),
        runtime=scaled(60),
    params:
        isotope=lambda wildcards: TORSOS[wildcards.torso]["gate"]["isotope"],
        settings=lambda wildcards: PREDICTORS[wildcards.predictor].get("apply", {}),
        code=code_of("predict_kernels"),
    script:
        "../scripts/predict_kernels.py"


rule reconstruct_torso:
    input:
        unpack(scanned_realisation),
    output:
        images="<results>/positron_range/{experiment}/{strategy}/realisation-{realisation}.nii.gz",
        sidecar="<results>/positron_range/{experiment}/{strategy}/realisation-{realisation}.json",
    log:
        "<logs>/reconstruct_torso/{experiment}/{strategy}/{realisation}.log",
    benchmark:
        "<benchmarks>/reconstruct_torso/{experiment}/{strategy}/{realisation}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(of_kind("range_reconstruction")),
    conda:
        "../envs/petbench.yaml"
    threads: at_most(8)
    resources:
        gpu=1,
        mem_mb=scaled(32_000),
        runtime=scaled(720),
    params:
        scanner=range_scanner,
        reconstruction=lambda wildcards: RANGE[wildcards.experiment]["reconstruction"],
        settings=applied,
        code=code_of("reconstruct_torso"),
    script:
        "../scripts/reconstruct_torso.py"


rule measure_torso:
    input:
        unpack(lambda wildcards: torso_volumes(RANGE[wildcards.experiment]["torso"])),
        images="<results>/positron_range/{experiment}/{strategy}/realisation-{realisation}.nii.gz",
        sidecar="<results>/positron_range/{experiment}/{strategy}/realisation-{realisation}.json",
    output:
        measures="<results>/positron_range/{experiment}/{strategy}/measures-{realisation}.tsv",
        profiles="<results>/positron_range/{experiment}/{strategy}/profiles-{realisation}.tsv",
    log:
        "<logs>/measure_torso/{experiment}/{strategy}/{realisation}.log",
    benchmark:
        "<benchmarks>/measure_torso/{experiment}/{strategy}/{realisation}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(of_kind("range_reconstruction")),
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(4_000),
        runtime=10,
    params:
        options=of_range("background_mm", "profiled"),
        code=code_of("measure_torso"),
    script:
        "../scripts/measure_torso.py"


rule summarise_torso:
    input:
        range_measures,
    output:
        "<results>/positron_range/{experiment}/summary.tsv",
    log:
        "<logs>/summarise_torso/{experiment}.log",
    benchmark:
        "<benchmarks>/summarise_torso/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(of_kind("range_reconstruction")),
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=5,
    params:
        code=code_of("summarise_torso"),
    script:
        "../scripts/summarise_torso.py"


rule correct_scan:
    input:
        unpack(corrected_scan),
    output:
        image="<results>/positron_range/{experiment}/{strategy}/scan.nii.gz",
        sidecar="<results>/positron_range/{experiment}/{strategy}/scan.json",
    log:
        "<logs>/correct_scan/{experiment}/{strategy}.log",
    benchmark:
        "<benchmarks>/correct_scan/{experiment}/{strategy}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(of_kind("range_scan")),
    conda:
        "../envs/petbench.yaml"
    threads: at_most(8)
    resources:
        gpu=1,
        mem_mb=scaled(32_000),
        runtime=scaled(720),
    params:
        scanner=range_scanner,
        reconstruction=lambda wildcards: RANGE[wildcards.experiment]["reconstruction"],
        resample=lambda wildcards: RANGE[wildcards.experiment]["scan"].get("resample", False),
        settings=applied,
        code=code_of("correct_scan"),
    script:
        "../scripts/correct_scan.py"


rule profile_scan:
    input:
        lambda wildcards: range_inputs(wildcards)["images"],
    output:
        "<results>/positron_range/{experiment}/profiles.tsv",
    log:
        "<logs>/profile_scan/{experiment}.log",
    benchmark:
        "<benchmarks>/profile_scan/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(of_kind("range_scan")),
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(4_000),
        runtime=10,
    params:
        strategies=lambda wildcards: RANGE[wildcards.experiment]["strategies"],
        place_mm=lambda wildcards: RANGE[wildcards.experiment]["place_mm"],
        code=code_of("profile_scan"),
    script:
        "../scripts/profile_scan.py"


rule range_table:
    input:
        unpack(range_inputs),
    output:
        tsv=report(
            "<results>/tables/{experiment}.tsv",
            caption="../resources/captions/table.rst",
            category="Tables",
            labels={"experiment": "{experiment}"},
        ),
        markdown="<results>/tables/{experiment}.md",
        latex="<results>/tables/{experiment}.tex",
        record="<results>/tables/{experiment}.json",
    log:
        "<logs>/range_table/{experiment}.log",
    benchmark:
        "<benchmarks>/range_table/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(RANGE),
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=10,
    params:
        experiment=lambda wildcards: RANGE[wildcards.experiment],
        titles=predictor_titles,
        note=config.get("note", ""),
        configuration=range_configuration,
        stages=range_code,
        code=code_of("range_table"),
    script:
        "../scripts/range_table.py"


rule range_figure:
    input:
        unpack(range_inputs),
    output:
        png=report(
            "<results>/figures/{experiment}-{figure}.png",
            caption="../resources/captions/figure.rst",
            category="Figures",
            labels={"experiment": "{experiment}", "figure": "{figure}"},
        ),
        svg="<results>/figures/{experiment}-{figure}.svg",
    log:
        "<logs>/range_figure/{experiment}/{figure}.log",
    benchmark:
        "<benchmarks>/range_figure/{experiment}/{figure}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(RANGE),
        figure="[a-z_]+",
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        experiment=lambda wildcards: RANGE[wildcards.experiment],
        titles=predictor_titles,
        code=code_of("range_figure"),
    script:
        "../scripts/range_figure.py"

"""Positron range: point spread functions by Monte Carlo, the predictor trained on them, and the three experiments of DDConv."""


rule media:
    output:
        PATHS.media,
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
        media=PLAN.positron_range.media,
        code=code_of("media"),
    script:
        "../scripts/media.py"


rule calibrate:
    output:
        PATHS.calibration,
    log:
        "<logs>/calibrate/{calibration}.log",
    benchmark:
        "<benchmarks>/calibrate/{calibration}.tsv"
    wildcard_constraints:
        calibration=wildcard_choice(SCALE.calibrations),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(4_000),
        runtime=scaled(60),
    params:
        calibration=SCALE.of("calibration"),
        code=code_of("calibrate"),
    script:
        "../scripts/calibrate.py"


rule gate:
    input:
        unpack(PLAN.positron_range.to_transport),
    output:
        PATHS.psf_chunk,
    log:
        "<logs>/gate/{psf_set}/{chunk}.log",
    benchmark:
        "<benchmarks>/gate/{psf_set}/{chunk}.tsv"
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: at_most_of(PLAN.positron_range.threads)
    resources:
        gpu=PLAN.positron_range.gpus,
        mem_mb=scaled(3_000),
        runtime=scaled(PLAN.positron_range.minutes),
    params:
        gate=SCALE.of("psf_set", "gate"),
        seed=SCALE.of("psf_set", "seed"),
        chunks=SCALE.of("psf_set", "chunks"),
        code=code_of("gate"),
    script:
        "../scripts/gate.py"


rule merge_psf:
    input:
        PLAN.positron_range.psf_chunks,
    output:
        PATHS.psf,
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
        psf_sets=PLAN.positron_range.psf_sets,
    output:
        weights=ensure(PATHS.predictor, non_empty=True),
        history=PATHS.predictor_history,
        cost=PATHS.predictor_cost,
    log:
        "<logs>/train_predictor/{predictor}.log",
    benchmark:
        "<benchmarks>/train_predictor/{predictor}.tsv"
    wildcard_constraints:
        predictor=wildcard_choice(PLAN.positron_range.trained()),
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: at_most(4)
    resources:
        gpu=1,
        mem_mb=scaled(8_000),
        runtime=scaled(720),
    params:
        train=SCALE.of("predictor", "train"),
        code=code_of("train_predictor"),
    script:
        "../scripts/train_predictor.py"


rule import_predictor:
    input:
        PLAN.positron_range.published_weights,
    output:
        PATHS.predictor,
    log:
        "<logs>/import_predictor/{predictor}.log",
    benchmark:
        "<benchmarks>/import_predictor/{predictor}.tsv"
    wildcard_constraints:
        predictor=wildcard_choice(PLAN.positron_range.trained(imported=True)),
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=5,
    params:
        weights=SCALE.of("predictor", "weights"),
        code=code_of("import_predictor"),
    script:
        "../scripts/import_predictor.py"


rule torso:
    input:
        PLAN.positron_range.supplied,
    output:
        activity=PATHS.torso_activity,
        mu=PATHS.torso_mu,
        lesions=PATHS.torso_lesions,
        table=PATHS.torso_table,
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
        torso=SCALE.of("torso", "torso"),
        scanner=PLAN.positron_range.torso_scanner,
        code=code_of("torso"),
    script:
        "../scripts/torso.py"


rule annihilate:
    input:
        unpack(PLAN.positron_range.to_annihilate),
    output:
        PATHS.annihilation_chunk,
    log:
        "<logs>/annihilate/{torso}/{chunk}.log",
    benchmark:
        "<benchmarks>/annihilate/{torso}/{chunk}.tsv"
    priority: EARLY
    conda:
        "../envs/petbench.yaml"
    threads: at_most_of(PLAN.positron_range.threads)
    resources:
        gpu=PLAN.positron_range.gpus,
        mem_mb=scaled(6_000),
        runtime=scaled(PLAN.positron_range.minutes),
    params:
        gate=SCALE.of("torso", "gate"),
        seed=SCALE.of("torso", "seed"),
        chunks=SCALE.of("torso", "chunks"),
        code=code_of("annihilate"),
    script:
        "../scripts/annihilate.py"


rule merge_annihilations:
    input:
        PLAN.positron_range.annihilation_chunks,
    output:
        PATHS.annihilations,
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
        unpack(PLAN.positron_range.kernels_compared),
    output:
        distances=PATHS.kernel_distances,
        profiles=PATHS.kernel_profiles,
        kernels=PATHS.kernels,
    log:
        "<logs>/compare_kernels/{experiment}/{predictor}.log",
    benchmark:
        "<benchmarks>/compare_kernels/{experiment}/{predictor}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(PLAN.positron_range.of_kind("range_accuracy")),
    conda:
        "../envs/petbench.yaml"
    threads: at_most(2)
    resources:
        mem_mb=scaled(4_000),
        runtime=scaled(60),
    params:
        options=PLAN.positron_range.kernel_options,
        code=code_of("compare_kernels"),
    script:
        "../scripts/compare_kernels.py"


rule compare_torso:
    input:
        unpack(PLAN.positron_range.torsos_compared),
    output:
        distances=PATHS.torso_distances,
        profiles=PATHS.torso_profiles,
        images=PATHS.torso_images,
    log:
        "<logs>/compare_torso/{experiment}.log",
    benchmark:
        "<benchmarks>/compare_torso/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(PLAN.positron_range.of_kind("range_accuracy")),
    conda:
        "../envs/petbench.yaml"
    threads: at_most(4)
    resources:
        mem_mb=scaled(16_000),
        runtime=scaled(120),
    params:
        options=PLAN.positron_range.given("epsilon", "interface_mm"),
        settings=PLAN.positron_range.applied,
        code=code_of("compare_torso"),
    script:
        "../scripts/compare_torso.py"


rule truncation:
    input:
        PLAN.positron_range.materials,
    output:
        PATHS.truncation,
    log:
        "<logs>/truncation/{experiment}.log",
    benchmark:
        "<benchmarks>/truncation/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(PLAN.positron_range.of_kind("range_accuracy")),
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=5,
    params:
        options=PLAN.positron_range.given("sizes"),
        code=code_of("truncation"),
    script:
        "../scripts/truncation.py"


rule scan_torso:
    input:
        unpack(PLAN.positron_range.to_scan),
    output:
        PATHS.torso_scan,
    log:
        "<logs>/scan_torso/{experiment}/{realisation}.log",
    benchmark:
        "<benchmarks>/scan_torso/{experiment}/{realisation}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(PLAN.positron_range.of_kind("range_reconstruction", "range_scan")),
    conda:
        "../envs/petbench.yaml"
    threads: at_most(4)
    resources:
        mem_mb=scaled(32_000),
        runtime=scaled(60),
    params:
        scanner=of_job(PLAN.positron_range.scanner),
        simulation=PLAN.positron_range.of_scan("simulation"),
        seed=PLAN.positron_range.of_scan("seed"),
        code=code_of("scan_torso"),
    script:
        "../scripts/scan_torso.py"


rule predict_kernels:
    input:
        unpack(PLAN.positron_range.to_predict),
    output:
        PATHS.predicted_kernels,
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
        isotope=SCALE.of("torso", "gate", "isotope"),
        settings=SCALE.of("predictor", "apply", default={}),
        code=code_of("predict_kernels"),
    script:
        "../scripts/predict_kernels.py"


rule reconstruct_torso:
    input:
        unpack(PLAN.positron_range.to_reconstruct),
    output:
        images=PATHS.corrected,
        sidecar=PATHS.corrected_sidecar,
    log:
        "<logs>/reconstruct_torso/{experiment}/{strategy}/{realisation}.log",
    benchmark:
        "<benchmarks>/reconstruct_torso/{experiment}/{strategy}/{realisation}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(PLAN.positron_range.of_kind("range_reconstruction")),
    conda:
        "../envs/petbench.yaml"
    threads: at_most(8)
    resources:
        gpu=1,
        mem_mb=scaled(32_000),
        runtime=scaled(720),
    params:
        scanner=of_job(PLAN.positron_range.scanner),
        reconstruction=SCALE.of("experiment", "reconstruction"),
        settings=PLAN.positron_range.applied,
        code=code_of("reconstruct_torso"),
    script:
        "../scripts/reconstruct_torso.py"


rule measure_torso:
    input:
        unpack(PLAN.positron_range.reconstructed),
        images=PATHS.corrected,
        sidecar=PATHS.corrected_sidecar,
    output:
        measures=PATHS.measures,
        profiles=PATHS.profiles,
    log:
        "<logs>/measure_torso/{experiment}/{strategy}/{realisation}.log",
    benchmark:
        "<benchmarks>/measure_torso/{experiment}/{strategy}/{realisation}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(PLAN.positron_range.of_kind("range_reconstruction")),
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(4_000),
        runtime=10,
    params:
        options=PLAN.positron_range.given("background_mm", "profiled"),
        code=code_of("measure_torso"),
    script:
        "../scripts/measure_torso.py"


rule summarise_torso:
    input:
        of_job(PLAN.positron_range.measures),
    output:
        PATHS.summary,
    log:
        "<logs>/summarise_torso/{experiment}.log",
    benchmark:
        "<benchmarks>/summarise_torso/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(PLAN.positron_range.of_kind("range_reconstruction")),
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
        unpack(PLAN.positron_range.to_correct),
    output:
        image=PATHS.corrected_scan,
        sidecar=PATHS.corrected_scan_sidecar,
    log:
        "<logs>/correct_scan/{experiment}/{strategy}.log",
    benchmark:
        "<benchmarks>/correct_scan/{experiment}/{strategy}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(PLAN.positron_range.of_kind("range_scan")),
    conda:
        "../envs/petbench.yaml"
    threads: at_most(8)
    resources:
        gpu=1,
        mem_mb=scaled(32_000),
        runtime=scaled(720),
    params:
        scanner=of_job(PLAN.positron_range.scanner),
        reconstruction=SCALE.of("experiment", "reconstruction"),
        resample=SCALE.of("experiment", "scan", "resample", default=False),
        settings=PLAN.positron_range.applied,
        code=code_of("correct_scan"),
    script:
        "../scripts/correct_scan.py"


rule profile_scan:
    input:
        PLAN.positron_range.corrected_scans,
    output:
        PATHS.scan_profiles,
    log:
        "<logs>/profile_scan/{experiment}.log",
    benchmark:
        "<benchmarks>/profile_scan/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(PLAN.positron_range.of_kind("range_scan")),
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=scaled(4_000),
        runtime=10,
    params:
        strategies=SCALE.of("experiment", "strategies"),
        place_mm=SCALE.of("experiment", "place_mm"),
        code=code_of("profile_scan"),
    script:
        "../scripts/profile_scan.py"


rule range_table:
    input:
        unpack(of_job(PLAN.positron_range.results)),
    output:
        tsv=in_report(PATHS.table, "table", "Tables"),
        markdown=PATHS.table_markdown,
        latex=PATHS.table_latex,
        record=PATHS.record,
    log:
        "<logs>/range_table/{experiment}.log",
    benchmark:
        "<benchmarks>/range_table/{experiment}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(SCALE.ranges),
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=1_000,
        runtime=10,
    params:
        experiment=SCALE.of("experiment"),
        titles=of_job(PLAN.positron_range.titles),
        note=config.get("note", ""),
        configuration=of_job(PLAN.records.range_configuration),
        stages=of_job(PLAN.records.range_stages),
        code=code_of("range_table"),
    script:
        "../scripts/range_table.py"


rule range_figure:
    input:
        unpack(of_job(PLAN.positron_range.results)),
    output:
        png=in_report(PATHS.range_figure, "figure", "Figures"),
        svg=PATHS.range_figure_svg,
    log:
        "<logs>/range_figure/{experiment}/{figure}.log",
    benchmark:
        "<benchmarks>/range_figure/{experiment}/{figure}.tsv"
    wildcard_constraints:
        experiment=wildcard_choice(SCALE.ranges),
        figure="[a-z_]+",
    localrule: True
    conda:
        "../envs/petbench.yaml"
    threads: 1
    resources:
        mem_mb=2_000,
        runtime=10,
    params:
        experiment=SCALE.of("experiment"),
        titles=of_job(PLAN.positron_range.titles),
        code=code_of("range_figure"),
    script:
        "../scripts/range_figure.py"

"""Positron range, a torso, and a lab's own scans."""

from .entries import job, plan

KINDS = {
    "psf_sets": {
        "run_a": {"chunks": 2, "seed": 1, "media": [], "gate": {}},
        "run_b": {"chunks": 2, "gate": {}},
        "train": {"chunks": 3, "gate": {}},
        "pure": {"chunks": 1, "gate": {}},
    },
    "predictors": {"net": {"title": "Net", "psf_sets": ["train"], "kernels": "pure", "train": {}, "apply": {"heterogeneous_above": 0.1}}},
    "torsos": {"body": {"chunks": 5, "scanner": "big", "torso": {}, "gate": {"isotope": "Ga68"}}},
    "scanners": {"big": {"views": 3}, "lab": {"views": 4}},
}
EXPERIMENTS = {
    "accuracy": {"kind": "range_accuracy", "paper": "p", "predictors": ["net"], "runs": ["run_a", "run_b"], "torso": "body", "epsilon": 1},
    "images": {
        "kind": "range_reconstruction",
        "paper": "p",
        "predictor": "net",
        "torso": "body",
        "strategies": ["none", "ddconv"],
        "realisations": 2,
    },
    "scan": {
        "kind": "range_scan",
        "paper": "p",
        "predictor": "net",
        "strategies": ["none", "svtd"],
        "scan": {"acquisition": "a.h5", "mu": "mu.nii", "scanner": "lab"},
    },
}
OWN = plan(EXPERIMENTS, **KINDS)
RANGE, FOLDER = OWN.positron_range, "results/made_up/positron_range"


def test_halves_of_a_torso_are_independent_and_whole_together():
    first, second, whole = (RANGE.annihilation_chunks(job(torso="body", part=part)) for part in ("1", "2", "all"))
    assert first + second == whole
    assert len(whole) == 5
    assert not set(first) & set(second)


def test_strategies_take_kernels_each_its_own():
    def sources(strategy):
        return RANGE.to_reconstruct(job(experiment="images", strategy=strategy, realisation="2")).keys()

    common = {"acquisition", "activity", "mu", "lesions"}
    assert sources("none") == common
    assert sources("svtd") == common | {"weights", "kernels"}
    assert sources("ddconv") == common | {"weights", "kernels", "predicted"}


def test_a_summary_has_the_measures_of_every_strategy_and_realisation_and_verify_takes_them_again():
    measures = RANGE.measures("images")
    assert measures == [f"{FOLDER}/images/{strategy}/measures-{number}.tsv" for strategy in ("none", "ddconv") for number in (1, 2)]
    assert list(OWN.verification.reconstructed(job())) == measures
    assert OWN.verification.summarised(job()) == {f"{FOLDER}/images/summary.tsv": measures}


def test_a_labs_scan_is_read_where_it_lies_and_by_its_scanner():
    assert RANGE.to_correct(job(experiment="scan", strategy="none")) == {"acquisition": "a.h5", "mu": "mu.nii"}
    assert RANGE.scanner("scan") == {"views": 4}
    assert RANGE.scanner("images") == {"views": 3}


def test_accuracy_compares_two_runs_and_what_a_predictor_makes():
    compared = RANGE.kernels_compared(job(experiment="accuracy", predictor="net"))
    assert compared["runs"] == [f"{FOLDER}/psf_sets/{name}/psf.h5" for name in ("run_a", "run_b")]
    assert RANGE.kernel_options(job(experiment="accuracy", predictor="net")) == {"epsilon": 1, "settings": {"heterogeneous_above": 0.1}}
    assert RANGE.materials(job(experiment="accuracy")) == f"{FOLDER}/psf_sets/pure/psf.h5"
    assert RANGE.psf_chunks(job(psf_set="train")) == [f"{FOLDER}/psf_sets/train/chunk-{chunk}.h5" for chunk in range(3)]
    assert set(RANGE.media(job(psf_set="run_a"))) == {"media"}


def test_records_tables_and_figures_cover_each_kind():
    for name, entry in EXPERIMENTS.items():
        assert {"media", "gate"} <= OWN.records.range_stages(name).keys()
        assert set(OWN.records.range_configuration(name)["psf_sets"]) == {"train", "pure", *entry.get("runs", [])}
        assert f"results/made_up/tables/{name}.tsv" in OWN.verification.tables(job())
        files = [path for paths in RANGE.results(name).values() for path in paths]
        assert len(files) == len(set(files))
        figures = [path for path in OWN.report.files([name]) if "/figures/" in path]
        assert len(figures) == 2 * len(RANGE.figures(name)) > 0

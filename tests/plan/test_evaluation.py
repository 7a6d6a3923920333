"""What is measured, drawn and shown, what a record names, and what `verify` makes again."""

import pytest

from petbench.errors import InputError

from .entries import ROOT, Untimed, dataset, entries, job, method, plan, table

METHODS = {
    "plain": method(),
    "after": method(module="mak_gan", init_from={"dataset": "external", "method": "plain", "fold": "all"}),
    "fused": method(ensemble=["plain", "after"]),
}
EXPERIMENTS = {
    "first": table(["low_dose", "plain", "fused"], ("mni", "drf4"), ("mni", "drf25"), cost=["restore_seconds"]),
    "second": table(["plain", "after"], ("mni", "drf4")),
    "drawn": table(["low_dose", "after"], ("mni", "drf25"), kind="figure", views={}, published="mak_gan_table1"),
    "alike": table(["plain"], ("mni", "drf4"), kind="similarity", similarity={"time_step": 3}),
}


# What the path of a volume on the page does not say, or says otherwise; a fold is in those of trainings only.
UNNAMED = ("standard_dose", "true_activity", "low_dose", "labels", "truth", "drf4", "drf25", "0", "all")


@pytest.fixture
def own():
    held = dataset(split={"scheme": "holdout", "test": 1, "validation": 0, "seed": 0})
    return plan(EXPERIMENTS, datasets={"mni": held, "external": dataset(subjects=["11", "12"])}, methods=METHODS, scanners={"tiny": {}})


def test_a_method_is_measured_on_everybody_tested_with_what_it_cost(own):
    (subject,) = own.subjects.tested("mni")
    files = own.evaluation.to_measure(job(dataset="mni", dose="drf4", method="fused"))
    assert files["restored"] == [own.images.restored("mni", "drf4", "fused", subject)]
    assert files["standard_dose"] == [own.images.pet("mni", subject, "standard")]
    assert [path.split("/")[4] for path in files["train_costs"]] == ["plain", "after"]
    assert files["restore_costs"] == [files["restored"][0].replace(".nii.gz", ".json")]
    assert {"activity", "labels", "truth"} <= files.keys()
    low = own.evaluation.to_measure(job(dataset="mni", dose="drf4", method="low_dose"))
    assert low["restored"] == [own.images.pet("mni", subject, "drf4")]
    assert not {"restore_costs", "train_costs"} & low.keys()


def test_a_table_of_metrics_serves_every_experiment_once(own):
    shown = own.evaluation.metrics(["first", "second", "alike"])
    assert len(shown) == len(set(shown)) == 7
    assert not own.evaluation.metrics(["alike"])


def test_costs_are_read_for_tables_that_show_times(own):
    assert own.report.costs(job(experiment="second")) == {"restore_costs": [], "train_costs": []}
    costs = own.report.costs(job(experiment="first"))
    assert len(costs["restore_costs"]) == 2 * 2
    assert len(costs["train_costs"]) == 2 * 2


def test_a_record_names_all_that_a_table_depends_on(own):
    names = own.records.names_behind("second")
    assert {name.rpartition("/")[0] for name in names} == {*(f"mni/{one}" for one in ("01", "02", "03")), "external/11", "external/12"}
    assert {name.rpartition("/")[2] for name in names} == {"T1w", "standard", "drf4"}
    images = own.records.images_behind("second")
    assert len(images) == len(names)
    assert [f"sub-{name.split('/')[1]}" in path for name, path in zip(names, images, strict=True)] == [True] * len(names)
    configuration = own.records.configuration("second")
    assert set(configuration["datasets"]) == {"mni", "external"}
    assert set(configuration["methods"]) == {"plain", "after"}
    stages = own.records.stages("second")
    assert {"acquire", "reconstruct", "train", "restore_subject", "evaluate"} <= stages.keys()
    assert not {"fuse", "simulate_from_image", "normalise_mr", "classify"} & stages.keys()
    assert "fuse" in own.records.stages("first")


def test_figures_show_the_first_subject_tested_and_maps_a_network_that_has_not_seen_it(own):
    (subject,) = own.subjects.tested("mni")
    images = own.report.drawn(job(experiment="drawn"))["images"]
    assert images == [own.images.pet("mni", subject, dose) for dose in ("standard", "drf25")] + [
        own.images.restored("mni", "drf25", "after", subject)
    ]
    compared = own.evaluation.to_compare(job(experiment="alike"))
    assert compared["weights"].endswith("mni/drf4/plain/fold-0/model.safetensors")
    assert compared["prepared"] == [own.images.prepared("mni", "drf4", "patches", subject)]
    assert own.report.drawn(job(experiment="alike")) == {"similarity": "results/made_up/tables/alike.tsv"}


def test_targets_make_tables_and_the_figures_of_those_that_have_some(own):
    files = own.report.files(["second", "drawn", "alike"])
    below = [path.removeprefix("results/made_up/") for path in files]
    assert below == [
        *(f"tables/second.{suffix}" for suffix in ("tsv", "md", "tex")),
        *(f"tables/drawn.{suffix}" for suffix in ("tsv", "md", "tex")),
        "tables/alike.tsv",
        *(f"figures/{name}.{suffix}" for name in ("drawn", "alike") for suffix in ("png", "svg")),
    ]
    (printed,) = own.report.published(job(experiment="drawn"))
    assert isinstance(printed, Untimed)
    assert (ROOT / "resources/published/mak_gan_table1.tsv").samefile(printed)


def test_the_pages_files_are_in_the_order_of_what_it_is_told_of_them(own):
    content, inputs = own.page.content(), own.page.inputs(job())
    for told, files in (("trainings", "histories"), ("registrations", "images"), ("volumes", "volumes"), ("restorations", "sidecars")):
        assert len(content[told]) == len(inputs[files])
        for one, path in zip(content[told], inputs[files], strict=True):
            assert all(f"/{part}/" in path or f"_{part}" in path or f"sub-{part}" in path for part in one if part not in UNNAMED), path
    places = {tuple(row[:3]): row[3] for row in content["behind"]}
    fused = [content["trainings"][place][2] for place in places["mni", "drf4", "fused"]]
    assert fused == ["plain", "after"]
    assert inputs["records"] == [f"results/made_up/tables/{name}.json" for name in ("first", "second", "drawn")]


def test_verify_is_told_of_every_table_what_it_was_made_from(own):
    measured, tables = own.verification.measured(job()), own.verification.tables(job())
    of_standard = {path for path in measured if "/standard_dose/" in path}
    assert set(measured) - of_standard == set(own.evaluation.metrics(EXPERIMENTS))
    assert of_standard  # its lesions stand on the page beside every method's
    assert set(measured) == set(own.page.inputs(job())["metrics"])
    assert set(tables) == {f"results/made_up/tables/{name}.tsv" for name in ("first", "second", "drawn")}
    for table_of in tables.values():
        assert set(table_of["files"]["metrics"]) <= set(measured)
    one = measured["results/made_up/mni/drf4/plain/metrics.tsv"]
    assert len(one["restored"]) == len(one["subjects"]) == len(one["people"]) == len(one["folds"])


def test_lpips_takes_a_labs_weights_or_fetches_them(tmp_path):
    (tmp_path / "linear.pth").write_bytes(b"weights")
    sources = {"alexnet": {"url": "http://there", "sha256": "ab" * 32}, "linear": str(tmp_path / "linear.pth")}
    mni = dataset(evaluation={"lpips": sources})
    own = plan({"first": table(["low_dose"], ("mni", "drf4"))}, datasets={"mni": mni}).evaluation
    wanted = job(dataset="mni", dose="drf4", method="low_dose", sha256="ab" * 32)
    paths = [f"results/downloads/weights/{'ab' * 32}.pth", str(tmp_path / "linear.pth")]
    assert own.to_measure(wanted)["lpips"] == paths
    assert own.settings("mni")["lpips"] == dict(zip(sources, paths, strict=True))
    assert own.lpips_address(wanted) == "http://there"
    assert own.lpips_checksums(wanted)[0] == "ab" * 32
    (tmp_path / "linear.pth").unlink()
    with pytest.raises(InputError, match=r"data set mni: evaluation/lpips/linear: .*no such file"):
        own.settings("mni")


def test_unknown_targets_are_told_the_nearest_name_and_the_scales_that_have_it(own):
    own.targets.check(["first", "paper", "tables", "results/made_up/tables/first.tsv"], {"tables"})
    for wanted, words in {
        "frist": "did you mean 'first'",
        "mak_gan_table2": "not at scale 'made_up'; it is at that of .*config/paper.yaml",
        "mak_gan_tabel2": "did you mean 'mak_gan_table2'. It is at the scale of .*config/paper.yaml",
        "zzz": "those here are first, second",
    }.items():
        with pytest.raises(InputError, match=f"^{wanted}: .*{words}"):
            own.targets.check([wanted], {"tables"})


def test_everything_is_planned_of_entries_without_any_experiment():
    assert plan({}).report.files([]) == []
    assert entries({})["run"] == []

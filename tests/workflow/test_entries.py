"""Entries: merging, resolving, references, and what bad ones are told."""

import shutil

import pytest
import yaml
from repo import ROOT

from petbench.errors import InputError
from petbench.evaluation.definitions import TRIVIAL
from petbench.preprocess.splits import folds, people_of, train_subjects, validation_subjects
from petbench.preprocess.windows import window_starts
from petbench.workflow.entries import load
from petbench.workflow.library import merge, sort_keys
from petbench.workflow.names import wildcard_choice
from petbench.workflow.schema import read_yaml


@pytest.fixture
def project(tmp_path):
    """A private copy of the configuration, and how to load a scale from it."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    shutil.copytree(ROOT / "tests" / "config", tmp_path / "tests" / "config")
    shutil.copytree(ROOT / "resources" / "published", tmp_path / "resources" / "published")
    return tmp_path


def scale(name="features.yaml", **over):
    return merge(read_yaml(ROOT / "config" / name if name == "tiny.yaml" else ROOT / "tests" / "config" / name), over)


def protocol(**over):
    """The tests' scale cut down to MFdiff's phantoms."""
    return scale("tiny.yaml", run=["mfdiff_table1"], **over)


def write(project, kind, name, content):
    path = project / "tests" / "config" / kind / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    read_yaml.__globals__["_read"].cache_clear()
    return path


def test_merge_is_deep_replaces_lists_and_removes_nulls():
    base = {"a": {"x": 1, "y": [1, 2]}, "b": 1}
    assert merge(base, {"a": {"y": [3]}, "b": None, "c": {"z": None, "w": 2}}) == {"a": {"x": 1, "y": [3]}, "c": {"w": 2}}
    assert base == {"a": {"x": 1, "y": [1, 2]}, "b": 1}


def test_sorted_keys_make_equal_content_equal_text():
    assert str(sort_keys({"b": {"d": 1, "c": [{"z": 1, "y": 2}]}, "a": 1})) == str(
        sort_keys({"a": 1, "b": {"c": [{"y": 2, "z": 1}], "d": 1}})
    )


def test_wildcard_choice_matches_names_literally():
    assert wildcard_choice(["a.b", "c"]) == r"a\.b|c"


def test_an_ablation_inherits_the_scale_and_keeps_its_difference():
    methods = load(scale("tiny.yaml"), ROOT)["methods"]
    assert methods["mak_gan-c"]["train"]["network"]["channels"] == methods["mak_gan"]["train"]["network"]["channels"] == [4, 8]
    assert methods["mak_gan-c"]["train"]["network"]["residual"] is False
    assert methods["mak_gan-c"]["train"]["loss"]["edge"] == 0
    assert "epochs" not in methods["mak_gan"]["train"]


def test_the_star_override_goes_before_a_named_one_and_adds_no_block():
    methods = load(scale(override={"methods": {"m_unet": {"train": {"steps": 5}}}}), ROOT)["methods"]
    assert methods["m_unet"]["train"]["steps"] == methods["m_unet-mixed"]["train"]["steps"] == 5
    assert "train" not in methods["m_unet-external"]
    assert "train" not in methods["m_unet-fused"]


def test_a_data_set_extends_another():
    datasets = load(scale(), ROOT)["datasets"]
    assert datasets["external"]["scanner"] == datasets["mni"]["scanner"] == "tiny"
    assert datasets["external"]["seed"] != datasets["mni"]["seed"]
    assert set(datasets["external"]["doses"]) == {"drf4"}


def test_subject_numbers_become_labels():
    assert load(scale(), ROOT)["datasets"]["mni"]["subjects"] == ["01", "02"]


def test_the_paper_scale_is_as_published():
    entries = load(read_yaml(ROOT / "config/paper.yaml"), ROOT)
    mni, mak_gan = entries["datasets"]["mni"], entries["methods"]["mak_gan"]
    assert len(mni["subjects"]) == 16
    assert mni["split"] == {"scheme": "leave_one_out"}
    assert mni["preprocess"]["grid"]["shape"] == [128, 128, 128]
    assert mni["domains"]["patches"] == {"window": [64, 64, 64], "stride": [8, 8, 8]}
    assert {dose["fraction"] for dose in mni["doses"].values()} == {0.25, 0.04}
    assert mak_gan["train"]["loss"] == {"objective": "bce", "adversarial": 1.0, "l1": 100.0, "edge": 50.0}
    assert (mak_gan["train"]["epochs"], mak_gan["train"]["batch_size"]) == (70, 5)


def phantom_protocol():
    """The data set of MFdiff's simulation study, as it resolves without a scale's overrides."""
    return load(protocol() | {"override": {}}, ROOT)["datasets"]["mfdiff_phantom"]


def test_the_phantom_protocol_is_as_published():
    entry = phantom_protocol()
    people = people_of(entry)
    assert (entry["source"], entry["scanner"], len(people), len(set(people.values()))) == ("brainweb", "biograph_mmr", 100, 20)
    sizes = [folds(people, entry["split"])["0"], validation_subjects(people, entry["split"]), train_subjects(people, entry["split"], "0")]
    assert [len({people[subject] for subject in side}) for side in sizes] == [1, 3, 16]
    assert entry["domains"]["axial"]["slices"] == entry["evaluation"]["slices"] == list(range(65, 84, 2))
    assert sum(entry["brainweb"]["lesions"][kind] for kind in ("pet_only", "mr_only", "shared")) == 15
    assert entry["brainweb"]["lesions"]["radius_mm"] == [2, 8]
    high = {**entry["simulation"], **entry["reconstruction"]}
    assert [high[key] for key in ("counts", "counts_scope", "psf_mm", "iterations", "subsets")] == [1e10, "volume", 2.5, 15, 10]
    low = entry["doses"]["low"]
    assert (low["counts"], low["draw"], low["simulation"]) == ([9e7, 1.2e8], "independent", {"psf_mm": 4.0})
    assert low["reconstruction"] == {"iterations": 10, "subsets": 14, "psf_mm": 4.0}
    # One window a slice: the thousand slices of the study.
    starts = window_starts(entry["preprocess"]["grid"]["shape"], **entry["domains"]["axial"])
    assert len(starts) * len(people) == 1000


def test_the_protocol_without_downloads_differs_in_its_heads_alone():
    brainweb = phantom_protocol()
    mni = load(protocol(override={"datasets": {"mfdiff_mni": None}}), ROOT)["datasets"]["mfdiff_mni"]
    own = {"title", "citation", "source", "brainweb", "phantom", "subjects", "phantoms"}
    assert {key: mni[key] for key in mni.keys() - own} == {key: brainweb[key] for key in brainweb.keys() - own}
    assert mni["phantom"]["lesions"] == brainweb["brainweb"]["lesions"]


def refused(project, content):
    with pytest.raises(InputError) as caught:
        load(content, project)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"runs": ["features"]}, ["unknown key 'runs'", "did you mean 'run'"]),
        ({"run": ["feature"]}, ["no experiment named 'feature'", "features"]),
        ({"override": {"methods": {"m_unet": {"train": {"batch_sise": 2}}}}}, ["override/methods/m_unet", "batch_sise", "batch_size"]),
        ({"override": {"methods": {"*": {"train": {"stepz": 2}}}}}, ["override/methods/*", "'stepz'", "steps"]),
        ({"override": {"methods": {"m_unett": {}}}}, ["no method named 'm_unett'"]),
        ({"override": {"datasets": {"mni": {"split": {"folds": 9}}}}}, ["split/folds", "9 folds", "there are 2", "lower"]),
        (
            {"override": {"datasets": {"mni": {"domains": {"patches": {"window": [32, 16, 16]}}}}}},
            ["domains/patches/window", "32", "24", "smaller"],
        ),
        ({"override": {"datasets": {"mni": {"subjects": 1}}}}, ["subjects", "at least two"]),
        ({"override": {"datasets": {"mni": {"scanner": "none"}}}}, ["scanner", "no scanner named 'none'", "biograph_mmr"]),
        ({"override": {"datasets": {"mni": {"doses": {"standard": {"fraction": 0.5}}}}}}, ["doses", "reserved"]),
        ({"override": {"methods": {"m_unet": {"train": {"optimiser": {"restorer": {"lr": "1e-4"}}}}}}}, ["lr", "1.0e-4"]),
        ({"override": {"methods": {"m_unet": {"train": {"epochs": 3}}}}}, ["train", "either steps or epochs"]),
        ({"override": {"datasets": {"mni": {"phantom": {"deformation": 3}}}}}, ["phantom", "deformation_mm"]),
        ({"override": {"datasets": {"mni": {"preprocess": {"registration": {"fixed": "drf9"}}}}}}, ["registration/fixed", "standard, drf"]),
        ({"override": {"datasets": {"mni": {"reconstruction": {"subsets": 500}}}}}, ["reconstruction/subsets", "500", "views", "lower"]),
        ({"override": {"methods": {"m_unet": {"restore": {"stride": [17, 16, 16]}}}}}, ["restore/stride", "shorten"]),
        ({"override": {"methods": {"m_unet": {"restore": {"slices": "all"}}}}}, ["restore/slices", "are no slices", "remove"]),
        ({"override": {"methods": {"m_unet": {"restore": {"blend": "mean"}}}}}, ["restore/blend", "'mean' is not one of"]),
        (
            {"override": {"datasets": {"mni": {"preprocess": {"scaling": {"smooth_mm": -1}}}}}},
            ["preprocess/scaling/smooth_mm", "-1"],
        ),
        ({"override": {"methods": {"m_unet": {"train": {"domain": "slices"}}}}}, ["train/domain", "no domain 'slices'", "patches"]),
        (
            {"override": {"methods": {"m_unet-fused": {"restore": {"fuse": "dwt", "wavelet": "db200"}}}}},
            ["m_unet-fused.yaml", "restore/wavelet", "'db200'", "db20"],
        ),
        (
            {"override": {"methods": {"m_unet-fused": {"restore": {"wavelet": "db2"}}}}},
            ["m_unet-fused.yaml", "restore", "fuse dwt", "null removes"],
        ),
    ],
)
def test_a_bad_scale_is_told_the_key_and_the_mend(project, over, words):
    message = refused(project, scale(**over))
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"split": {"test": 2}}, ["split", "2 for test and 1 for validation leave none of 3"]),
        ({"split": {"scheme": "leave_one_out"}}, ["split: 'test' is not one of", "scheme", "null removes"]),
        ({"split": {"scheme": "k_fold", "folds": 2}}, ["split: 'test' is not one of", "folds", "null removes"]),
        ({"split": {"folds": 2}}, ["split: 'folds' is not one of", "validation", "null removes"]),
        ({"subjects": 1}, ["subjects", "at least two"]),
        ({"rotations": {"count": 0}}, ["rotations/count", "0"]),
        ({"rotations": {"degrees": [15, 0]}}, ["rotations/degrees", "[15, 0]", "lowest"]),
        ({"rotations": {"degrees": [0, 200]}}, ["rotations/degrees/1", "200"]),
        ({"domains": {"axial": {"slices": [11, 24]}}}, ["domains/axial/slices", "slice 24", "0 to 23"]),
        ({"domains": {"axial": {"slices": [11, 11]}}}, ["domains/axial/slices", "non-unique"]),
        ({"domains": {"axial": {"window": [24, 28, 2]}}}, ["domains/axial/slices", "one voxel thick"]),
        ({"domains": {"axial": {"slices": {"uniform": 25}}}}, ["domains/axial/slices/uniform", "25 slices", "24 along axis 2", "lower"]),
        (
            {"domains": {"patches": {"window": [8, 8, 8], "stride": [8, 8, 8], "empty_below": 0.1}}},
            ["domains/patches/empty_below", "one voxel thick", "remove"],
        ),
        (
            {"evaluation": {"lpips": {"alexnet": "a.pth", "linear": "b.pth"}}},
            ["evaluation/lpips", "[24, 28] pixels", "takes 32", "remove"],
        ),
        ({"source": "brainweb", "phantom": None, "brainweb": {}, "subjects": 21}, ["subjects", "20 models, not 21"]),
        ({"source": "brainweb", "phantom": None, "brainweb": {}, "subjects": ["04", "07"]}, ["subjects", "no model '07'", "41"]),
        ({"source": "brainweb", "phantom": None, "brainweb": {}, "subjects": ["04", "04"]}, ["subjects", "listed twice"]),
    ],
)
def test_a_bad_phantom_protocol_is_told_the_key_and_the_mend(project, over, words):
    message = refused(project, protocol(override={"datasets": {"mfdiff_mni": over}}))
    assert all(word in message for word in ["mfdiff_mni", *words]), message


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"simulation": {"psf_mm": float("nan")}}, ["override/datasets/mni", "simulation/psf_mm: nan is not a finite number"]),
        ({"doses": {"low": {"counts": [1e5, float("inf")]}}}, ["doses/low/counts/1: inf is not a finite number"]),
    ],
)
def test_numbers_that_are_not_finite_are_refused(project, over, words):
    message = refused(project, scale(override={"datasets": {"mni": over}}))
    assert all(word in message for word in words), message


def test_more_folds_than_phantoms_are_refused_however_many_copies_there_are(project):
    content = protocol()
    content["override"]["datasets"]["mfdiff_mni"]["split"] = {"scheme": "k_fold", "folds": 4, "test": None, "validation": None}
    assert "split/folds: 4 folds need as many phantoms, and there are 3; lower it." in refused(project, content)


def test_a_holdout_says_how_many_it_holds_out(project):
    content = protocol()
    content["override"]["datasets"]["mfdiff_mni"]["split"] = {"test": None}
    assert "split: key 'test' is missing; add it." in refused(project, content)


def test_measured_scans_cannot_be_turned(project):
    message = refused(project, scale("lab.yaml", override={"datasets": {"lab": {"rotations": {"count": 2, "degrees": [0, 15]}}}}))
    assert "lab.yaml: rotations: scans as measured cannot be turned" in message


def test_a_simulation_of_a_labs_data_needs_all_of_its_parts(project):
    message = refused(project, scale("lab.yaml", override={"datasets": {"lab": {"scanner": "tiny"}}}))
    assert "lab.yaml: " in message
    assert "'scanner'" in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metrics": ["pnsr"]}, ["metrics", "'pnsr'", "did you mean 'psnr'"]),
        ({"cost": ["gflops"]}, ["cost", "'gflop'"]),
        ({"region": "grey"}, ["region", "whole, brain"]),
        ({"columns": [{"dataset": "mni", "dose": "drf4", "label": "x", "region": "head"}]}, ["columns/region", "'head'", "whole, brain"]),
        (
            {"columns": [{"dataset": "mni", "dose": "drf4", "label": label, "region": "brain"} for label in "ab"]},
            ["columns", "mni/drf4 stands twice in region 'brain'"],
        ),
        ({"metrics": ["psnr", "false_contrast"]}, ["metrics", "'false_contrast' is measured in mr_only_lesions", "no column"]),
        ({"metrics": ["bias"], "region": "grey"}, ["reference", "'bias' is measured against true_activity alone"]),
        ({"metrics": ["recovery"]}, ["region", "single lesions only"]),
        (
            {"rows": ["standard_dose", "m_unet"], "statistics": {"metric": "psnr", "against": "standard_dose", "alpha": 0.05}},
            ["statistics/against", "'standard_dose'"],
        ),
        ({"statistics": {"metric": "ssim", "against": "m_unet", "alpha": 0.05}}, ["statistics/metric", "'ssim'"]),
        ({"statistics": {"metric": "psnr", "against": "mak_gan", "alpha": 0.05}}, ["statistics/against", "'mak_gan'"]),
        ({"published": "mak_gan_table9"}, ["published", "'mak_gan_table9'", "mak_gan_table"]),
        ({"rows": ["m_unet", "nothing"]}, ["rows", "no method named 'nothing'"]),
        ({"columns": [{"dataset": "mni", "dose": "drf9", "label": "x"}]}, ["columns", "no dose 'drf9'"]),
    ],
)
def test_a_slip_in_an_experiment_is_found_before_the_training(project, change, words):
    message = refused(project, scale(override={"experiments": {"features": change}}))
    assert all(word in message for word in ["features.yaml", *words]), message


def test_a_picture_asks_for_what_its_data_set_has(project):
    """No lesions, and no truth to measure by, of data that are measured; no planes across slices of which some alone are restored."""
    for change, words in (
        ({"views": {"planes": ["axial"], "through": ["head", "mr_only_lesion"]}}, "views/through: lesions of data set 'lab' are not known"),
        ({"reference": "true_activity"}, "reference: the true activity of data set 'lab' is not known"),
    ):
        assert words in refused(project, scale("lab.yaml", override={"experiments": {"lab": change}}))
    sparse = {"datasets": {"mni": {"evaluation": {"slices": [3, 5]}}}}
    for plane, allowed in (("axial", True), ("coronal", False)):
        content = scale(override={**sparse, "experiments": {"features": {"views": {"planes": [plane], "through": [[0, 0, 0]]}}}})
        if allowed:
            load(content, project)
        else:
            assert "views/planes: data set 'mni' evaluates some slices only, which coronal planes cut across" in refused(project, content)


@pytest.mark.parametrize("name", ["config/config.yaml", "config/small.yaml", "config/paper.yaml", "config/tiny.yaml"])
def test_pictures_of_what_is_run_restore_nobody_for_themselves(name):
    """But figure 5 of M2Diff, whose orientations have no table."""
    experiments = load(read_yaml(ROOT / name), ROOT)["experiments"]

    def restored(entry):
        return {(column["dataset"], column["dose"], row) for column in entry["columns"] for row in entry["rows"]}

    pictures = [key for key, entry in experiments.items() if "views" in entry and key not in ("m2diff_figure5", "pcsa_gan_figure5")]
    tables = [entry for key, entry in experiments.items() if "rows" in entry and key not in pictures]
    elsewhere = set().union(*map(restored, tables))
    assert len(pictures) == (11 if name in ("config/small.yaml", "config/paper.yaml") else 2)
    for key in pictures:
        assert {place for place in restored(experiments[key]) - elsewhere if place[2] != "standard_dose"} == set(), key


@pytest.mark.parametrize(
    ("kind", "name", "content", "words"),
    [
        ("methods", "m_unet-mixed", {"title": "x", "extends": "m_unet", "trian": {}}, ["m_unet-mixed.yaml", "'trian'", "train"]),
        ("methods", "m_unet-mixed", {"title": "x", "extends": "nothing"}, ["extends", "no method named 'nothing'"]),
        ("methods", "m_unet-mixed", {"title": "x", "extends": "m_unet-mixed"}, ["circle"]),
        ("methods", "m_unet-mixed", {"title": "x", "module": "nothing", "restore": {}}, ["module", "nothing", "m_unet"]),
        ("methods", "m_unet-mixed", {"title": "x", "extends": "m_unet"}, ["'m_unet' and 'm_unet-mixed' are the same"]),
        ("methods", "m_unet-mixed", {"title": "x", "restore": {}}, ["exactly one of train, weights_of and ensemble"]),
        (
            "methods",
            "m_unet-mixed",
            {"title": "x", "extends": "m_unet", "also_train_on": [{"dataset": "external", "dose": "d1"}]},
            ["no dose 'd1'"],
        ),
        ("methods", "m_unet-external", {"title": "x", "restore": {}, "weights_of": {"method": "m_unet-external"}}, ["circle"]),
        ("experiments", "features", None, ["file", "features.yaml"]),
    ],
)
def test_a_bad_entry_is_told_the_file_and_the_mend(project, kind, name, content, words):
    if content is None:
        (project / "tests" / "config" / kind / f"{name}.yaml").write_text("rows: [")
        read_yaml.__globals__["_read"].cache_clear()
        words = ["features.yaml", "not valid YAML"]
    else:
        write(project, kind, name, content)
    message = refused(project, scale())
    assert all(word in message for word in words), message


def write_diffusion(project, name="iddpm", **over):
    """An experiment with one method that samples, at a scale with slices; the scale."""
    write(
        project,
        "experiments",
        "features",
        yaml.safe_load((ROOT / "tests/config/experiments/features.yaml").read_text())
        | {"rows": ["low_dose", "m2diff-mr70", "m2diff-mr70-no_mr", name], "columns": [{"dataset": "mni", "dose": "drf4", "label": "x"}]},
    )
    slices = {"mni": {"domains": {"axial": {"window": [24, 28, 1], "stride": [24, 28, 1]}}}}
    network = {"multipliers": [1, 2], "attention": [2]}
    methods = {method: {"train": {"network": network}} for method in ("iddpm", "m2diff")}
    return scale(override=merge({"datasets": slices, "methods": methods}, over))


def test_methods_that_sample_resolve(project):
    methods = load(write_diffusion(project, "ddpm_petmr"), project)["methods"]
    assert methods["m2diff-mr70-no_mr"]["restore"]["inputs"] == ["low_dose"]
    assert methods["m2diff-mr70-no_mr"]["restore"]["sampler"] == methods["m2diff-mr70"]["restore"]["sampler"]
    assert "train" not in methods["m2diff-mr70-no_mr"]
    assert "stride" not in methods["ddpm_petmr"]["restore"]


@pytest.mark.parametrize(
    ("row", "change", "words"),
    [
        ("m_unet", {"m_unet": {"restore": {"sampler": {"name": "ancestral", "steps": 5, "seed": 0}}}}, ["m_unet.yaml", "does not sample"]),
        ("iddpm", {"iddpm": {"restore": {"sampler": {"steps": 1001}}}}, ["restore/sampler/steps: 1001 exceed the 1000"]),
        ("iddpm", {"iddpm": {"train": {"diffusion": {"timesteps": 999}}}}, ["restore/sampler/steps: 1000 exceed the 999"]),
        ("iddpm", {"iddpm": {"train": {"diffusion": {"range": [0.3, 0.3]}}}}, ["train/diffusion/range: 0.3 is not below 0.3"]),
        ("iddpm", {"iddpm": {"restore": {"sampler": {"name": "ddim"}}}}, ["restore/sampler", "'eta' is missing"]),
        ("iddpm", {"iddpm": {"restore": {"sampler": {"eta": 0.0}}}}, ["restore/sampler/eta", "Only ddim has eta"]),
        ("iddpm", {"m2diff-mr70-no_mr": {"restore": {"sampler": {"steps": 1001}}}}, ["m2diff-mr70-no_mr.yaml", "1001 exceed the 1000"]),
        ("iddpm", {"iddpm": {"train": {"conditions": ["low_dose", "mr"]}}}, ["iddpm.yaml", "restore/inputs", "trained with mr"]),
        ("m2diff", {"m2diff": {"restore": {"inputs": ["low_dose"]}}}, ["m2diff.yaml", "restore/inputs", "never trained without mr"]),
        ("m_unet", {"m_unet": {"restore": {"inputs": ["mr"]}}}, ["m_unet.yaml", "restore/inputs", "needs both"]),
        ("iddpm", {"iddpm": {"train": {"network": {"multipliers": [1, 1, 2, 2], "attention": []}}}}, ["windows [24, 28, 1]", "by 8"]),
        ("iddpm", {"iddpm": {"train": {"domain": "patches"}}}, ["spatial_dims: 2", "'patches'"]),
        ("iddpm", {"iddpm": {"train": {"diffusion": {"schedule": {"name": "cosine"}}}}}, ["diffusion/schedule", "'offset' is missing"]),
    ],
)
def test_a_method_that_cannot_sample_or_train_is_told_so_at_once(project, row, change, words):
    message = refused(project, write_diffusion(project, row, methods=change))
    assert all(word in message for word in words), message


def test_a_method_that_samples_needs_a_sampler(project):
    write(project, "methods", "iddpm-none", {"title": "x", "extends": "iddpm", "restore": {"sampler": None}})
    message = refused(project, write_diffusion(project, "iddpm-none"))
    assert "iddpm-none.yaml: restore: this method samples and has no sampler; add restore/sampler." in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"network": {"width": 8}}, "another train/network (IDDPM)"),
        ({"conditions": ["low_dose", "mr"]}, "another train/conditions (IDDPM)"),
        ({"network": {"dropout": 0.0}}, None),
    ],
)
def test_starting_weights_of_another_shape_are_found_before_anything_is_trained(project, change, words):
    """A different dropout makes no other weights."""
    own = {"title": "Second stage", "extends": "iddpm", "init_from": {"method": "iddpm"}, "train": change}
    write(project, "methods", "second", own | {"restore": {"inputs": ["low_dose", "mr"]}})
    content = write_diffusion(project, "second")
    if words is None:
        assert load(content, project)["methods"]["second"]["init_from"] == {"method": "iddpm"}
    else:
        assert words in refused(project, content)


def test_overnight_trains_everything_on_one_cohort_by_the_steps_of_its_file():
    config, steps = (read_yaml(ROOT / f"config/{name}.yaml") for name in ("overnight", "overnight_steps"))
    given = steps["override"]["methods"]
    for name, block in given.items():
        own = config["override"]["methods"].setdefault(name, {})
        own["train"] = own.get("train", {}) | block["train"]
    entries = load(config, ROOT)
    places, trained = set(), set()
    for experiment in entries["experiments"].values():
        if "columns" in experiment:
            places |= {(column["dataset"], column["dose"]) for column in experiment["columns"]}
    for name, entry in entries["methods"].items():
        if "train" in entry and entry["module"] not in TRIVIAL:
            trained.add(name)
            assert entry["train"]["steps"] == given[name]["train"]["steps"], name
    assert places == {("cohort_mni", "drf20")}
    assert trained == set(given)

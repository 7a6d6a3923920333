"""Entries: merging, resolving, references, and what bad ones are told."""

import shutil

import pytest
import yaml
from repo import ROOT

from petbench.errors import InputError
from petbench.workflow.entries import load, merge, sort_keys, wildcard_choice
from petbench.workflow.schema import read_yaml


@pytest.fixture
def project(tmp_path):
    """A private copy of the configuration, and how to load a scale from it."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    shutil.copytree(ROOT / "tests" / "config", tmp_path / "tests" / "config")
    shutil.copytree(ROOT / "resources" / "published", tmp_path / "resources" / "published")
    return tmp_path


def scale(name="features.yaml", **over):
    return merge(read_yaml(ROOT / "tests" / "config" / name), over)


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
    assert methods["mak_gan-a"]["train"]["network"]["encoder"] == "unet"
    assert methods["mak_gan-a"]["train"]["network"]["channels"] == methods["mak_gan"]["train"]["network"]["channels"] == [4, 8]
    assert methods["mak_gan-c"]["train"]["network"]["residual"] is False
    assert methods["mak_gan-d"]["train"]["loss"]["edge"] == 0
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
        ({"override": {"methods": {"m_unet": {"train": {"domain": "slices"}}}}}, ["train/domain", "no domain 'slices'", "patches"]),
    ],
)
def test_a_bad_scale_is_told_the_key_and_the_mend(project, over, words):
    message = refused(project, scale(**over))
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metrics": ["pnsr"]}, ["metrics", "'pnsr'", "did you mean 'psnr'"]),
        ({"cost": ["gflops"]}, ["cost", "'gflop'"]),
        ({"region": "grey"}, ["region", "whole, brain"]),
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

"""Which rows every scale shows beside its networks, and what its experiments on reliance need."""

import pytest
from repo import ROOT

from petbench.errors import InputError
from petbench.evaluation.definitions import TRIVIAL
from petbench.methods.build import build
from petbench.workflow.entries import load
from petbench.workflow.library import merge
from petbench.workflow.schema import read_yaml

SCALES = ["config/config.yaml", "config/small.yaml", "config/paper.yaml", "config/tiny.yaml"]


@pytest.fixture(scope="module", params=SCALES)
def entries(request):
    return load(read_yaml(ROOT / request.param), ROOT)


def test_every_table_of_restoration_has_a_filter_and_every_one_of_synthesis_the_mean(entries):
    tables = {name: entry for name, entry in entries["experiments"].items() if entry["kind"] == "table"}
    assert tables
    for name, entry in tables.items():
        has_dose = {bool(entries["datasets"][column["dataset"]]["doses"]) for column in entry["columns"]}
        methods = [entries["methods"][row] for row in entry["rows"] if row in entries["methods"]]
        trivial = {method["module"] for method in methods if method.get("module") in TRIVIAL}
        assert trivial == ({"gaussian", "nlm"} if has_dose == {True} else {"mean_pet"}), name


def test_filters_and_map_see_whole_volumes_once_at_every_scale(entries):
    for name in ("gaussian", "nlm", *{"map_rdp", "map_bowsher"} & set(entries["methods"])):
        entry = entries["methods"][name]
        assert build(entry["module"], entry["train"]).optimised() == {}
        for dataset in entries["datasets"].values():
            assert dataset["domains"][entry["train"]["domain"]]["window"] == dataset["preprocess"]["grid"]["shape"]


def test_reliance_trains_nothing_of_its_own(entries):
    rows = {}
    for entry in entries["experiments"].values():
        kind = "reliance" if entry["kind"] == "reliance" else "other"
        places = {(column["dataset"], column["dose"], row) for column in entry.get("columns", []) for row in entry.get("rows", [])}
        rows.setdefault(kind, set()).update(places)
    assert rows["reliance"]
    assert rows["reliance"] <= rows["other"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rows": ["low_dose"]}, ["rows: low_dose", "trained"]),
        (
            {"rows": ["m2diff-triplanar"], "columns": [{"dataset": "m2diff_mni", "dose": "drf100", "label": "x"}]},
            ["rows: m2diff-triplanar"],
        ),
        ({"rows": ["pcsa_gan"], "columns": [{"dataset": "ad_mni", "dose": "none", "label": "x"}]}, ["'ad_mni' has no low dose"]),
        ({"metrics": ["psnr"]}, ["metrics", "'psnr'", "psnr_own"]),
        ({"subjects": 0}, ["subjects"]),
    ],
)
def test_what_cannot_be_swapped_is_told_before_the_training(change, words):
    tiny = read_yaml(ROOT / "config/tiny.yaml")
    scale = merge(tiny, {"run": ["mak_gan_reliance"], "override": {"experiments": {"mak_gan_reliance": change}}})
    with pytest.raises(InputError) as error:
        load(scale, ROOT)
    assert all(word in str(error.value) for word in ["mak_gan_reliance", *words]), error.value


def test_a_metric_of_reliance_is_none_of_other_tables():
    tiny = read_yaml(ROOT / "config/tiny.yaml")
    with pytest.raises(InputError, match="metrics: there is no 'psnr_own'"):
        load(merge(tiny, {"run": ["mak_gan_table1"], "override": {"experiments": {"mak_gan_table1": {"metrics": ["psnr_own"]}}}}), ROOT)

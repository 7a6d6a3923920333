"""MFdiff's protocols in vivo and its two stages, as the entries resolve them."""

import pytest
from repo import ROOT

from petbench.errors import InputError
from petbench.physics.doses import resolve_dose
from petbench.plan.lineage import Training, check_unseen, starting_point, training_samples
from petbench.preprocess.splits import folds, people_of, train_subjects
from petbench.workflow.entries import load
from petbench.workflow.library import merge
from petbench.workflow.schema import read_yaml


@pytest.fixture(scope="module")
def paper():
    return load(read_yaml(ROOT / "config/paper.yaml"), ROOT)


@pytest.mark.parametrize(("name", "tested"), [("mfdiff_scans", 1), ("mfdiff_injected", 2), ("mfdiff_protocols", 3)])
def test_five_people_train_and_one_two_or_three_are_tested(paper, name, tested):
    entry = paper["datasets"][name]
    people = people_of(entry)
    assert len(folds(people, entry["split"])["0"]) == 5 * tested
    trained = train_subjects(people, entry["split"], "0")
    assert len({people[subject] for subject in trained}) == 5
    assert len(trained) * len(entry["domains"]["axial"]["slices"]) == 250
    assert entry["evaluation"]["slices"] == entry["domains"]["axial"]["slices"]


@pytest.mark.parametrize(("dose", "mbq"), [("ld", 225), ("uld", 167)])
def test_a_low_injected_dose_is_a_short_scan_of_that_activity(paper, dose, mbq):
    entry = paper["datasets"]["mfdiff_injected"]
    short = resolve_dose({"seconds": 16}, entry["simulation"], seed=0)
    low = resolve_dose(entry["doses"][dose], entry["simulation"], seed=0)
    assert low.fraction == pytest.approx(mbq / 233 * short.fraction)
    assert low.randoms_ratio == pytest.approx((mbq / 233) ** 2 * short.fraction)


def test_protocols_have_administered_what_is_in_when_the_scan_starts(paper):
    doses = paper["datasets"]["mfdiff_protocols"]["doses"]
    bolus, infused = 233, 233 * 30 / 55
    expected = {"bolus": bolus, "infusion": infused, "hybrid": (bolus + infused) / 2}
    assert {name: dose["activity"] for name, dose in doses.items()} == {name: round(value) for name, value in expected.items()}


def test_both_stages_see_slices_of_one_size_and_scaling(paper):
    phantom, *others = (paper["datasets"][name] for name in ("mfdiff_phantom", "mfdiff_scans", "mfdiff_injected", "mfdiff_protocols"))
    for other in others:
        assert other["preprocess"] == phantom["preprocess"]
        assert other["domains"]["axial"]["window"] == phantom["domains"]["axial"]["window"] == [192, 192, 1]


def test_the_external_stage_is_the_training_of_table_1(paper):
    internal = Training("mfdiff_scans", "16s", "mfdiff-two_stage", "0")
    assert starting_point(paper, internal) == Training("mfdiff_phantom", "low", "mfdiff", "0")
    assert {sample.dataset for sample in training_samples(paper, internal)} == {"mfdiff_scans"}
    for method in ("mfdiff-external", "mfdiff-two_stage", "mfdiff-mixed"):
        check_unseen(paper, method, "mfdiff_scans", "2min")


@pytest.mark.parametrize("table", ["mfdiff_table2", "mfdiff_table3", "mfdiff_table4"])
def test_every_network_of_an_in_vivo_table_starts_from_its_own_training_of_table_1(paper, table):
    external, internal = (paper["experiments"][name] for name in ("mfdiff_table1", table))
    networks = [row for row in internal["rows"] if row not in ("low_dose", "gaussian", "nlm")]
    place = internal["columns"][0]
    starts = [starting_point(paper, Training(place["dataset"], place["dose"], row, "0")) for row in networks]
    assert set(starts) <= {Training("mfdiff_phantom", "low", row, "0") for row in external["rows"]}
    assert len(set(starts)) == len(networks) >= 4
    printed = [(row, start.method) for row, start in zip(networks, starts, strict=True) if row not in internal["where_possible"]]
    assert [internal["published_rows"][row] for row, _ in printed] == [external["published_rows"][start] for _, start in printed]


@pytest.mark.parametrize("method", ["mfdiff-mixed", "csrd-mixed"])
def test_the_mixed_training_sees_both_sets(paper, method):
    samples = training_samples(paper, Training("mfdiff_scans", "2min", method, "0"))
    counted = {name: sum(sample.dataset == name for sample in samples) for name in ("mfdiff_scans", "mfdiff_phantom")}
    assert counted == {"mfdiff_scans": 25, "mfdiff_phantom": 100}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train": {"network": {"multipliers": [1, 1, 2, 4]}}}, "must be divisible by 8"),
        ({"train": {"fusion": {"attention": "window", "window": 8}}}, "train/fusion/window: 8 does not divide"),
        ({"train": {"fusion": {"spatial_dims": 3}}}, "train/fusion/spatial_dims: 3"),
        ({"train": {"fusion": {"mixing": "shuffle"}}}, "train/fusion/mixing"),
        ({"restore": {"inputs": ["low_dose"]}}, "needs both, low_dose and mr"),
        ({"restore": {"sampler": {"steps": 1001}}}, "restore/sampler/steps: 1001 exceed"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_runs(change, words):
    scale = merge(read_yaml(ROOT / "config/tiny.yaml"), {"run": ["mfdiff_table1"], "override": {"methods": {"mfdiff": change}}})
    with pytest.raises(InputError, match=words):
        load(scale, ROOT)


@pytest.mark.parametrize(
    ("method", "change", "words"),
    [
        ("csrd", {"train": {"network": {"multipliers": [1, 1, 2, 4]}}}, "must be divisible by 8"),
        ("csrd", {"restore": {"inputs": ["low_dose", "mr"]}}, "trained with coordinates"),
        ("csrd", {"restore": {"inputs": ["mr", "coordinates"]}}, "needs low_dose"),
        ("csrd", {"restore": {"sampler": {"name": "ancestral"}}}, "Only heun and euler have it"),
        ("csrd", {"restore": {"sampler": {"clip": [0.0, 2.0]}}}, "Only ancestral and ddim clip"),
        ("csrd", {"restore": {"sampler": {"eta": 0.0}}}, "Only ddim has eta"),
        ("mfdiff", {"restore": {"sampler": {"name": "heun", "eta": None}}}, "Only ancestral and ddim clip"),
        ("mfdiff", {"restore": {"sampler": {"rho": 7.0}}}, "Only heun and euler have it"),
        ("mfdiff", {"restore": {"inputs": ["low_dose", "mr", "coordinates"]}}, "the module mfdiff takes no coordinates"),
    ],
)
def test_a_sampler_and_inputs_that_are_anothers_are_told_before_anything_runs(method, change, words):
    scale = merge(read_yaml(ROOT / "config/tiny.yaml"), {"run": ["mfdiff_table1"], "override": {"methods": {method: change}}})
    with pytest.raises(InputError, match=words):
        load(scale, ROOT)


@pytest.mark.parametrize(
    ("method", "sampler", "words"),
    [
        ("csrd", {"name": "ancestral", "sigma_min": None, "sigma_max": None, "rho": None}, "choose heun or euler"),
        ("mfdiff", {"name": "euler", "eta": None, "clip": None}, "euler does not draw images of this method; choose ancestral or ddim"),
        ("csrd", None, "this method samples and has no sampler"),
    ],
)
def test_a_sampler_of_the_other_kind_is_refused_even_where_its_keys_are_gone(method, sampler, words):
    scale = read_yaml(ROOT / "config/tiny.yaml") | {"run": ["mfdiff_table1"]}
    scale["override"]["methods"][method]["restore"]["sampler"] = sampler
    with pytest.raises(InputError, match=words):
        load(scale, ROOT)


@pytest.mark.parametrize("scale", ["config/config.yaml", "config/small.yaml", "config/paper.yaml", "config/tiny.yaml"])
def test_mfdiff_has_a_normalised_head_only_where_it_predicts_noise(scale):
    """The clean image of a slice has a level, which normalised features do not carry."""
    train = load(read_yaml(ROOT / scale), ROOT)["methods"]["mfdiff"]["train"]
    assert (train["network"]["head"] == "normalised") is (train["diffusion"]["prediction"] == "epsilon")

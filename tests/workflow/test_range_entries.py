"""Entries of the experiments on positron range: what is refused before any positron is started."""

import pytest
from repo import ROOT

from petbench.errors import InputError
from petbench.workflow.entries import load
from petbench.workflow.schema import read_yaml

RUN = ["ddconv_experiment1", "ddconv_experiment2", "ddconv_experiment3"]


def over(base, override):
    """Merge deeply, as a scale's author edits the file: a null stays, for it removes a key."""
    if not (isinstance(base, dict) and isinstance(override, dict)):
        return override
    return base | {key: over(base.get(key), value) for key, value in override.items()}


def scale(**override):
    tiny = read_yaml(ROOT / "config" / "tiny.yaml")
    own = {kind: tiny["override"][kind] for kind in ("psf_sets", "predictors", "torsos", "calibrations", "experiments")}
    return {"scale": "tiny", "run": RUN, "override": over(own, override)}


def refused(**override):
    with pytest.raises(InputError) as caught:
        load(scale(**override), ROOT)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_all_that_the_experiments_need_is_resolved():
    entries = load(scale(experiments={"ddconv_experiment1": {"predictors": ["ddconv_ga68", "ddconv_ga68-kl"]}}), ROOT)
    assert entries["datasets"] == entries["methods"] == {}
    assert set(entries["psf_sets"]) == {"ga68_training", "ga68_materials", "ga68_run1", "ga68_run2", "ga68_fast"}
    assert set(entries["scanners"]) == {"torso_demo"}
    assert entries["predictors"]["ddconv_ga68-kl"]["train"]["loss"] == "kl"
    # An ablation inherits the scale.
    assert entries["predictors"]["ddconv_ga68-kl"]["train"]["steps"] == 2
    assert entries["psf_sets"]["ga68_run2"]["gate"]["positrons"] == 2000


def test_the_paper_scale_is_as_published():
    paper = read_yaml(ROOT / "config" / "paper.yaml")
    entries = load({"scale": "paper", "run": [run for run in paper["run"] if run in RUN], "override": paper.get("override", {})}, ROOT)
    training, predictor = entries["psf_sets"]["ga68_training"], entries["predictors"]["ddconv_ga68"]
    assert training["media"][0] == {"kind": "official", "seed": 1, "count": 1000}
    assert (training["gate"]["isotope"], training["gate"]["positrons"], training["voxel_mm"]) == ("Ga68", 1_000_000, 2.0)
    train = predictor["train"]
    assert (train["kernel_size"], train["loss"], train["batch_size"], train["optimiser"]["predictor"]["lr"]) == (11, "l1", 4, 1e-4)
    study = entries["experiments"]["ddconv_experiment2"]
    assert (study["reconstruction"]["iterations"], study["reconstruction"]["subsets"], study["reconstruction"]["psf_mm"]) == (120, 1, 4.4)
    assert study["simulation"]["tof"]
    assert study["realisations"] >= 5
    scanner = entries["scanners"][entries["torsos"][study["torso"]]["scanner"]]
    assert scanner["tof"]["resolution_ps"] == 200.0
    assert scanner["image"] == {"shape": [200, 200, 99], "voxel_mm": [2.0, 2.0, 2.0]}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ({"psf_sets": {"ga68_training": {"gate": {"isotope": "Ga69"}}}}, "'Ga69' is unknown; choose one of F18"),
        ({"psf_sets": {"ga68_training": {"materials": ["lung", "water", "cheese"]}}}, "cheese"),
        ({"psf_sets": {"ga68_training": {"chunks": 99}}}, "ga68_training.yaml: chunks: 99 are more than the 6 media"),
        ({"psf_sets": {"ga68_training": {"gate": {"physics_list": "G4EmLivermorePhysics"}}}}, "gate/physics_list"),
        ({"psf_sets": {"ga68_run1": {"gate": {"isotope": "F18"}}}}, "isotope: ga68_training has Ga68, but ga68_run1 has F18"),
        ({"psf_sets": {"ga68_materials": {"voxel_mm": 3.0}}}, "voxel_mm: ga68_materials has 3.0"),
        ({"psf_sets": {"ga68_run2": {"seed": 103}}}, "runs: ga68_run2 must have the media and gate of ga68_run1 and another seed"),
        ({"psf_sets": {"ga68_fast": {"gate": {"calibration": "none"}}}}, "there is no calibration named 'none'"),
        ({"psf_sets": {"ga68_fast": {"gate": {"scattering": {"water": 1.2}}}}}, "gate/scattering: fast_engine gives it"),
        ({"psf_sets": {"ga68_fast": {"gate": {"engine": "gate"}}}}, "gate/calibration: only the fast engine is calibrated"),
        ({"psf_sets": {"ga68_fast": {"gate": {"positrons": 7}}}}, "fast: ga68_fast must have the media and positrons of ga68_run1"),
        ({"calibrations": {"fast_engine": {"materials": ["water"]}}}, "gate/calibration: fast_engine has no lung"),
        ({"calibrations": {"fast_engine": {"isotopes": ["Ga68", "Ga69"]}}}, "'Ga69' is unknown"),
        ({"experiments": {"ddconv_experiment1": {"fast": "ga68_run2"}}}, "fast: ga68_run2 is not of the fast engine"),
        ({"psf_sets": {"ga68_materials": {"seed": 104}}}, "ga68_materials, which 'DDConv, l1' is made from, has the seed"),
        (
            {"psf_sets": {"ga68_run1": {"media": [{"kind": "official", "seed": 1, "count": 1}]}}},
            "is trained on official medium 0 of seed 1",
        ),
        ({"psf_sets": {"ga68_run1": {"media": [{"kind": "random", "seed": 2}]}}}, "needs its seed and count"),
        ({"predictors": {"ddconv_ga68": {"train": {"kernel_size": 13}}}}, "13 of 'DDConv, l1' is even or larger than the 11 scored"),
        ({"predictors": {"ddconv_ga68": {"train": {"epochs": 3}}}}, "either steps or epochs"),
        ({"predictors": {"ddconv_ga68": {"train": {"loss": "l3"}}}}, "ddconv_ga68: train/loss"),
        ({"torsos": {"ga68_torso": {"gate": {"positrons": 100}}}}, "gate/positrons: 100 for 2e+03 counts"),
        ({"torsos": {"ga68_torso": {"chunks": 3}}}, "3 is not a multiple of 2"),
        ({"torsos": {"ga68_torso": {"torso": {"uptake": {"heart": 1.0, "brain": 2.0}}}}}, "torso: unknown key 'brain'"),
        ({"torsos": {"ga68_torso": {"scanner": "hospital"}}}, "no scanner named 'hospital'"),
        ({"experiments": {"ddconv_experiment2": {"reconstruction": {"at": [9]}}}}, "ddconv_experiment2.yaml: reconstruction/at"),
        ({"experiments": {"ddconv_experiment2": {"reconstruction": {"subsets": 99}}}}, "reconstruction/subsets: 99 exceed"),
        ({"experiments": {"ddconv_experiment2": {"strategies": ["none", "magic"]}}}, "magic"),
        ({"experiments": {"ddconv_experiment2": {"predictor": "ddconv_f18"}}}, "no predictor named 'ddconv_f18'"),
        ({"experiments": {"ddconv_experiment2": {"published": "nothing"}}}, "published: there is no 'nothing'"),
        ({"experiments": {"ddconv_experiment3": {"scan": {"mu": "mu.nii.gz"}}}}, "scan: give acquisition and mu and scanner"),
        (
            {"experiments": {"ddconv_experiment3": {"scan": {"torso": None, "simulation": None, "seed": None, "mu": "mu.nii.gz"}}}},
            "scan: key 'acquisition' is missing",
        ),
        (
            {
                "experiments": {
                    "ddconv_experiment3": {
                        "scan": {
                            "torso": None,
                            "simulation": None,
                            "seed": None,
                            "mu": "mu.nii.gz",
                            "acquisition": "scan.h5",
                            "scanner": "biograph_mmr",
                        }
                    }
                }
            },
            "scan/acquisition: there is no file scan.h5",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_said_before_any_job(override, said):
    assert said in refused(**override)


def test_sets_that_extend_another_keep_the_size_of_its_media():
    """A method's `size` is a statement of its own network, which no ablation inherits; a medium's is its edge."""
    sets = load(scale(), ROOT)["psf_sets"]
    assert {entry.get("size") for entry in sets.values()} == {31}

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from petbench.errors import InputError
from petbench.physics.doses import check_doses, decayed_fraction, derived_seed, is_independent, resolve_dose
from petbench.physics.scanner import Scanner
from petbench.workflow.schema import check, read_yaml

ROOT = Path(__file__).parents[2]
STANDARD = {"counts": 1e6, "seconds": 600.0, "activity": 200.0, "isotope": "F18", "psf_mm": 4.0}
HALF_LIFE_S = 109.77 * 60


@pytest.fixture(scope="module")
def tiny() -> Scanner:
    return Scanner.from_entry(yaml.safe_load((ROOT / "config/scanners/tiny.yaml").read_text()))


@pytest.mark.parametrize(
    ("block", "fraction", "randoms"),
    [
        ({"fraction": 0.25}, 0.25, 0.25),
        ({"drf": 20}, 0.05, 0.05),
        ({"counts": 3e5}, 0.3, 0.3),
        ({"counts": 4e6, "draw": "independent"}, 4.0, 4.0),
        ({"activity": 50}, 0.25, 0.0625),
        ({"seconds": 600}, 1.0, 1.0),
        ({"activity": 50, "seconds": 600}, 0.25, 0.0625),
    ],
)
def test_share_of_trues_and_randoms(block: dict[str, Any], fraction: float, randoms: float) -> None:
    dose = resolve_dose(block, STANDARD, seed=1)
    assert dose.fraction == pytest.approx(fraction)
    assert dose.randoms_ratio == pytest.approx(randoms)
    assert dose.draw == ("independent" if is_independent(block) else "thinning")
    assert dose.activity_mbq == (50 if "activity" in block else 200)


@pytest.mark.parametrize("isotope", ["F18", "O15"])
def test_seconds_are_the_share_of_decays_in_a_scan_that_decays(isotope: str) -> None:
    half_life = {"F18": HALF_LIFE_S, "O15": 122.27}[isotope]
    times = np.linspace(0, 600, 200_001)
    rate = 2 ** (-times / half_life)
    expected = np.trapezoid(rate[times <= 90], times[times <= 90]) / np.trapezoid(rate, times)
    dose = resolve_dose({"seconds": 90}, STANDARD | {"isotope": isotope}, seed=1)
    assert dose.fraction == pytest.approx(expected, rel=1e-4)
    assert dose.fraction > 90 / 600  # the first seconds hold the most decays
    assert dose.seconds == 90


def test_a_shorter_scan_of_less_activity_loses_by_both() -> None:
    both, shorter, less = (
        resolve_dose(block, STANDARD, seed=1) for block in ({"activity": 50, "seconds": 90}, {"seconds": 90}, {"activity": 50})
    )
    assert both.fraction == pytest.approx(shorter.fraction * less.fraction)
    assert both.randoms_ratio == pytest.approx(shorter.randoms_ratio * less.randoms_ratio)
    assert (both.seconds, both.activity_mbq, both.draw) == (90, 50, "independent")


def test_a_long_lived_source_decays_evenly() -> None:
    assert decayed_fraction(30.0, 120.0, 1e12) == pytest.approx(0.25, rel=1e-9)


def test_range_of_counts_is_drawn_evenly_and_once_a_subject() -> None:
    block = {"counts": [2e5, 6e5]}
    values = np.array([resolve_dose(block, STANDARD, seed).value for seed in range(400)])
    assert resolve_dose(block, STANDARD, 7).value == values[7]
    assert values.min() > 2e5
    assert values.max() < 6e5
    assert abs(values.mean() - 4e5) < 5 * (4e5 / np.sqrt(12)) / np.sqrt(values.size)
    assert np.histogram(values, 4, (2e5, 6e5))[0].min() > 60


@pytest.mark.parametrize(
    ("block", "standard", "message"),
    [
        ({}, {}, "exactly one of"),
        ({"fraction": 0.5, "drf": 2}, {}, "fraction and drf"),
        ({"fraction": 0.5, "activity": 50}, {}, "fraction and activity"),
        ({"seconds": 601, "activity": 50}, {}, "doses/seconds.*longer"),
        ({"fraction": 0.5, "draw": "guess"}, {}, "doses/draw: 'guess'"),
        ({"fraction": 0.0}, {}, "doses/fraction"),
        ({"fraction": 1.5}, {}, "doses/fraction"),
        ({"fraction": float("nan")}, {}, "doses/fraction"),
        ({"fraction": [0.1, 0.2]}, {}, "doses/fraction"),
        ({"drf": 0.5}, {}, "doses/drf"),
        ({"seconds": 601}, {}, "doses/seconds.*longer"),
        ({"seconds": 60}, {"isotope": "Tc99m"}, "isotope: 'Tc99m'"),
        ({"activity": -1}, {}, "doses/activity"),
        ({"activity": 50, "draw": "thinning"}, {}, "randoms fall with its square"),
        ({"counts": 2e6}, {}, "doses/counts.*independent"),
        ({"counts": [6e5, 2e5]}, {}, "doses/counts.*range"),
        ({"counts": [0, 2e5]}, {}, "doses/counts.*range"),
        ({"counts": [5e5, 6e5, 7e5]}, {}, "doses/counts"),
        ({"fraction": 0.5, "simulation": {"psf_mm": 4}}, {}, "doses/simulation"),
        ({"fraction": 0.5, "reconstruction": {"iterations": 4}}, {}, "doses/reconstruction"),
        ({"drf": 4, "draw": "independent", "simulation": {"randoms_fraction": 0.1}}, {}, "doses/simulation/randoms_fraction: drf"),
        ({"activity": 50, "simulation": {"scatter_fraction": 0.1}}, {}, "doses/simulation/scatter_fraction: activity"),
    ],
)
def test_impossible_doses_are_refused_in_one_line(block: dict[str, Any], standard: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        resolve_dose(block, STANDARD | standard, seed=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["seconds", "activity"])
def test_what_the_standard_dose_must_say(kind: str) -> None:
    with pytest.raises(InputError, match=f"simulation/{kind}: is missing"):
        resolve_dose({kind: 10}, {"counts": 1e6}, seed=1)


@pytest.mark.parametrize(
    ("simulation", "dose", "message"),
    [
        ({"tof": True}, {"fraction": 0.5}, "simulation/tof: petbench tiny scanner has no time of flight"),
        ({"geometry": "oblique"}, {"fraction": 0.5}, "simulation/geometry: petbench tiny scanner has no rings"),
        ({"isotope": "Xx1"}, {"fraction": 0.5}, "isotope"),
        ({"format": "list_mode", "seconds": None}, {"fraction": 0.5}, "simulation/seconds"),
        ({}, {"fraction": 0.5, "drf": 2}, "doses/low: give exactly one"),
        ({}, {"activity": 5, "simulation": {"tof": True}}, "doses/low: simulation/tof"),
        ({}, {"activity": 5, "reconstruction": {"subsets": 1000}}, "doses/low: reconstruction/subsets"),
        ({}, {"counts": [1e5, 1.1e6]}, "doses/low: counts: 1.1e[+]06 is more than the standard dose has"),
        ({"psf_mm": -1.0}, {"fraction": 0.5}, "simulation/psf_mm: -1.0 is no number from zero"),
        ({"psf_mm": float("nan")}, {"fraction": 0.5}, "simulation/psf_mm: nan"),
        ({"scatter_fwhm_mm": 0}, {"fraction": 0.5}, "simulation/scatter_fwhm_mm: 0 is no positive number"),
        ({"seconds": "long"}, {"fraction": 0.5}, "simulation/seconds: 'long'"),
        ({"format": "list-mode"}, {"fraction": 0.5}, "simulation/format: 'list-mode' is unknown; choose sinogram or list_mode"),
        ({"counts_scope": "plane"}, {"fraction": 0.5}, "simulation/counts_scope"),
        ({"geometry": "spiral"}, {"fraction": 0.5}, "simulation/geometry: 'spiral'"),
        ({}, {"psnr": 20, "draw": "independent"}, "doses/low: draw: a PSNR is met by thinning"),
        ({}, {"psnr": float("nan")}, "doses/low: psnr: nan is not finite"),
        ({}, {"psnr": 20, "drf": 4}, "doses/low: psnr: .* drf gives them too"),
        ({"format": "list_mode"}, {"psnr": 20}, "simulation/format: a PSNR"),
    ],
)
def test_data_sets_that_cannot_be_scanned_are_refused(tiny: Scanner, simulation: dict, dose: dict, message: str) -> None:
    merged = {key: value for key, value in (STANDARD | simulation).items() if value is not None}
    with pytest.raises(InputError, match=message):
        check_doses({"low": dose}, merged, {"subsets": 4}, tiny)


def test_doses_of_every_kind_pass(tiny: Scanner) -> None:
    own = {
        "counts": [9e4, 1.2e5],
        "draw": "independent",
        "simulation": {"psf_mm": 4.0},
        "reconstruction": {"iterations": 10, "subsets": 14},
    }
    blocks = {"a": {"fraction": 0.5}, "b": {"drf": 4}, "c": {"seconds": 30}, "d": {"activity": 20}, "e": own, "f": {"psnr": 20}}
    check_doses(blocks, STANDARD, {"subsets": 4}, tiny)
    assert [is_independent(block) for block in blocks.values()] == [False, False, False, True, True, False]


def test_a_dose_with_iterations_of_its_own_inherits_the_subsets(tiny: Scanner) -> None:
    with pytest.raises(InputError, match="doses/low: reconstruction/subsets: 1000"):
        check_doses({"low": {"activity": 5, "reconstruction": {"iterations": 2}}}, STANDARD, {"subsets": 1000}, tiny)


def entry(doses: dict[str, Any], **simulation: Any) -> dict[str, Any]:
    mni = yaml.safe_load((ROOT / "config/datasets/mni.yaml").read_text())
    return mni | {"doses": doses, "simulation": mni["simulation"] | simulation}


@pytest.mark.parametrize(
    ("doses", "message"),
    [
        ({"low": {"fraction": 0.5, "drf": 2}}, "Exactly one of"),
        ({"low": {"draw": "independent"}}, "Exactly one of"),
        ({"low": {"fraction": 1.5}}, "doses/low/fraction"),
        ({"low": {"drf": 0.5}}, "doses/low/drf"),
        ({"low": {"counts": [1.0]}}, "doses/low/counts"),
        ({"low": {"drf": 4, "simulation": {"psf_mm": 4}}}, "A thinned dose"),
        ({"low": {"drf": 4, "draw": "thinning", "reconstruction": {"iterations": 4}}}, "A thinned dose"),
        ({"low": {"drf": 4, "draw": "independent", "simulation": {"counts": 4}}}, "unknown key 'counts'"),
    ],
)
def test_schema_refuses_what_is_no_dose(doses: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        check(entry(doses), read_yaml(ROOT / "config/schemas/dataset.yaml"), "mine.yaml")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_schema_takes_every_kind_of_dose() -> None:
    doses = {
        "a": {"fraction": 0.25},
        "b": {"drf": 4},
        "c": {"seconds": 60},
        "d": {"activity": 20, "reconstruction": {"iterations": 4}},
        "e": {"counts": [9e7, 1.2e8], "draw": "independent", "simulation": {"psf_mm": 4}, "reconstruction": {"subsets": 14}},
        "f": {"counts": 9e7, "draw": "thinning"},
    }
    settings = {"seconds": 600, "activity": 200, "geometry": "oblique", "tof": True, "format": "list_mode", "counts_scope": "volume"}
    check(entry(doses, **settings), read_yaml(ROOT / "config/schemas/dataset.yaml"), "mine.yaml")


def test_derived_seeds_differ_by_subject_and_purpose() -> None:
    seeds = {derived_seed(seed, purpose) for seed in range(20) for purpose in ("standard", "thinning 0.25", "thinning 0.04")}
    assert len(seeds) == 60

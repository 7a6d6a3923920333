"""The fast engine: laws that hold whatever its constants, its two implementations against each other, and its calibration to GATE."""

from dataclasses import fields
from pathlib import Path

import numba
import numpy as np
import pytest
from scipy.stats import chi2, kstest

from petbench.errors import InputError
from petbench.files import read_json
from petbench.physics.isotopes import ISOTOPES
from petbench.physics.materials import material
from petbench.positron_range.calibration import calibrate, calibrated, distance_mm
from petbench.positron_range.cohort import make_media
from petbench.positron_range.condensed_history import (
    MOST_SCATTERING,
    CondensedHistory,
    Volume,
    fisher_widths,
    hinges,
    run_condensed,
    starting_points,
    volume_of,
)
from petbench.positron_range.device_transport import DeviceTransport
from petbench.positron_range.gate import Simulation, simulate_activity, simulate_psfs
from petbench.positron_range.run_gate import ActivitySource, Annihilations, PointSource

POSITRONS = 20_000
WATER = np.zeros((21, 21, 21), np.uint8)


def fly(name: str = "Ga68", labels=WATER, materials=("water",), physics=None, seed: int = 1, positrons: int = POSITRONS) -> Annihilations:
    physics = physics or CondensedHistory(surroundings=materials[0])
    return run_condensed(labels, materials, [2.0] * 3, [PointSource(name, positrons, edge_mm=2.0)], physics, seed)


def mean_mm(*given, **named) -> float:
    return float(distance_mm(fly(*given, **named)).mean())


def mixed() -> np.ndarray:
    return make_media({"media": [{"kind": "random", "seed": 2, "count": 1, "kinds": {"voxels": 1}}]}).labels[0]


def test_the_same_seed_gives_the_same_ends_on_any_number_of_threads() -> None:
    assert numba.config.NUMBA_NUM_THREADS >= 1
    before, found = numba.get_num_threads(), []
    for threads in {1, numba.config.NUMBA_NUM_THREADS}:
        numba.set_num_threads(threads)
        found.append(fly(labels=mixed(), materials=("lung", "water", "rib_bone"), positrons=2000).stop_mm)
    numba.set_num_threads(before)
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
    assert not np.array_equal(found[0], fly(labels=mixed(), materials=("lung", "water", "rib_bone"), positrons=2000, seed=2).stop_mm)


def test_a_positron_does_not_depend_on_how_many_there_are() -> None:
    few, many = fly(positrons=100), fly(positrons=1000)
    np.testing.assert_array_equal(few.stop_mm, many.stop_mm[:100])


@pytest.mark.parametrize("name", ["F18", "Rb82"])
def test_tensors_and_compiled_loops_end_at_the_same_places(name: str) -> None:
    """A rounding error at a boundary or a hinge may send the odd one elsewhere."""
    labels, edges = mixed(), np.array([2.0, 2.5, 3.0])
    materials, physics = ("lung", "water", "rib_bone"), CondensedHistory(scattering={"water": 1.3}, slope={"lung": 0.1})
    source = PointSource(name, 5000, edge_mm=2.0)
    compiled = run_condensed(labels, materials, edges, [source], physics, 7)
    volume = volume_of(labels, materials, edges, physics)
    start, energy = starting_points(source, edges, 7, 0)
    corner = edges * np.array(labels.shape) / 2
    places = start + corner
    DeviceTransport(*(getattr(volume, part.name) for part in fields(Volume)), "cpu").fly_all(places, energy, 7, 0)
    apart = np.linalg.norm(places - corner - compiled.stop_mm, axis=1)
    assert np.mean(apart > 1e-6) < 2e-3


@pytest.mark.parametrize(("name", "low", "high"), [("F18", 0.43, 0.52), ("Ga68", 2.25, 2.7), ("Rb82", 4.6, 5.4)])
def test_mean_ranges_in_water_are_those_of_the_literature(name: str, low: float, high: float) -> None:
    """Between GATE and other codes; without any constant fitted."""
    assert low < mean_mm(name) < high


@pytest.mark.parametrize(("place", "csda_mm"), [("water", 9.2), ("rib_bone", 5.3)])
def test_no_positron_of_ga68_gets_beyond_its_csda_range(place: str, csda_mm: float) -> None:
    furthest = distance_mm(fly(materials=(place,))).max()
    assert 0.5 * csda_mm < furthest < 1.02 * csda_mm


def test_ranges_go_with_the_inverse_of_density() -> None:
    water = mean_mm()
    for name in ("lung", "rib_bone"):
        assert mean_mm(materials=(name,)) * material(name).density_g_cm3 / water == pytest.approx(1, rel=0.05)


def test_ranges_grow_with_the_mean_energy() -> None:
    by_energy = sorted(ISOTOPES, key=lambda name: ISOTOPES[name].mean_energy_kev)
    ranges = [mean_mm(name) for name in by_energy if name not in ("I124", "Zr89")]
    assert ranges == sorted(ranges)


def test_more_scattering_brings_positrons_less_far() -> None:
    ranges = [mean_mm(physics=CondensedHistory(scattering={"water": factor})) for factor in (0.5, 1.0, 2.0)]
    assert ranges == sorted(ranges, reverse=True)
    # the factor holds at 1 MeV, so that with a slope slow positrons scatter less
    assert mean_mm("F18", physics=CondensedHistory(slope={"water": 0.5})) > mean_mm("F18")


def test_steps_may_be_long() -> None:
    """What they end in hardly depends on how many there are."""
    ranges = [mean_mm(physics=CondensedHistory(energy_ratio=ratio), positrons=100_000) for ratio in (0.65, 0.8, 0.95)]
    assert max(ranges) < 1.01 * min(ranges)


def test_a_homogeneous_medium_is_isotropic_and_has_no_voxels() -> None:
    found = fly(positrons=100_000)
    way = found.stop_mm - found.start_mm
    error = way.std(axis=0) / np.sqrt(len(way))
    assert np.all(np.abs(way.mean(axis=0)) < 4 * error)
    np.testing.assert_allclose(way.std(axis=0), way.std(), rtol=0.01)
    large = run_condensed(
        np.zeros((1, 1, 1), np.uint8), ["water"], [42.0] * 3, [PointSource("Ga68", 100_000, edge_mm=2.0)], CondensedHistory(), 1
    )
    np.testing.assert_allclose(large.stop_mm, found.stop_mm, atol=1e-6)


def test_a_cube_turned_over_turns_its_annihilations_over() -> None:
    """Bone beside the source along one axis, and lung along another: chi-square between the kernel and that of the turned medium."""
    labels = np.full((31, 31, 31), 1, np.uint8)
    labels[16:] = 2
    labels[:, :15] = 0

    def kernel(of: np.ndarray, seed: int) -> np.ndarray:
        found = fly(labels=np.ascontiguousarray(of), materials=("lung", "water", "rib_bone"), seed=seed, positrons=50_000)
        return np.histogramdd(found.stop_mm, bins=[11] * 3, range=[(-11, 11)] * 3)[0]

    own, turned = kernel(labels, 1), kernel(labels.transpose(2, 0, 1)[::-1], 2)
    back = turned[::-1].transpose(1, 2, 0)
    enough = own + back > 10
    statistic = np.sum((own - back)[enough] ** 2 / (own + back)[enough])
    assert 0.001 < chi2.sf(statistic, np.count_nonzero(enough)) < 0.999


def test_sources_start_where_and_with_what_they_should() -> None:
    activity = np.zeros((4, 3, 2), np.float32)
    activity[3, 0, 1], activity[0, 2, 0] = 1, 3
    start, energy = starting_points(ActivitySource("F18", POSITRONS, activity), np.array([2.0, 4.0, 6.0]), 5, 0)
    hot = start[:, 0] > 0
    assert hot.mean() == pytest.approx(0.25, abs=0.015)
    for own, low in ((hot, (2.0, -6.0, 0.0)), (~hot, (-4.0, 2.0, -6.0))):
        for axis, edge in enumerate((2.0, 4.0, 6.0)):
            assert kstest((start[own, axis] - low[axis]) / edge, "uniform").pvalue > 1e-4
    assert 1e3 * energy.mean() == pytest.approx(250, rel=0.02)
    assert energy.max() < 0.634


def test_the_hinge_reaches_as_far_as_scattering_all_along() -> None:
    """Without a rise of the density, (1 - exp(-K)) / K of the path along either direction."""
    scattering = np.array([0.01, 0.3, 1.0])
    bend, shortening = hinges(scattering, np.zeros(3))
    np.testing.assert_allclose(bend, 0, atol=1e-12)
    np.testing.assert_allclose((1 - shortening) * (1 + np.exp(-scattering)) / 2, -np.expm1(-scattering) / scattering, rtol=1e-10)
    late, _ = hinges(scattering, np.full(3, 0.3))
    assert np.all(late > 0)


def test_deflections_have_the_mean_cosine_that_is_asked_for() -> None:
    widths = fisher_widths()
    u = (np.arange(100_000) + 0.5) / 100_000
    for index in (50, 500, 1500):
        cosines = 1 + widths[index] * np.log(u + (1 - u) * np.exp(-2 / widths[index]))
        assert cosines.mean() == pytest.approx(np.exp(-MOST_SCATTERING * index / (len(widths) - 1)), abs=1e-3)


def test_sets_and_images_are_made_by_either_engine(tmp_path: Path) -> None:
    media = make_media({"media": [{"kind": "homogeneous"}, {"kind": "geometric", "phantoms": ["i"]}]})
    simulation = Simulation.from_entry({"isotope": "Ga68", "positrons": 3000, "source": "voxel", "kernel_size": 15, "engine": "fast"})
    psfs = simulate_psfs(media, simulation, 7, tmp_path)
    np.testing.assert_array_equal(psfs.counts.sum(axis=(1, 2, 3)) + psfs.outside, 3000)
    assert psfs.origin.physics.startswith("condensed history")
    along = psfs.counts[3].sum(axis=(0, 1))
    assert along[:6].sum() < along[9:].sum()  # lung below lets them go further, out of the kernel or thinly spread
    labels = np.zeros((9, 9, 9), np.uint8)
    activity = np.zeros(labels.shape, np.float32)
    activity[4, 4, 4] = 1
    counts, outside = simulate_activity(labels, ["water"], [2.0] * 3, activity, simulation, 1, tmp_path)
    assert counts.sum() + outside == 3000
    assert counts.argmax() == np.ravel_multi_index((4, 4, 4), counts.shape)


@pytest.mark.slow
def test_calibrated_ranges_are_gates(tmp_path: Path) -> None:
    """Fitted to two isotopes in water; a third is a prediction."""
    entry = {
        "materials": ["water"],
        "isotopes": ["F18", "Rb82"],
        "gate": {"positrons": 10_000},
        "fast": {"positrons": 20_000},
    }
    calibrate(entry, 3, tmp_path / "found.json", tmp_path)
    found = read_json(tmp_path / "found.json")
    for row in found["ranges"]:
        assert row["fast_mm"] == pytest.approx(row["gate_mm"], rel=2e-3)
        assert abs(row["untuned_mm"] / row["gate_mm"] - 1) > 0.02
    given = calibrated({"isotope": "Ga68", "positrons": 10, "engine": "fast", "calibration": "x"}, tmp_path / "found.json")
    physics = Simulation.from_entry(given).physics
    assert mean_mm(physics=physics) == pytest.approx(2.32, rel=0.03)
    assert f"water {found['scattering']['water']:.4f}" in physics.summary


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"engine": "slow"}, "gate/engine: 'slow' is unknown"),
        ({"engine": "fast", "data": "embedded"}, "unknown key 'data' of engine fast"),
        ({"engine": "fast", "calibration": "fast_engine"}, "unknown key 'calibration'"),
        ({"energy_ratio": 0.8}, "unknown key 'energy_ratio' of engine gate"),
        ({"engine": "fast", "energy_ratio": 1.0}, "energy_ratio"),
        ({"engine": "fast", "scattering": {"cheese": 1.0}}, "cheese"),
        ({"engine": "fast", "scattering": {"water": 0.0}}, "scattering"),
    ],
)
def test_impossible_simulations_are_refused(entry: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Simulation.from_entry({"isotope": "F18", **entry})

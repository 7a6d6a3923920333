"""The real Geant4, with generated data. Starting it takes seconds, so what needs no run of its own shares one."""

import itertools
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from scipy.stats import chi2

from petbench.errors import InputError
from petbench.physics.isotopes import ISOTOPES
from petbench.physics.materials import material
from petbench.positron_range import gate
from petbench.positron_range.cohort import make_media, write_media
from petbench.positron_range.gate import Simulation, bin_points, scratch, simulate_activity, simulate_psfs
from petbench.positron_range.media import Media
from petbench.positron_range.psf_set import PsfSet, read_psf_set
from petbench.positron_range.run_gate import Annihilations, Physics, PointSource, run_gate

pytestmark = pytest.mark.slow

MEASURED = ("F18", "Ga68", "Rb82")
POSITRONS = 4000


class Flights:
    """Starts, ends, distances and energies of one source's positrons."""

    def __init__(self, found: Annihilations, place: int) -> None:
        own = slice(place * POSITRONS, (place + 1) * POSITRONS)
        self.start, self.stop, self.energy = found.start_mm[own], found.stop_mm[own], found.energy_kev[own]
        self.distance = np.linalg.norm(self.stop - self.start, axis=1)


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Flights]:
    """By isotope and material: blocks of water and bone, 40 mm thick, and of lung, 120 mm thick, along x of one volume."""
    folder = tmp_path_factory.mktemp("flights")
    blocks = np.repeat(np.array([1, 2, 0], np.uint8), [20, 20, 60])[:, None, None] * np.ones((1, 60, 60), np.uint8)
    middle = {"water": -80.0, "rib_bone": -40.0, "lung": 40.0}
    keys = [(name, "water") for name in ISOTOPES] + [(name, place) for place in ("rib_bone", "lung") for name in MEASURED]
    sources = [PointSource(name, POSITRONS, (middle[place], 0.0, 0.0)) for name, place in keys]
    sources.append(PointSource("F18", POSITRONS, (middle["water"], 5.0, 0.0), edge_mm=2.0))
    found = run_gate(blocks, ["lung", "water", "rib_bone"], [2.0] * 3, sources, Physics(), 5, folder)
    assert list(folder.iterdir()) == []
    return {key: Flights(found, place) for place, key in enumerate([*keys, ("F18", "box")])}


@pytest.mark.parametrize(("name", "low", "high"), [("F18", 0.43, 0.47), ("Ga68", 2.2, 2.4), ("Rb82", 4.5, 4.9)])
def test_mean_range_in_water(flights, name: str, low: float, high: float) -> None:
    assert low < flights[name, "water"].distance.mean() < high


@pytest.mark.parametrize("name", MEASURED)
@pytest.mark.parametrize("place", ["lung", "rib_bone"])
def test_mean_range_goes_with_the_inverse_of_density(flights, name: str, place: str) -> None:
    ratio = flights[name, place].distance.mean() / flights[name, "water"].distance.mean()
    assert ratio * material(place).density_g_cm3 == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize(("place", "csda_mm"), [("water", 9.2), ("lung", 36.0), ("rib_bone", 5.3)])
def test_no_positron_of_ga68_gets_beyond_its_csda_range(flights, place: str, csda_mm: float) -> None:
    """Strictly: paths wind so much that straggling of the path length does not bring the end as far out."""
    furthest = flights["Ga68", place].distance.max()
    assert 0.5 * csda_mm < furthest < csda_mm


@pytest.mark.parametrize("name", ISOTOPES)
def test_every_isotope_starts_with_its_spectrum(flights, name: str) -> None:
    energy, entry = flights[name, "water"].energy, ISOTOPES[name]
    assert len(energy) == POSITRONS
    assert energy.mean() == pytest.approx(entry.mean_energy_kev, rel=0.02 + 3 * energy.std() / energy.mean() / np.sqrt(POSITRONS))
    assert 0 < energy.min() < energy.max() < 1.001 * entry.end_point_kev


def test_range_grows_with_the_mean_energy(flights) -> None:
    by_energy = sorted(ISOTOPES.values(), key=lambda entry: entry.mean_energy_kev)
    ranges = [flights[entry.name, "water"].distance.mean() for entry in by_energy if entry.name not in ("I124", "Zr89")]
    assert ranges == sorted(ranges)


def test_a_voxel_source_fills_its_voxel_evenly(flights) -> None:
    box = flights["F18", "box"]
    start = box.start - [-80.0, 5.0, 0.0]
    assert np.abs(start).max() <= 1
    assert np.abs(start).max() > 0.99
    np.testing.assert_allclose(start.std(axis=0), 1 / np.sqrt(3), rtol=0.05)
    assert box.distance.mean() == pytest.approx(flights["F18", "water"].distance.mean(), rel=0.05)


ENTRY = {"media": [{"kind": "homogeneous"}, {"kind": "random", "seed": 1, "count": 1}]}
CHUNK = """
import sys
from petbench.positron_range.cohort import read_media
from petbench.positron_range import gate
from petbench.positron_range.gate import Simulation, scratch, simulate_psfs
from petbench.positron_range.psf_set import write_psf_set
media, out, positrons = sys.argv[1:]
with scratch(out) as folder:
    write_psf_set(out, simulate_psfs(read_media(media), Simulation("Ga68", int(positrons), kernel_size=15), 7, folder))
"""


def media_with_slabs() -> Media:
    """What `ENTRY` makes, and water with bone from the next voxel on along x, or lung along y."""
    media = make_media(ENTRY)
    slabs = np.full((2, 31, 31, 31), 1, np.uint8)
    slabs[0, 16:] = 2
    slabs[1, :, 16:] = 0
    return replace(media, labels=np.concatenate([media.labels, slabs]), names=(*media.names, "bone slab", "lung slab"))


@pytest.fixture(scope="module")
def psfs(tmp_path_factory: pytest.TempPathFactory) -> PsfSet:
    return simulate_psfs(media_with_slabs(), Simulation("Ga68", POSITRONS, kernel_size=15), 7, tmp_path_factory.mktemp("psfs"))


def of(psfs: PsfSet, name: str) -> np.ndarray:
    return psfs.counts[psfs.names.index(name)].astype(float)


def mean_place(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean annihilation in mm and its standard error, on three axes."""
    places = (np.indices(counts.shape).reshape(3, -1) - counts.shape[0] // 2) * 2.0
    weights = counts.ravel() / counts.sum()
    mean = places @ weights
    return mean, np.sqrt(((places - mean[:, None]) ** 2 @ weights) / counts.sum())


def test_every_positron_is_counted(psfs: PsfSet) -> None:
    np.testing.assert_array_equal(psfs.counts.sum(axis=(1, 2, 3)) + psfs.outside, POSITRONS)
    # 15 voxels of 2 mm hold all in water and bone, and lose a share in lung that grows with the density's inverse
    lung, water, bone = psfs.outside[:3]
    assert (water, bone) == (0, 0)
    assert 0.01 < lung / POSITRONS < 0.25
    np.testing.assert_array_equal(psfs.mu[:, 7, 7, 7] > 0, True)


def test_a_homogeneous_kernel_is_isotropic(psfs: PsfSet) -> None:
    """Chi-square of the counts against their mean over the 48 symmetries of the cube."""
    for name in ("lung", "water", "rib_bone"):
        counts = of(psfs, name)
        turned = [
            np.transpose(np.flip(counts, [axis for axis in range(3) if flips >> axis & 1]), order)
            for flips in range(8)
            for order in itertools.permutations(range(3))
        ]
        expected = np.mean(turned, axis=0)
        enough = expected > 5
        statistic = np.sum((counts - expected)[enough] ** 2 / expected[enough])
        freedom = np.count_nonzero(enough) - len(np.unique(expected[enough]))
        assert 0.001 < chi2.sf(statistic, freedom) < 0.999, name


def test_media_in_a_row_do_not_see_each_other(psfs: PsfSet, flights) -> None:
    """The kernel of water, between lung and bone, is that of water alone."""
    own = of(psfs, "water")
    water = flights["Ga68", "water"]
    alone = bin_points(water.stop - water.start, np.zeros(POSITRONS, int), 1, [15] * 3, [2.0] * 3)[0].astype(float)
    both = own + alone
    enough = both > 10
    statistic = np.sum((own - alone)[enough] ** 2 / both[enough])
    assert 0.001 < chi2.sf(statistic, np.count_nonzero(enough)) < 0.999


def test_bone_beside_the_source_stops_positrons_and_lung_lets_them_pass(psfs: PsfSet) -> None:
    mean, error = mean_place(of(psfs, "bone slab"))
    assert mean[0] < -2 * error[0]
    assert np.all(np.abs(mean[1:]) < 4 * error[1:])
    along = of(psfs, "bone slab").sum(axis=(1, 2))
    assert along[8] > along[6]
    assert along[9:].sum() < 0.5 * along[:6].sum()

    mean, error = mean_place(of(psfs, "lung slab"))
    assert mean[1] > 5 * error[1]
    assert np.all(np.abs(mean[[0, 2]]) < 4 * error[[0, 2]])
    along = of(psfs, "lung slab").sum(axis=(0, 2))
    assert along[8] < along[6]
    assert along[10:].sum() > 10 * along[:5].sum()


def test_a_killed_chunk_leaves_nothing_and_the_next_one_is_the_same_as_ever(psfs: PsfSet, tmp_path: Path) -> None:
    write_media(tmp_path / "media.h5", media_with_slabs())
    (tmp_path / "0.h5").write_text("another chunk")
    out = tmp_path / "1.h5"

    def start(positrons: int) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-c", CHUNK, str(tmp_path / "media.h5"), str(out), str(positrons)])

    killed = start(1_000_000)
    until = time.monotonic() + 300
    while not list(tmp_path.glob(".1.h5.scratch/run-*/annihilations.root")):
        assert time.monotonic() < until
        assert killed.poll() is None
        time.sleep(0.1)
    geant4 = psutil.Process(killed.pid).children(recursive=True)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert geant4
    assert not psutil.wait_procs(geant4, timeout=10)[1]
    assert not out.exists()

    assert start(POSITRONS).wait() == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.h5", "1.h5", "media.h5"]
    assert (tmp_path / "0.h5").read_text() == "another chunk"
    again = read_psf_set(out)
    np.testing.assert_array_equal(again.counts, psfs.counts)
    assert (again.names, again.origin) == (psfs.names, psfs.origin)


def test_an_activity_image_spreads_by_the_range_of_each_place(tmp_path: Path) -> None:
    """Two hot voxels, the one of three times the activity in bone and the other in lung; the axes have different lengths and edges."""
    labels = np.zeros((25, 16, 12), np.uint8)
    labels[12:] = 1
    activity = np.zeros(labels.shape, np.float32)
    activity[4, 8, 3], activity[18, 5, 8] = 1, 3
    simulation = Simulation("Ga68", 8000)
    counts, outside = simulate_activity(labels, ["lung", "rib_bone"], [4.0, 3.0, 5.0], activity, simulation, 3, tmp_path)
    assert counts.sum() + outside == 8000
    lung, bone = counts[:12].sum() + outside, counts[12:].sum()
    assert bone / (lung + bone) == pytest.approx(0.75, abs=0.03)
    assert counts[18, 5, 8] / bone > 0.5 > 3 * counts[4, 8, 3] / lung
    assert np.unravel_index(counts.argmax(), counts.shape) == (18, 5, 8)


@pytest.fixture
def flown(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """In place of Geant4, flights whose ends are known: from a source one voxel on along x, or, of the last of each source, 90 mm away.
    Collects the number of positrons of each run.
    """
    runs: list[int] = []

    def fly(labels, materials, voxel_mm, sources, physics, seed, folder) -> Annihilations:
        runs.append(sum(source.positrons for source in sources))
        starts = [np.tile(getattr(source, "position_mm", (1.0, 1.0, 1.0)), (source.positrons, 1)) for source in sources]
        stops = [np.add(start, [voxel_mm[0], 0, 0]) for start in starts]
        for stop in stops:
            stop[-1, 1] += 90
        return Annihilations(np.concatenate(starts), np.concatenate(stops), np.full(runs[-1], 250.0))

    monkeypatch.setattr(gate, "run_gate", fly)
    monkeypatch.setattr(gate, "RUN_POSITRONS", 100)
    return runs


def test_every_medium_gets_its_own_annihilations_however_many_share_a_run(flown: list[int], tmp_path: Path) -> None:
    media = make_media({"size": 11, "voxel_mm": 1.5, "media": [{"kind": "random", "seed": 2, "count": 7}]})
    psfs = simulate_psfs(media, Simulation("Ga68", 30, kernel_size=5), 1, tmp_path)
    assert flown == [90, 90, 30]
    expected = np.zeros((7, 5, 5, 5))
    expected[:, 3, 2, 2] = 29
    np.testing.assert_array_equal(psfs.counts, expected)
    np.testing.assert_array_equal(psfs.outside, 1)


def test_an_activity_image_is_simulated_in_runs_that_add_up(flown: list[int], tmp_path: Path) -> None:
    labels = np.zeros((6, 4, 4), np.uint8)
    counts, outside = simulate_activity(labels, ["water"], [2.0] * 3, np.ones((6, 4, 4)), Simulation("Ga68", 250), 1, tmp_path)
    assert flown == [100, 100, 50]
    assert (counts[4, 2, 2], counts.sum(), outside) == (247, 247, 3)


def test_data_that_geant4_cannot_read_are_named(tmp_path: Path) -> None:
    """Folders that look right but hold no tables."""
    for name in ("G4EMLOW8.8/brem_SB", "PhotonEvaporation6.1.2", "RadioactiveDecay6.1.2", "G4PARTICLEXS4.2", "G4ENSDFSTATE3.0"):
        (tmp_path / "data" / name).mkdir(parents=True)
    (tmp_path / "data/G4ENSDFSTATE3.0/ENSDFSTATE.dat").touch()
    physics = Physics(data=str(tmp_path / "data"))
    with pytest.raises(InputError, match=r"gate/data: Geant4 cannot read .*G4EMLOW8\.8"):
        run_gate(np.zeros((3, 3, 3), np.uint8), ["water"], [2.0] * 3, [PointSource("F18", 10)], physics, 1, tmp_path)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"isotope": "Tc99m"}, "isotope: 'Tc99m' is unknown"),
        ({"positrons": 10}, "no isotope"),
        ({"isotope": "F18", "positron": 10}, "unknown key 'positron'"),
        ({"isotope": "F18", "positrons": 0}, "gate/positrons"),
        ({"isotope": "F18", "source": "line"}, "gate/source"),
        ({"isotope": "F18", "physics_list": "G4EmStandardPhysics_option4"}, "gate/physics_list"),
        ({"isotope": "F18", "surroundings": "cheese"}, "material: 'cheese' is unknown"),
        ({"isotope": "F18", "surroundings": "air"}, "gate/surroundings"),
        ({"isotope": "F18", "step_fraction": 0}, "step_fraction"),
    ],
)
def test_impossible_simulations_are_refused_before_they_start(entry: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        Simulation.from_entry(entry)


def test_media_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    media = make_media({"size": 11, "media": [{"kind": "homogeneous"}]})
    with pytest.raises(InputError, match="odd sizes"):
        simulate_psfs(media, Simulation("F18", 10), 1, tmp_path)
    with pytest.raises(InputError, match="label 3 has no material"):
        run_gate(np.full((3, 3, 3), 3, np.uint8), ["water"], [2.0] * 3, [PointSource("F18", 10)], Physics(), 1, tmp_path)
    with pytest.raises(InputError, match="gate/activity"):
        simulate_activity(np.zeros((3, 3, 3), np.uint8), ["water"], [2.0] * 3, np.zeros((3, 3, 3)), Simulation("F18"), 1, tmp_path)


def test_scratch_clears_what_a_killed_job_left(tmp_path: Path) -> None:
    left = tmp_path / ".out.h5.scratch" / "run-1"
    left.mkdir(parents=True)
    with scratch(tmp_path / "out.h5") as folder:
        assert list(folder.iterdir()) == []
    assert list(tmp_path.iterdir()) == []

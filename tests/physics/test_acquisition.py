import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.acquisition import Acquisition, read_acquisition, write_acquisition
from petbench.physics.counts import thin
from petbench.physics.doses import resolve_dose
from petbench.physics.events import Events, Sinogram, events_from_sinogram, sinogram_from_events, thinned
from petbench.physics.scanner import Scanner

Array = NDArray[np.float32]


@pytest.fixture
def rings() -> Scanner:
    """A scanner small enough to look through, with oblique planes and time of flight."""
    entry = {
        "name": "rings",
        "ring_radius_mm": 80.0,
        "crystals_per_ring": 60,
        "radial": "uniform",
        "radial_bins": 12,
        "radial_spacing_mm": 6.0,
    }
    entry |= {"views": 10, "planes": 5, "plane_spacing_mm": 4.0, "image": {"shape": [16, 16, 5], "voxel_mm": [4.0] * 3}, "fov_mm": 60.0}
    oblique, tof = {"rings": 3, "max_ring_difference": 2, "span": 1}, {"resolution_ps": 400.0, "bins": 5, "bin_ps": 320.0}
    return Scanner.from_entry(entry | {"oblique": oblique, "tof": tof})


def sinogram(shape: tuple[int, ...], mean: float = 3.0, seed: int = 0) -> Sinogram:
    """Counts in the order of memory that projectors have."""
    rng = np.random.default_rng(seed)
    stored = (shape[1], shape[0], *shape[2:])
    return Sinogram(rng.poisson(mean, stored).astype(np.uint32).swapaxes(0, 1), rng.random(stored, dtype=np.float32).swapaxes(0, 1))


SHAPES = {
    ("direct", False): (12, 10, 5),
    ("direct", True): (12, 10, 5, 5),
    ("oblique", False): (12, 10, 9),
    ("oblique", True): (12, 10, 9, 5),
}


def acquisition(geometry: str, tof: bool, listed: bool = False) -> Acquisition:
    shape = SHAPES[geometry, tof]
    data = sinogram(shape)
    factors = np.random.default_rng(5).random((10, 12, shape[2]), dtype=np.float32).swapaxes(0, 1)
    expected = {"trues": 1.5, "scatter": 0.5, "randoms": 0.0}
    metadata = {"seed": 4, "simulation": {"counts": 1e6, "tof": tof}, "dose": asdict(resolve_dose({"drf": 2}, {}, 1)), "expected": expected}
    return Acquisition(
        events_from_sinogram(data, 60.0, "F18", 3) if listed else data, factors, 2.5e-3, geometry, "F18", 60.0 if listed else None, metadata
    )


def arrays_of(data: Sinogram | Events) -> dict[str, Any]:
    return {name: value for name, value in vars(data).items() if value is not None}


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize(("geometry", "tof"), SHAPES)
def test_reads_back_as_written(rings: Scanner, tmp_path: Path, geometry: str, tof: bool, listed: bool) -> None:
    written = acquisition(geometry, tof, listed)
    write_acquisition(tmp_path / "scan.h5", written, rings)
    read = read_acquisition(tmp_path / "scan.h5", rings)
    assert [path.name for path in tmp_path.iterdir()] == ["scan.h5"]
    assert type(read.data) is type(written.data)
    assert arrays_of(read.data).keys() == arrays_of(written.data).keys()
    for name, array in arrays_of(written.data).items():
        np.testing.assert_array_equal(getattr(read.data, name), array)
        assert getattr(read.data, name).dtype == array.dtype
    np.testing.assert_array_equal(read.factors, written.factors)
    assert read.factors.strides == written.factors.strides  # in the order of memory that the projectors want
    rest = ("scale", "geometry", "isotope", "seconds", "metadata", "tof")
    assert [getattr(read, name) for name in rest] == [getattr(written, name) for name in rest]


def test_no_counts_at_all_read_back_too(rings: Scanner, tmp_path: Path) -> None:
    empty = sinogram(SHAPES["direct", False], mean=0.0)
    scan = replace(acquisition("direct", False), data=events_from_sinogram(empty, 60.0, "F18", 1), seconds=60.0)
    write_acquisition(tmp_path / "empty.h5", scan, rings)
    assert read_acquisition(tmp_path / "empty.h5", rings).data.counts == 0


@pytest.mark.parametrize("tof", [False, True])
def test_sinogram_to_events_and_back_is_exact(tof: bool) -> None:
    data = sinogram(SHAPES["oblique", tof])
    events = events_from_sinogram(data, 60.0, "C11", seed=8)
    assert events.counts == data.counts
    assert (np.diff(events.time_ms.astype(np.int64)) >= 0).all()
    assert events.time_ms.max() < 60_000
    np.testing.assert_array_equal(sinogram_from_events(events, data.prompts.shape), data.prompts)
    np.testing.assert_array_equal(events.background, data.background[events.bins])


def test_order_of_events_says_nothing_of_their_bins() -> None:
    events = events_from_sinogram(sinogram((40, 30, 20)), 60.0, "F18", seed=8)
    for index in events.bins:
        correlation = np.corrcoef(index, np.arange(events.counts))[0, 1]
        assert abs(correlation) < 5 / np.sqrt(events.counts)


def test_times_follow_the_decay() -> None:
    events = events_from_sinogram(sinogram((40, 40, 40)), 300.0, "O15", seed=2)
    edges = np.linspace(0, 300, 11)
    share = -np.diff(2 ** (-edges / 122.27)) / (1 - 2 ** (-300 / 122.27))
    seen = np.histogram(events.time_ms / 1000, edges)[0] / events.counts
    assert np.abs(seen - share).max() < 5 * np.sqrt(share.max() / events.counts)


def test_thinned_events_are_some_of_the_events_at_the_rate_asked_for() -> None:
    events = events_from_sinogram(sinogram((40, 40, 40)), 60.0, "F18", seed=2)
    standard = {"counts": 1e6, "seconds": 60.0}
    low = thinned(events, resolve_dose({"drf": 4}, standard, 1), seed=9)
    assert isinstance(low, Events)
    assert abs(low.counts - events.counts / 4) < 5 * np.sqrt(events.counts * 3 / 16)
    whole, part = (sinogram_from_events(data, (40, 40, 40)).astype(int) for data in (events, low))
    assert (part <= whole).all()
    # Given y counts in a bin, mean y / 4 and variance 3 y / 16, as for the binomial thinning of a sinogram.
    chi_squared = ((part - whole / 4) ** 2)[whole > 0] / (whole[whole > 0] * 3 / 16)
    assert abs(chi_squared.mean() - 1) < 5 * np.sqrt(chi_squared.var() / chi_squared.size)
    assert low.background.mean() == pytest.approx(events.background.mean() / 4, rel=0.02)


def test_seconds_of_events_are_cut_by_time() -> None:
    events = events_from_sinogram(sinogram((40, 40, 40)), 600.0, "C11", seed=2)
    dose = resolve_dose({"seconds": 90}, {"counts": 1e6, "seconds": 600.0, "isotope": "C11"}, 1)
    early = thinned(events, dose, seed=1)
    assert isinstance(early, Events)
    np.testing.assert_array_equal(early.time_ms, events.time_ms[events.time_ms < 90_000])
    spread = np.sqrt(dose.fraction * (1 - dose.fraction) / events.counts)
    assert abs(early.counts / events.counts - dose.fraction) < 5 * spread
    np.testing.assert_allclose(early.background, events.background[: early.counts] * dose.fraction, rtol=1e-6)


def test_thinned_sinograms_keep_their_share_of_the_background() -> None:
    data = sinogram((12, 10, 5), mean=40.0)
    dose = resolve_dose({"fraction": 0.3}, {"counts": 1e6}, 1)
    low = thinned(data, dose, seed=6)
    assert isinstance(low, Sinogram)
    np.testing.assert_array_equal(low.prompts, thin(data.prompts, 0.3, 6))
    np.testing.assert_allclose(low.background, 0.3 * data.background, rtol=1e-6)
    assert thinned(data, resolve_dose({"fraction": 1.0}, {}, 1), seed=6) is data


def damage(path: Path, how: Callable[[h5py.File], None]) -> None:
    with h5py.File(path, "r+") as file:
        how(file)


def group_in_place(name: str) -> Callable[[h5py.File], None]:
    def how(file: h5py.File) -> None:
        del file[name]
        file.create_group(name)

    return how


def attribute(name: str, value: Any) -> Callable[[h5py.File], None]:
    return lambda file: file.attrs.__setitem__(name, value)


def metadata(**changes: Any) -> Callable[[h5py.File], None]:
    return lambda file: attribute("metadata", json.dumps(json.loads(file.attrs["metadata"]) | changes))(file)


def lines(**changes: Any) -> Callable[[h5py.File], None]:
    return lambda file: attribute("lines", json.dumps(json.loads(file.attrs["lines"]) | changes))(file)


def another_name(file: h5py.File) -> None:
    """As a file is that does not say where its lines run."""
    del file.attrs["lines"]
    file.attrs["scanner"] = "another"


def replaced(name: str, values: Any) -> Callable[[h5py.File], None]:
    def how(file: h5py.File) -> None:
        del file[name]
        file[name] = values

    return how


@pytest.mark.parametrize(
    ("listed", "how", "message"),
    [
        (False, lambda file: file.attrs.__delitem__("format"), "no petbench acquisition"),
        (False, lambda file: file.attrs.__setitem__("version", 99), "has version 99"),
        (False, lambda file: file.attrs.__delitem__("scale"), "lacks the attribute scale"),
        (False, lambda file: file.attrs.__setitem__("scale", -1.0), "scale -1.0 is not a positive"),
        (False, another_name, "comes from another, not from"),
        (False, lines(views=14), "whose views is 14, and"),
        (False, lines(ring_radius_mm=81.0), "whose ring_radius_mm is 81.0, and"),
        (False, attribute("lines", "[1]"), "cut short or damaged"),
        (False, lambda file: file.attrs.__setitem__("geometry", "spiral"), "geometry: 'spiral'"),
        (False, lambda file: file.attrs.__setitem__("geometry", "oblique"), "factors has shape"),
        (False, lambda file: file.attrs.__setitem__("counts", 7), "and says 7"),
        (False, lambda file: file.attrs.__setitem__("metadata", "{"), "cannot be read"),
        (False, lambda file: file.__delitem__("factors"), "lacks factors"),
        (False, lambda file: file.__delitem__("background"), "lacks background"),
        (False, replaced("background", np.full((10, 12, 5), -1, np.float32)), "background holds values that are negative"),
        (False, replaced("background", np.zeros((10, 12, 4), np.float32)), "background has shape"),
        (False, replaced("prompts", np.zeros((10, 12, 5))), "prompts holds float64"),
        (True, lambda file: file.__delitem__("events/view"), "lacks events/view"),
        (True, lambda file: file["events/plane"].__setitem__(3, 5), "events/plane rises to 5"),
        (True, lambda file: file["events/time_ms"].__setitem__(3, 59_000), "events/time_ms falls"),
        (True, replaced("events/background", np.zeros(3, np.float32)), "events/background has shape"),
        (False, group_in_place("prompts"), "lacks prompts"),
        (True, group_in_place("events/plane"), "lacks events/plane"),
        (True, replaced("events", np.zeros(3)), "damaged|lacks events/radial"),
        (False, replaced("factors", np.float32(1)), "cut short or damaged"),
        (False, replaced("factors", h5py.Empty("f4")), "cut short or damaged"),
        (False, attribute("metadata", "[1]"), "metadata is no table"),
        (False, metadata(dose=[1]), "metadata/dose is no table"),
        (False, metadata(dose={"draw": "thinning"}), "metadata/dose is not that of a simulated scan"),
        (False, metadata(simulation="none"), "metadata/simulation is no table"),
        (False, metadata(simulation={"counts": "many"}), "metadata/simulation/counts: 'many'"),
        (False, metadata(simulation={"psf_mm": float("nan")}), "metadata/simulation/psf_mm: nan"),
        (False, metadata(simulation={"isotope": 18}), "metadata/isotope: '18' is unknown"),
        (False, metadata(simulation={"counts": 10**400}), "cut short or damaged"),
        (False, metadata(expected=3), "metadata/expected is no table"),
        (False, metadata(expected={"trues": 1.0}), "metadata/expected is not three numbers"),
        (False, metadata(expected={"trues": 1.0, "scatter": "x", "randoms": 0.0}), "metadata/expected is not three numbers"),
        (False, attribute("geometry", np.zeros(3)), "the attribute geometry is no text"),
        (False, attribute("format", np.zeros(3)), "cut short or damaged"),
        (False, attribute("scale", "much"), "the attribute scale is no number"),
        (False, attribute("scale", np.ones(2)), "the attribute scale is no number"),
        (False, attribute("counts", float("nan")), "cut short or damaged"),
        (False, attribute("isotope", "Tc99m"), "isotope: 'Tc99m' is unknown"),
        (False, attribute("seconds", float("nan")), "duration nan s"),
        (False, attribute("seconds", -60.0), "duration -60.0 s"),
        (True, attribute("seconds", 1.0), "events/time_ms rises to .* beyond the scan's 1 s"),
    ],
)
def test_damaged_files_are_refused_by_name(rings: Scanner, tmp_path: Path, listed: bool, how: Any, message: str) -> None:
    path = tmp_path / "scan.h5"
    write_acquisition(path, acquisition("direct", False, listed), rings)
    damage(path, how)
    with pytest.raises(InputError, match=message) as caught:
        read_acquisition(path, rings)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("listed", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.9, 0.999])
def test_files_cut_short_are_refused(rings: Scanner, tmp_path: Path, listed: bool, share: float) -> None:
    path = tmp_path / "scan.h5"
    write_acquisition(path, acquisition("oblique", True, listed), rings)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="cut short or damaged") as caught:
        read_acquisition(path, rings)
    assert str(path) in str(caught.value)


def test_text_of_other_programs_is_read(rings: Scanner, tmp_path: Path) -> None:
    written = acquisition("direct", False)
    write_acquisition(tmp_path / "scan.h5", written, rings)
    with h5py.File(tmp_path / "scan.h5", "r+") as file:
        for name in ("format", "scanner", "geometry", "isotope", "metadata"):
            file.attrs[name] = np.bytes_(file.attrs[name])
        file.attrs["tof"] = np.uint8(0)
    read = read_acquisition(tmp_path / "scan.h5", rings)
    assert (read.geometry, read.isotope, read.metadata) == (written.geometry, written.isotope, written.metadata)


def test_flipped_bits_are_found(rings: Scanner, tmp_path: Path) -> None:
    path = tmp_path / "scan.h5"
    write_acquisition(path, acquisition("oblique", True, listed=True), rings)
    with h5py.File(path) as file:
        chunk = file["events/view"].id.get_chunk_info(0)
    content = bytearray(path.read_bytes())
    content[chunk.byte_offset + chunk.size // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="cut short or damaged"):
        read_acquisition(path, rings)


@pytest.mark.parametrize("listed", [False, True])
def test_random_damage_is_found_or_harmless(rings: Scanner, tmp_path: Path, listed: bool) -> None:
    path, rng = tmp_path / "scan.h5", np.random.default_rng(7)
    write_acquisition(path, acquisition("direct", False, listed), rings)
    whole, content = read_acquisition(path, rings), path.read_bytes()
    refused = equal = 0
    # every part of the file is hit, and its first 2000 bytes, which hold its structure, more often
    for place in np.concatenate([rng.integers(0, len(content), 30), rng.integers(0, 2000, 30)]):
        flipped = bytearray(content)
        flipped[place] ^= int(rng.integers(1, 256))
        path.write_bytes(flipped)
        try:
            read = read_acquisition(path, rings)
        except InputError as error:
            refused += str(path) in str(error)
            continue
        equal += 1
        for name, array in arrays_of(whole.data).items():
            np.testing.assert_array_equal(getattr(read.data, name), array)
        np.testing.assert_array_equal(read.factors, whole.factors)
        rest = ("scale", "geometry", "isotope", "seconds", "metadata")
        assert [getattr(read, name) for name in rest] == [getattr(whole, name) for name in rest]
    assert refused + equal == 60  # every refusal names the file
    assert refused > 20


def test_events_know_planes_beyond_16_bits() -> None:
    prompts = np.zeros((1, 1, 70_000), dtype=np.uint32)
    prompts[0, 0, 69_999] = 2
    events = events_from_sinogram(Sinogram(prompts, np.zeros(prompts.shape, dtype=np.float32)), 60.0, "F18", 1)
    np.testing.assert_array_equal(events.plane, [69_999, 69_999])
    np.testing.assert_array_equal(sinogram_from_events(events, prompts.shape), prompts)


def test_files_of_other_kinds_are_refused(rings: Scanner, tmp_path: Path) -> None:
    foreign, text = tmp_path / "foreign.h5", tmp_path / "text.h5"
    with h5py.File(foreign, "w") as file:
        file["prompts"] = np.zeros(3)
    text.write_text(json.dumps({"prompts": 3}))
    for path, message in ((foreign, "no petbench acquisition"), (text, "cannot be read"), (tmp_path / "none.h5", "no such file")):
        with pytest.raises(InputError, match=message):
            read_acquisition(path, rings)


def test_data_that_do_not_fit_the_scanner_are_not_written(rings: Scanner, tmp_path: Path) -> None:
    scan = acquisition("direct", False)
    wrong = replace(scan, factors=scan.factors[:, :, :3])
    with pytest.raises(InputError, match="factors has shape"):
        write_acquisition(tmp_path / "scan.h5", wrong, rings)
    assert not list(tmp_path.iterdir())


def test_what_could_not_be_read_back_is_not_written(rings: Scanner, tmp_path: Path) -> None:
    scan, listed = acquisition("direct", False), acquisition("direct", False, listed=True)
    assert isinstance(scan.data, Sinogram)
    assert isinstance(listed.data, Events)
    for wrong, message in [
        (replace(scan, data=replace(scan.data, prompts=scan.data.prompts.astype(np.int64) - 1)), "prompts holds int64, not uint32"),
        (replace(scan, factors=scan.factors.astype(float)), "factors holds float64"),
        (replace(listed, data=replace(listed.data, radial=listed.data.radial.astype(int))), "events/radial holds int64, not uint16"),
        (replace(listed, seconds=1.0), "beyond the scan's 1 s"),
        (replace(scan, seconds=float("nan")), "duration nan"),
        (replace(scan, isotope="Tc99m"), "isotope: 'Tc99m'"),
        (replace(scan, metadata={"seed": np.int64(3)}), "metadata is not what JSON can hold"),
        (replace(scan, metadata={"seed": float("inf")}), "metadata is not what JSON can hold"),
    ]:
        with pytest.raises(InputError, match=message):
            write_acquisition(tmp_path / "scan.h5", wrong, rings)
    assert not list(tmp_path.iterdir())


def test_smaller_integers_are_written_as_documented(rings: Scanner, tmp_path: Path) -> None:
    listed = acquisition("direct", False, listed=True)
    assert isinstance(listed.data, Events)
    write_acquisition(tmp_path / "scan.h5", replace(listed, data=replace(listed.data, plane=listed.data.plane.astype(np.uint8))), rings)
    read = read_acquisition(tmp_path / "scan.h5", rings).data
    assert isinstance(read, Events)
    assert read.plane.dtype == np.uint32
    np.testing.assert_array_equal(read.plane, listed.data.plane)

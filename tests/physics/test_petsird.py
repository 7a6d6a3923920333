"""List mode in and out of PETSIRD: bins, times and time of flight survive, and lines in space find their bins."""

from dataclasses import replace

import numpy as np
import petsird
import pytest
from petsird.helpers.geometry import get_detecting_box

from petbench.errors import InputError
from petbench.physics.acquisition import Acquisition
from petbench.physics.events import Events, Sinogram
from petbench.physics.lines import lines_of_bins
from petbench.physics.lines_to_bins import bins_of_lines
from petbench.physics.petsird_files import read_petsird, write_petsird
from petbench.physics.planes import planes_of
from petbench.physics.scanner import Scanner, TimeOfFlight

ARC = Scanner(
    name="a ring",
    ring_radius_mm=100.0,
    crystals_per_ring=32,
    radial="arc",
    radial_bins=14,
    radial_spacing_mm=np.pi * 100.0 / 32,
    views=16,
    planes=7,
    plane_spacing_mm=4.0,
    image_shape=(12, 12, 7),
    voxel_mm=(8.0, 8.0, 4.0),
    fov_mm=96.0,
    rings=4,
    max_ring_difference=3,
    span=3,
    tof=TimeOfFlight(resolution_ps=300.0, bins=9, bin_ps=200.0),
)
UNIFORM = replace(ARC, radial="uniform", radial_spacing_mm=8.0, radial_bins=13, views=15)


def all_bins(scanner, geometry):
    shape = (scanner.radial_bins, scanner.views, planes_of(scanner, geometry).size)
    return [index.ravel() for index in np.indices(shape)]


@pytest.mark.parametrize("scanner", [ARC, UNIFORM, replace(ARC, radial_bins=13), replace(ARC, views=8)])
@pytest.mark.parametrize("geometry", ["direct", "oblique"])
def test_lines_of_bins_find_their_bins(scanner, geometry):
    radial, view, plane = all_bins(scanner, geometry)
    first, second = lines_of_bins(scanner, geometry, radial, view, plane)
    nearer, farther = first + 0.3 * (second - first), first + 1.4 * (second - first)  # anywhere along the line
    for ends, turned in (((first, second), False), ((second, first), True), ((nearer, farther), False)):
        found = bins_of_lines(scanner, geometry, *ends)
        assert found.inside.all()
        for name, wanted in (("radial", radial), ("view", view), ("plane", plane)):
            np.testing.assert_array_equal(getattr(found, name), wanted)
        assert (found.turned == turned).all()


def test_lines_that_no_bin_has_are_told_apart():
    first = np.array([[0.0, -100, 0], [0, -100, 0], [90, -100, 0], [5, 5, -9], [0, -100, 40]])
    second = np.array([[0.0, 100, 0], [0, 100, 60], [90, 100, 0], [5, 5, 9], [0, 100, 40]])
    assert bins_of_lines(ARC, "oblique", first, second).inside.tolist() == [True, False, False, False, False]


def events(scanner, geometry, tof, count=400):
    rng = np.random.default_rng(1)
    radial, view, plane = (rng.choice(index, count) for index in all_bins(scanner, geometry))
    time = np.sort(rng.integers(0, 900, count)).astype(np.uint32)
    bins = rng.integers(0, scanner.tof.bins, count).astype(np.uint16) if tof else None
    return Events(radial.astype(np.uint16), view.astype(np.uint16), plane.astype(np.uint32), bins, time, np.ones(count, dtype=np.float32))


def acquisition(scanner, geometry, data):
    shape = (scanner.radial_bins, scanner.views, planes_of(scanner, geometry).size)
    return Acquisition(data, np.ones(shape, dtype=np.float32), 1.0, geometry, "F18")


@pytest.mark.parametrize("scanner", [ARC, replace(ARC, radial_bins=13, span=1), replace(ARC, views=8)])
@pytest.mark.parametrize(("geometry", "tof"), [("direct", False), ("oblique", True)])
def test_events_survive(tmp_path, scanner, geometry, tof):
    data = events(scanner, geometry, tof)
    write_petsird(tmp_path / "scan.petsird", acquisition(scanner, geometry, data), scanner)
    read = read_petsird(tmp_path / "scan.petsird", scanner, geometry, tof)
    assert (read.outside, read.model) == (0, "a ring")
    for name in ("radial", "view", "plane", *(["tof"] if tof else [])):
        np.testing.assert_array_equal(getattr(read.events, name), getattr(data, name), err_msg=name)
    np.testing.assert_array_equal(read.events.time_ms, data.time_ms // 100 * 100)
    assert not read.events.background.any()


def test_other_programs_see_the_lines_and_which_are_measured(tmp_path):
    """By the package's own helpers: where detectors are, that pairs are in its order, that a photon's lead has its sign."""
    data = events(ARC, "oblique", True)
    write_petsird(tmp_path / "scan.petsird", acquisition(ARC, "oblique", data), ARC)
    first, second = lines_of_bins(ARC, "oblique", data.radial, data.view, data.plane)
    exact = np.isin(planes_of(ARC, "oblique").difference_mm[data.plane], [0.0]) & (data.plane % 2 == 0)
    with petsird.BinaryPETSIRDReader(str(tmp_path / "scan.petsird")) as reader:
        scanner = reader.read_header().scanner
        found = [event for block in reader.read_time_blocks() for event in block.value.prompt_events[0][0]]
    for number, event in enumerate(found):
        assert petsird.helpers.are_detections_ordered([0, 0], *event.detection_bins)
        assert petsird.helpers.get_detection_efficiency(scanner, [0, 0], event) == 1
        boxes = [get_detecting_box(scanner, 0, one) for one in petsird.helpers.expand_detection_bins(scanner, 0, event.detection_bins)]
        ends = np.array([np.mean([corner.c for corner in box.corners], axis=0) for box in boxes])
        line = np.array([first[number], second[number]])
        turned = np.abs(ends[0, :2] - line[0, :2]).max() > 1e-3
        line = line[::-1] if turned else line
        np.testing.assert_allclose(ends[:, :2], line[:, :2], atol=1e-3)
        if exact[number]:
            np.testing.assert_allclose(ends[:, 2], line[:, 2], atol=1e-3)
        edges = scanner.tof_bin_edges[0][0].edges
        lead = (edges[event.tof_idx] + edges[event.tof_idx + 1]) / 2  # (t1 - t2) c / 2: above 0 where the second detector was first
        own = (data.tof[number] + 0.5 - ARC.tof.bins / 2) * ARC.tof.bin_mm
        assert lead == pytest.approx(-own if turned else own, abs=1e-3)
    assert petsird.helpers.get_detection_efficiency(scanner, [0, 0], 41, 0) == 0  # neighbours round the ring


def test_what_cannot_be_is_refused_in_one_line(tmp_path):
    data = events(ARC, "direct", False)
    sinogram = Sinogram(np.zeros((14, 16, 7), dtype=np.uint32), np.zeros((14, 16, 7), dtype=np.float32))
    for scanner, given, message in ((UNIFORM, data, "radial: arc"), (ARC, sinogram, "events_from_sinogram")):
        with pytest.raises(InputError, match=message):
            write_petsird(tmp_path / "no.petsird", acquisition(scanner, "direct", given), scanner)
    assert not list(tmp_path.iterdir())
    write_petsird(tmp_path / "scan.petsird", acquisition(ARC, "direct", data), ARC)
    with pytest.raises(InputError, match="has no time of flight; read it without"):
        read_petsird(tmp_path / "scan.petsird", ARC, "direct", tof=True)
    with pytest.raises(InputError, match="no time-of-flight bins to read into"):
        read_petsird(tmp_path / "scan.petsird", replace(ARC, tof=None), "direct", tof=True)
    with pytest.raises(InputError, match="no such file"):
        read_petsird(tmp_path / "none.petsird", ARC, "direct")
    whole = (tmp_path / "scan.petsird").read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"not PETSIRD at all", whole[:-1]):
        (tmp_path / "bad.petsird").write_bytes(damaged)
        with pytest.raises(InputError, match=r"bad\.petsird: cannot be read as PETSIRD"):
            read_petsird(tmp_path / "bad.petsird", ARC, "direct")

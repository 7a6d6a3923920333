from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from petbench.errors import InputError
from petbench.physics.lines import lines_of_bins
from petbench.physics.planes import planes_of
from petbench.physics.scanner import Scanner, radial_positions, view_angles

SCANNERS = Path(__file__).parents[2] / "config" / "scanners"


def scanner_of(name: str) -> Scanner:
    return Scanner.from_entry(yaml.safe_load((SCANNERS / f"{name}.yaml").read_text()))


def ring_scanner(rings: int, largest: int, span: int) -> Scanner:
    planes = 2 * rings - 1
    mmr = scanner_of("biograph_mmr")
    return replace(mmr, rings=rings, max_ring_difference=largest, span=span, planes=planes, image_shape=(344, 344, planes))


def test_mmr_has_837_planes() -> None:
    planes = planes_of(scanner_of("biograph_mmr"), "oblique")
    assert planes.size == 837
    assert [segment.planes for segment in planes.segments] == [127, 115, 115, 93, 93, 71, 71, 49, 49, 27, 27]
    differences = [segment.difference_mm / 4.0625 for segment in planes.segments]
    np.testing.assert_allclose(differences, [0, 11, -11, 22, -22, 33, -33, 44, -44, 55, -55])
    np.testing.assert_array_equal(planes.ring_pairs[:8], [1, 2, 3, 4, 5, 6, 5, 6])
    assert set(planes.ring_pairs[4:123]) == {5, 6}
    assert planes.ring_pairs.sum() == sum(abs(a - b) <= 60 for a in range(64) for b in range(64)) == 4084


@pytest.mark.parametrize(
    ("rings", "largest", "span"), [(8, 7, 1), (8, 3, 1), (9, 7, 3), (9, 8, 3), (12, 11, 7), (6, 2, 11), (5, 0, 1), (1, 0, 1)]
)
def test_every_pair_of_rings_is_in_one_plane(rings: int, largest: int, span: int) -> None:
    """The michelogram by its definition: pairs fall together if their segment and the middle between them are the same."""
    pairs: Counter[tuple[int, float]] = Counter()
    for first in range(rings):
        for second in range(rings):
            if abs(second - first) <= largest:
                segment = int(np.sign(second - first)) * ((abs(second - first) + span // 2) // span)
                pairs[segment, (first + second) / 2] += 1
    planes = planes_of(ring_scanner(rings, largest, span), "oblique")
    pitch = 2 * 2.03125
    found: dict[tuple[int, float], int] = {}
    for number, segment in enumerate(planes.segments):
        own = slice(segment.first_plane, segment.first_plane + segment.planes)
        key = (number + 1) // 2 * (1 if number % 2 else -1)
        for middle, count in zip(planes.middle_mm[own], planes.ring_pairs[own], strict=True):
            found[key, round(2 * (middle / pitch + (rings - 1) / 2)) / 2] = int(count)
        assert np.all(planes.difference_mm[own] == segment.difference_mm)
        np.testing.assert_allclose(np.diff(planes.middle_mm[own]), segment.stride * pitch / 2)
    assert found == dict(pairs)
    assert sum(segment.planes for segment in planes.segments) == planes.size == planes.difference_mm.size


def test_a_segment_has_the_mean_ring_difference_of_its_planes_off_the_ends() -> None:
    planes = planes_of(ring_scanner(9, 7, 3), "oblique")
    np.testing.assert_allclose([segment.difference_mm / 4.0625 for segment in planes.segments], [0, 3, -3, 6, -6])
    cut_off = planes_of(ring_scanner(9, 5, 3), "oblique").segments
    np.testing.assert_allclose([segment.difference_mm / 4.0625 for segment in cut_off], [0, 3, -3, 5, -5])
    assert [segment.stride for segment in cut_off] == [1, 1, 1, 2, 2]


def test_direct_planes_are_the_slices() -> None:
    planes = planes_of(scanner_of("demo"), "direct")
    assert planes.size == 48
    assert not planes.difference_mm.any()
    assert (planes.ring_pairs == 1).all()
    np.testing.assert_allclose(planes.middle_mm[[0, -1]], [-94.0, 94.0])


@pytest.mark.parametrize(
    ("name", "geometry", "message"), [("demo", "oblique", "describes no oblique planes"), ("demo", "radial", "unknown")]
)
def test_geometries_that_do_not_exist_are_refused(name: str, geometry: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        planes_of(scanner_of(name), geometry)


@pytest.mark.parametrize("geometry", ["direct", "oblique"])
def test_lines_end_on_the_ring_and_run_as_their_bin_says(oblique_scanner: Scanner, geometry: str) -> None:
    scanner, planes = oblique_scanner, planes_of(oblique_scanner, geometry)
    radial, view, plane = (index.ravel() for index in np.indices((scanner.radial_bins, scanner.views, planes.size)))
    starts, ends = lines_of_bins(scanner, geometry, radial, view, plane)
    for points in (starts, ends):
        np.testing.assert_allclose(np.hypot(points[:, 0], points[:, 1]), scanner.ring_radius_mm)
    angle = view_angles(scanner)[view]
    for points in (starts, (starts + ends) / 2):
        np.testing.assert_allclose(
            points[:, 0] * np.cos(angle) + points[:, 1] * np.sin(angle), radial_positions(scanner)[radial], atol=1e-9
        )
    forwards = (ends - starts)[:, :2] @ [[0], [1]]
    assert (forwards[:, 0][np.cos(angle) > 1e-9] > 0).all()
    np.testing.assert_allclose((ends - starts)[:, 2], planes.difference_mm[plane])
    np.testing.assert_allclose((ends + starts)[:, 2] / 2, planes.middle_mm[plane], atol=1e-9)


def test_ends_of_planes_of_single_ring_differences_lie_on_rings() -> None:
    scanner = scanner_of("tof_demo")
    planes = planes_of(scanner, "oblique")
    plane = np.arange(planes.size)
    rings = (np.arange(24) - 11.5) * 8.0
    for ends in lines_of_bins(scanner, "oblique", np.full(plane.size, 40), np.zeros(plane.size, int), plane):
        assert np.abs(ends[:, 2:] - rings).min(axis=1).max() < 1e-9


@pytest.mark.parametrize(
    ("bins", "message"), [((90, 0, 0), "events/radial: 90"), ((0, -1, 0), "events/view: -1"), ((0, 0, 444), "events/plane: 444")]
)
def test_bins_that_do_not_exist_are_refused(bins: tuple[int, int, int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        lines_of_bins(scanner_of("tof_demo"), "oblique", *(np.array([index]) for index in bins))


def test_bins_of_different_number_are_refused() -> None:
    with pytest.raises(InputError, match="one of each a line"):
        lines_of_bins(scanner_of("tof_demo"), "oblique", np.zeros(2, int), np.zeros(3, int), np.zeros(2, int))

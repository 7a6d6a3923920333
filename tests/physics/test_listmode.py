from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics import listmode
from petbench.physics.listmode import ListModeProjector
from petbench.physics.projectors import projector_of
from petbench.physics.scanner import Scanner

Array = NDArray[np.float32]
GEOMETRIES = [("direct", False), ("direct", True), ("oblique", False), ("oblique", True)]


def all_bins(scanner: Scanner, geometry: str, tof: bool, seed: int | None = None) -> ListModeProjector:
    """One event in every bin, in the order of the sinogram's indices or in a random one."""
    bins = np.indices(projector_of(scanner, geometry, tof).sinogram_shape).reshape(3 + tof, -1)
    if seed is not None:
        bins = np.random.default_rng(seed).permuted(bins, axis=1)
    return ListModeProjector(scanner, geometry, bins[0], bins[1], bins[2], bins[3] if tof else None)


def random_pair(projector: ListModeProjector) -> tuple[Array, Array]:
    rng = np.random.default_rng(0)
    image = rng.normal(0.3, 1.0, projector.scanner.image_shape).astype(np.float32)
    return image, rng.normal(0.3, 1.0, projector.sinogram_shape).astype(np.float32)


@pytest.mark.parametrize(("geometry", "tof"), GEOMETRIES)
def test_all_bins_as_events_are_the_sinogram_bin_for_bin(oblique_scanner: Scanner, geometry: str, tof: bool) -> None:
    events, sinogram = all_bins(oblique_scanner, geometry, tof), projector_of(oblique_scanner, geometry, tof)
    image, data = random_pair(events)
    expected = sinogram(image)
    np.testing.assert_allclose(events(image).reshape(expected.shape), expected, atol=1e-5 * np.abs(expected).max())
    back = sinogram.adjoint(data.reshape(expected.shape))
    np.testing.assert_allclose(events.adjoint(data), back, atol=1e-5 * np.abs(back).max())


@pytest.mark.parametrize(("geometry", "tof"), GEOMETRIES)
@pytest.mark.parametrize("subset", [(0, 1), (2, 7)])
def test_adjoint_is_the_transpose(oblique_scanner: Scanner, geometry: str, tof: bool, subset: tuple[int, int]) -> None:
    projector = all_bins(oblique_scanner, geometry, tof, seed=3).subset(*subset)
    image, data = random_pair(projector)
    projected, back = projector(image).astype(float), projector.adjoint(data).astype(float)
    scale = np.linalg.norm(projected) * np.linalg.norm(data.astype(float))
    assert np.vdot(projected, data) == pytest.approx(np.vdot(image.astype(float), back), abs=1e-6 * scale)


def test_every_tof_bin_is_the_transpose_of_itself(oblique_scanner: Scanner) -> None:
    projector = all_bins(oblique_scanner, "oblique", True)
    assert projector.tof_bin is not None
    image, data = random_pair(projector)
    projected = projector(image).astype(float)
    for tof_bin in range(13):
        alone = np.where(projector.tof_bin == tof_bin, data, 0).astype(np.float32)
        back = np.vdot(image.astype(float), projector.adjoint(alone))
        assert np.vdot(projected, alone) == pytest.approx(back, abs=1e-5 * np.linalg.norm(projected) * np.linalg.norm(alone))


@pytest.mark.parametrize("count", [1, 4])
def test_subsets_are_every_so_manieth_event_and_add_up(oblique_scanner: Scanner, count: int) -> None:
    projector = all_bins(oblique_scanner, "oblique", True, seed=5)
    image, data = random_pair(projector)
    whole, parts = projector(image), [projector.subset(index, count) for index in range(count)]
    for index, part in enumerate(parts):
        np.testing.assert_array_equal(part(image), whole[index::count])
    total = sum(part.adjoint(data[index::count]) for index, part in enumerate(parts))
    reference = projector.adjoint(data)
    np.testing.assert_allclose(total, reference, atol=1e-5 * np.abs(reference).max())


def test_results_do_not_depend_on_the_order_or_on_chunks(oblique_scanner: Scanner) -> None:
    projector = all_bins(oblique_scanner, "oblique", True, seed=7)
    assert projector.tof_bin is not None
    image, data = random_pair(projector)
    whole, reference = projector(image), projector.adjoint(data)
    chunks = np.array_split(np.random.default_rng(1).permutation(data.size), 5)
    total = np.zeros_like(reference)
    for chunk in chunks:
        part = ListModeProjector(
            projector.scanner, "oblique", projector.radial[chunk], projector.view[chunk], projector.plane[chunk], projector.tof_bin[chunk]
        )
        np.testing.assert_array_equal(part(image), whole[chunk])
        total += part.adjoint(data[chunk])
    np.testing.assert_allclose(total, reference, atol=1e-5 * np.abs(reference).max())


def test_transpose_repeats_bit_for_bit_and_threads_change_rounding_only(oblique_scanner: Scanner) -> None:
    projector = all_bins(oblique_scanner, "oblique", True, seed=9)
    image, data = random_pair(projector)
    single = replace(projector, threads=1)
    np.testing.assert_array_equal(single(image), projector(image))
    np.testing.assert_array_equal(projector.adjoint(data), projector.adjoint(data))
    reference = single.adjoint(data)
    np.testing.assert_allclose(projector.adjoint(data), reference, atol=1e-5 * np.abs(reference).max())


def test_where_memory_is_short_fewer_threads_share_it(oblique_scanner: Scanner, monkeypatch: pytest.MonkeyPatch) -> None:
    projector = all_bins(oblique_scanner, "direct", False)
    _, data = random_pair(projector)
    single = replace(projector, threads=1).adjoint(data)
    monkeypatch.setattr(listmode, "PRIVATE_BYTES", 1)
    np.testing.assert_array_equal(projector.adjoint(data), single)


def test_events_that_meet_in_one_bin_add_up(oblique_scanner: Scanner) -> None:
    once = ListModeProjector(oblique_scanner, "oblique", np.array([12]), np.array([3]), np.array([2]), np.array([5]))
    thrice = ListModeProjector(oblique_scanner, "oblique", *(np.full(3, index) for index in (12, 3, 2, 5)))
    np.testing.assert_allclose(thrice.adjoint(np.ones(3, np.float32)), 3 * once.adjoint(np.ones(1, np.float32)), rtol=1e-6)


def test_no_events_are_no_image(oblique_scanner: Scanner) -> None:
    none = np.zeros(0, dtype=int)
    projector = ListModeProjector(oblique_scanner, "oblique", none, none, none)
    assert projector(np.ones(oblique_scanner.image_shape, dtype=np.float32)).shape == (0,)
    assert not projector.adjoint(np.zeros(0, dtype=np.float32)).any()


def test_outside_the_field_of_view_nothing_is_seen(oblique_scanner: Scanner) -> None:
    projector = all_bins(oblique_scanner, "oblique", False)
    outside = ~np.broadcast_to(projector.field_of_view, oblique_scanner.image_shape)
    assert not projector(outside.astype(np.float32)).any()
    assert not projector.adjoint(np.ones(projector.sinogram_shape, dtype=np.float32))[outside].any()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("radial", 24, "events/radial: 24 is outside"),
        ("view", 10, "events/view: 10 is outside"),
        ("plane", 9, "events/plane: 9 is outside"),
        ("tof_bin", 13, "events/tof_bin: 13 is outside"),
        ("tof_bin", -1, "events/tof_bin: -1 is outside"),
    ],
)
def test_events_of_another_geometry_are_refused(oblique_scanner: Scanner, name: str, value: int, message: str) -> None:
    bins = {key: np.array([0, 1]) for key in ("radial", "view", "plane", "tof_bin")} | {name: np.array([0, value])}
    with pytest.raises(InputError, match=message):
        ListModeProjector(oblique_scanner, "direct", **bins)


def test_tof_bins_need_a_scanner_with_tof_and_one_an_event(oblique_scanner: Scanner) -> None:
    two = np.zeros(2, dtype=int)
    with pytest.raises(InputError, match="no time of flight"):
        ListModeProjector(replace(oblique_scanner, tof=None), "direct", two, two, two, two)
    with pytest.raises(InputError, match="one a line"):
        ListModeProjector(oblique_scanner, "direct", two, two, two, two[:1])


def test_wrong_shapes_are_refused(oblique_scanner: Scanner) -> None:
    projector = ListModeProjector(oblique_scanner, "direct", *(np.zeros(2, dtype=int),) * 3)
    with pytest.raises(ValueError, match="expected an array of shape"):
        projector(np.zeros((4, 4, 4), dtype=np.float32))
    with pytest.raises(ValueError, match="expected an array of shape"):
        projector.adjoint(np.zeros(3, dtype=np.float32))

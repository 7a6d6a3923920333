"""What follows from where a window lies is what a cut of the whole volume's would be."""

import numpy as np
import pytest

from petbench.errors import InputError
from petbench.methods.base import MORE_INPUTS
from petbench.preprocess.places import PLACED, coordinates, cut, placed_among

SHAPE = (5, 7, 4)
VOLUMES = {
    kind: np.random.default_rng(number).random(SHAPE, dtype=np.float32) for number, kind in enumerate(("low_dose", "mr", "standard_dose"))
}


def whole(kind):
    return PLACED[kind](VOLUMES, np.zeros(3, int), SHAPE)


def test_coordinates_run_from_minus_one_at_the_first_voxel_to_one_at_the_last():
    found = whole("coordinates")
    assert found.shape == (3, *SHAPE)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[:, 0, 0, 0], [-1, -1, -1])
    np.testing.assert_array_equal(found[:, -1, -1, -1], [1, 1, 1])
    for axis in range(3):
        steps = np.diff(found[axis], axis=axis)
        np.testing.assert_allclose(steps, 2 / (SHAPE[axis] - 1), rtol=1e-5)
        assert all(not np.diff(found[axis], axis=other).any() for other in range(3) if other != axis)


def test_a_volume_one_voxel_thick_has_coordinates():
    assert np.isfinite(coordinates({"mr": np.zeros((3, 4, 1))}, np.zeros(3, int), (3, 4, 1))).all()


@pytest.mark.parametrize("kind", ["coordinates"])
@pytest.mark.parametrize(
    ("start", "window"), [((1, 2, 0), (3, 3, 2)), ((0, 0, 3), (5, 7, 1)), ((2, 0, 0), (1, 7, 4)), ((0, 3, 0), (5, 1, 4))]
)
def test_a_windows_own_are_those_of_its_volume_cut_there(kind, start, window):
    place = (slice(None), *(slice(first, first + width) for first, width in zip(start, window, strict=True)))
    expected = whole(kind)[place]
    found = cut(kind, VOLUMES, np.array(start), window)
    np.testing.assert_allclose(found, expected.reshape(len(expected), *(width for width in window if width > 1)), atol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_lies_between_its_neighbours_and_stands_in_for_those_beyond_the_volume(axis):
    window = tuple(1 if own == axis else side for own, side in enumerate(SHAPE))
    for place in range(SHAPE[axis]):
        found = cut("neighbours", VOLUMES, np.eye(3, dtype=int)[axis] * place, window)
        near = [place + step if 0 <= place + step < SHAPE[axis] else place for step in (-2, -1, 0, 1, 2)]
        np.testing.assert_array_equal(found, np.moveaxis(VOLUMES["low_dose"], axis, 0)[near])
    np.testing.assert_array_equal(found[2], cut("low_dose", VOLUMES, np.eye(3, dtype=int)[axis] * place, window)[0])


def test_only_slices_have_neighbours():
    with pytest.raises(InputError, match=r"\[3, 3, 2\] voxels is no slice"):
        cut("neighbours", VOLUMES, np.zeros(3, int), (3, 3, 2))


def test_volumes_are_cut_with_one_channel():
    found = cut("mr", VOLUMES, np.array([1, 0, 2]), (3, 7, 1))
    np.testing.assert_array_equal(found, VOLUMES["mr"][None, 1:4, :, 2])


def test_methods_are_told_of_every_kind_and_its_channels():
    taught = "standard_dose_neighbours"  # never an input
    assert [*placed_among(["low_dose", *MORE_INPUTS, "standard_dose"]), taught] == list(PLACED)
    for kind in placed_among(list(MORE_INPUTS)):
        assert len(cut(kind, VOLUMES, np.zeros(3, int), (5, 7, 1))) == MORE_INPUTS[kind].channels

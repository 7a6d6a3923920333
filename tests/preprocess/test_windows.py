import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from petbench.errors import InputError
from petbench.preprocess.windows import filled_slices, slice_positions, spatial_shape, thin_axis, window_slices, window_starts


@st.composite
def layouts(draw):
    shape = draw(st.tuples(*[st.integers(1, 12)] * 3))
    window = tuple(draw(st.integers(1, size)) for size in shape)
    stride = tuple(draw(st.integers(1, width)) for width in window)
    return shape, window, stride


@given(layouts())
def test_windows_lie_inside_and_cover_every_voxel_without_repeats(layout):
    shape, window, stride = layout
    starts = window_starts(shape, window, stride)
    assert len(np.unique(starts, axis=0)) == len(starts)
    assert (starts >= 0).all()
    assert (starts + window <= shape).all()
    count = np.zeros(shape, int)
    for start in starts:
        assert count[window_slices(start, window)].shape == window
        count[window_slices(start, window)] += 1
    assert (count > 0).all()


def test_the_729_patches_of_the_papers():
    starts = window_starts([128, 128, 128], [64, 64, 64], [8, 8, 8])
    assert starts.shape == (729, 3)
    assert starts.max() == 64


def test_a_last_window_reaches_the_far_edge():
    assert window_starts([10, 4, 4], [4, 4, 4], [4, 4, 4])[:, 0].tolist() == [0, 4, 6]


def test_slices_are_windows_one_voxel_thick():
    starts = window_starts([8, 9, 5], [8, 9, 1], [8, 9, 1])
    assert starts.tolist() == [[0, 0, z] for z in range(5)]
    assert spatial_shape([8, 9, 1]) == (8, 9)
    assert spatial_shape([8, 1, 9]) == (8, 9)
    assert spatial_shape([8, 9, 10]) == (8, 9, 10)


@pytest.mark.parametrize(("axis", "slices"), [(2, [1, 4, 2]), (1, [8]), (0, [0, 7])])
def test_slices_are_chosen_along_the_axis_that_windows_are_thin_along(axis, slices):
    shape = [8, 9, 5]
    window = [1 if each == axis else 3 for each in range(3)]
    starts = window_starts(shape, window, window, slices)
    everywhere = window_starts(shape, window, window)
    np.testing.assert_array_equal(starts, everywhere[np.isin(everywhere[:, axis], slices)])
    assert sorted(set(starts[:, axis])) == sorted(slices)


@pytest.mark.parametrize(
    ("window", "slices", "message"),
    [
        ([8, 9, 1], [4, 5], r"slice 5 is not among the 5 along axis 2 \(0 to 4\)"),
        ([8, 9, 1], [-1], "slice -1"),
        ([8, 9, 2], [1], "only windows one voxel thick"),
        ([8, 1, 1], [1], "only windows one voxel thick along one axis"),
    ],
)
def test_slices_that_there_are_not_are_refused(window, slices, message):
    with pytest.raises(InputError, match=message):
        window_starts([8, 9, 5], window, window, slices)


@pytest.mark.parametrize(
    ("window", "stride", "message"),
    [((4, 9, 4), (4, 4, 4), "window: 9 voxels along axis 1"), ((4, 4, 4), (4, 4, 5), "stride: 5"), ((4, 4, 4), (0, 4, 4), "stride: 0")],
)
def test_windows_that_do_not_fit_are_refused(window, stride, message):
    with pytest.raises(InputError, match=message):
        window_starts((8, 8, 8), window, stride)


@given(st.integers(1, 40), st.integers(1, 40))
def test_uniform_slices_are_as_many_as_asked_for_and_evenly_spaced(size, count):
    window = [5, 1, 5]
    if count > size:
        with pytest.raises(InputError, match=f"slices/uniform: {count} slices, and there are {size}"):
            slice_positions([5, size, 5], window, {"uniform": count})
        return
    axis, positions = slice_positions([5, size, 5], window, {"uniform": count})
    assert axis == thin_axis(window) == 1
    assert len(set(positions)) == count
    gaps = np.diff(positions)
    assert count == 1 or gaps.max() - gaps.min() <= 1
    # as much of the volume lies before the first slice as behind the last
    assert abs(positions[0] - (size - 1 - positions[-1])) <= 1


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_slice_is_empty_by_its_sum_not_by_its_loudest_voxel(axis):
    volume = np.zeros((6, 6, 6))
    place = np.moveaxis(volume, axis, 0)
    place[2:5] = 1.0
    place[3] = 2.0
    place[0, 3, 3] = 5.0  # one loud voxel of noise
    assert filled_slices(volume, axis, 0.1).tolist() == [False, False, True, True, True, False]
    assert filled_slices(volume, axis, 0.6).tolist() == [False, False, False, True, False, False]
    assert filled_slices(volume, axis, 0.0).all()

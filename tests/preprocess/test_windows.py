import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from petbench.errors import InputError
from petbench.preprocess.windows import spatial_shape, window_slices, window_starts


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


@pytest.mark.parametrize(
    ("window", "stride", "message"),
    [((4, 9, 4), (4, 4, 4), "window: 9 voxels along axis 1"), ((4, 4, 4), (4, 4, 5), "stride: 5"), ((4, 4, 4), (0, 4, 4), "stride: 0")],
)
def test_windows_that_do_not_fit_are_refused(window, stride, message):
    with pytest.raises(InputError, match=message):
        window_starts((8, 8, 8), window, stride)

"""Where windows meet nothing must show: the jump across their borders is that inside them."""

import numpy as np
import pytest
import torch
from torch import nn

from petbench.preprocess.windows import half, taper, window_slices, window_starts
from petbench.restoration.restore import stitch

SHAPE = (40, 36, 44)
LOW_DOSE, MR = np.random.default_rng(0).random((2, *SHAPE), dtype=np.float32)


class Padded(nn.Module):
    """Blurs by two convolutions of random positive weights that see zeros beyond their window, so that its edges come out too dark."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        convolution = nn.Conv3d if dims == 3 else nn.Conv2d
        self.network = nn.Sequential(*(convolution(1, 1, 3, padding=1, bias=False) for _ in range(2)))
        for parameter in self.parameters():
            parameter.data = torch.rand(parameter.shape)
            parameter.data /= parameter.sum()

    def restore(self, low_dose, mr):
        return self.network(low_dose)


def seam_ratio(volume, window, stride):
    """Mean jump between voxels on either side of windows' borders, over that 2 and 4 voxels away from them, inside windows.

    The planes compared with are an even number of voxels away: a network that halves its grid has a pattern of its own of that period.
    """
    starts, at_borders, inside = window_starts(volume.shape, window, stride), [], []
    for axis, size in enumerate(volume.shape):
        edges = {int(start) for start in starts[:, axis]} | {int(start) + window[axis] for start in starts[:, axis]}
        borders = {edge - 1 for edge in edges if 0 < edge < size}
        jumps = np.abs(np.diff(volume.astype(np.float64), axis=axis)).mean(axis=tuple({0, 1, 2} - {axis}))
        for border in borders:
            near = [
                jumps[place] for place in (border + step for step in (-4, -2, 2, 4)) if place not in borders and 0 <= place < len(jumps)
            ]
            if near:
                at_borders.append(jumps[border])
                inside.append(np.mean(near))
    return np.mean(at_borders) / np.mean(inside)


def both(restorer, window, stride):
    return {blend: stitch(restorer, LOW_DOSE, MR, window, stride, 64, "cpu", blend=blend) for blend in ("taper", "average")}


@pytest.mark.parametrize("stride", [None, (8, 8, 8), (4, 8, 4), (12, 12, 12)])
def test_borders_of_windows_do_not_show_when_tapered_and_do_when_averaged(stride):
    torch.manual_seed(3)
    window = (16, 16, 16)
    stride = half(window) if stride is None else stride
    ratios = {blend: seam_ratio(volume, window, stride) for blend, volume in both(Padded(3), window, stride).items()}
    assert ratios["taper"] < 1.1 < ratios["average"]


def test_borders_of_slices_cut_in_their_plane_do_not_show_either():
    torch.manual_seed(3)
    window, stride = (16, 16, 1), (8, 8, 1)
    found = both(Padded(2), window, stride)
    # Along the third axis every step is one from slice to slice: only borders in the plane are measured.
    ratios = {blend: np.mean([seam_ratio(plane[..., None], window, stride) for plane in volume.T]) for blend, volume in found.items()}
    assert ratios["taper"] < 1.1 < ratios["average"]


def test_weights_of_windows_half_a_window_apart_add_up_to_one():
    weights = np.zeros((24, 16, 12))
    for start in window_starts(weights.shape, (8, 8, 8), (4, 4, 4)):
        weights[window_slices(start, (8, 8, 8))] += taper((8, 8, 8))
    np.testing.assert_allclose(weights[4:-4, 4:-4, 4:-4], 1, rtol=1e-12)


@pytest.mark.parametrize("window", [(1, 5, 8), (64, 64, 64), (256, 256, 1)])
def test_weights_are_positive_symmetric_and_largest_in_the_middle(window):
    weights = taper(window)
    assert weights.shape == window
    assert weights.min() > 0
    np.testing.assert_allclose(weights, weights[::-1, ::-1, ::-1])
    assert weights[tuple(size // 2 for size in window)] == weights.max()


def test_what_one_window_alone_covers_has_its_value_up_to_the_corner(identity):
    found = stitch(identity, LOW_DOSE, MR, (16, 16, 16), (16, 16, 16), 4, "cpu")
    np.testing.assert_allclose(found, LOW_DOSE, rtol=1e-6)

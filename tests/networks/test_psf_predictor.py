import pytest
import torch

from petbench.errors import InputError
from petbench.evaluation.complexity import complexity
from petbench.networks.psf_predictor import PSFPredictor, distance_to_middle

WINDOW = torch.rand(1, 11, 11, 11)


@pytest.mark.parametrize("size", [11, 15, 21])
def test_one_set_of_weights_makes_kernels_of_every_size(size):
    kernels = PSFPredictor(channels=4, blocks=1)(torch.rand(2, size, size, size))
    assert kernels.shape == (2, size, size, size)
    assert kernels.min() >= 0
    torch.testing.assert_close(kernels.sum(dim=(1, 2, 3)), torch.ones(2))


def test_a_kernel_may_lose_what_leaves_it():
    network = PSFPredictor(channels=4, blocks=1, loses=True)
    with torch.no_grad():
        network.score.weight.zero_()
        network.leaving.weight.zero_()
        network.leaving.bias.fill_(torch.tensor(5.0**3).log())
    torch.testing.assert_close(network(torch.rand(2, 5, 5, 5)).sum(dim=(1, 2, 3)), torch.full((2,), 0.5))


def test_size_of_the_published_network():
    """Two channels to 16, eight 16-to-16 convolutions and a score, over 11^3 voxels: 149.6 MFLOP."""
    cost = complexity(PSFPredictor(), [WINDOW])
    assert cost["parameters"] == (2 * 16 * 27 + 16 + 1) + 4 * (2 * 16 * 16 * 27 + 1) + 16
    assert cost["gflop"] == pytest.approx(2 * 11**3 * (2 * 16 * 27 + 8 * 16 * 16 * 27 + 16) / 1e9, rel=1e-6)


def test_the_prediction_depends_on_the_distance_to_the_middle():
    """In a homogeneous medium convolutions of the attenuation alone would be flat away from the edges."""
    kernel = PSFPredictor()(torch.ones(1, 21, 21, 21))[0]
    assert (kernel[10, 10, 8:10] - kernel[10, 10, 10]).abs().min() > 1e-9


def test_the_distance_runs_from_minus_one_in_the_corners_to_zero():
    distance = distance_to_middle(5)
    assert distance[2, 2, 2] == 0
    torch.testing.assert_close(distance[[0, 4, 2], [0, 4, 2], [0, 0, 0]], torch.tensor([-1.0, -1.0, -(3**-0.5)]))


@pytest.mark.parametrize("shape", [(1, 4, 4, 4), (1, 5, 5, 3)])
def test_media_without_a_middle_voxel_are_refused(shape):
    with pytest.raises(InputError, match="odd size"):
        PSFPredictor(channels=2, blocks=1)(torch.rand(shape))

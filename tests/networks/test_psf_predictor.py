import pytest
import torch
import torch.nn.functional as F

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
        network.score.bias.zero_()
        network.leaving.weight.zero_()
        network.leaving.bias.fill_(torch.tensor(5.0**3).log())
    torch.testing.assert_close(network(torch.rand(2, 5, 5, 5)).sum(dim=(1, 2, 3)), torch.full((2,), 0.5))


def test_size_of_the_published_network():
    """Two channels to 16, eight 16-to-16 convolutions and a score with its bias, over 11^3 voxels: 149.6 MFLOP, 56,198 parameters."""
    cost = complexity(PSFPredictor(), [WINDOW])
    assert cost["parameters"] == (2 * 16 * 27 + 16 + 1) + 4 * (2 * 16 * 16 * 27 + 1) + 17 == 56_198
    assert cost["gflop"] == pytest.approx(2 * 11**3 * (2 * 16 * 27 + 8 * 16 * 16 * 27 + 16) / 1e9, rel=1e-6)


def written_out(state: dict[str, torch.Tensor], mu: torch.Tensor) -> torch.Tensor:
    """The network of the paper's figure 2 and its authors' code, in functions: kernels of media (B, K, K, K)."""
    places = torch.linspace(-1, 1, mu.shape[-1])
    far = -(places[:, None, None] ** 2 + places[:, None] ** 2 + places**2).sqrt() / 3**0.5
    features = torch.stack([mu, far.expand_as(mu)], dim=1)
    features = F.prelu(F.conv3d(features, state["stem.0.weight"], state["stem.0.bias"], padding=1), state["stem.1.weight"])
    for block in range(sum(name.endswith("first.weight") for name in state)):
        first, bend, second = (state[f"blocks.{block}.{part}.weight"] for part in ("first", "activation", "second"))
        inner = F.prelu(F.conv3d(features, first, padding=1), bend)
        features = F.prelu(F.conv3d(inner, second, padding=1) + features, bend)
    scores = F.conv3d(features, state["score.weight"], state["score.bias"])
    return scores.flatten(1).softmax(dim=1).reshape(mu.shape)


def test_the_network_is_the_published_one():
    """The PReLU after each sum, missing once, moved kernels by a tenth where their largest value was .03."""
    torch.manual_seed(1)
    network, mu = PSFPredictor(channels=6, blocks=3).double(), torch.rand(2, 7, 7, 7, dtype=torch.float64)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    inputs = {name: tensor.double() for name, tensor in network.state_dict().items()}
    assert set(inputs) == {name for name, _ in network.named_parameters()}
    torch.testing.assert_close(network(mu), written_out(inputs, mu).to(network(mu).dtype), rtol=0, atol=1e-6)


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

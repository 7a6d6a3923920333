import pytest
import torch

from petbench.errors import InputError
from petbench.networks.song_unet import SongUNet

SMALL = {"in_channels": 3, "out_channels": 1, "width": 8, "multipliers": [1, 2], "blocks": 1, "dropout": 0.0}


@pytest.fixture
def loud():
    """A network whose last layers of blocks are drawn as the first are, so that everything counts."""

    def make(dims):
        torch.manual_seed(0)
        network = SongUNet(dims, **SMALL).eval()
        for parameter in network.parameters():
            if parameter.ndim > 1 and float(parameter.detach().abs().max()) < 1e-3:
                torch.nn.init.xavier_uniform_(parameter)
        return network

    return make


@pytest.mark.parametrize("dims", [2, 3])
def test_every_condition_and_the_noise_change_the_image_everywhere(loud, dims):
    network, images, noise = loud(dims), torch.randn(2, 3, *[8] * dims), torch.tensor([-1.0, 0.5])
    output = network(images, noise)
    assert output.shape == (2, 1, *[8] * dims)
    for channel in range(3):
        changed = images.clone()
        changed[:, channel, *[0] * dims] += 1  # in a corner: normalisation and attention carry it to the other
        assert (network(changed, noise) != output).flatten(1).any(1).all()
    assert not torch.allclose(network(images, noise.flip(0)), output)


@pytest.mark.parametrize("dims", [2, 3])
def test_it_starts_all_but_silent_and_learns_at_once(dims):
    torch.manual_seed(0)
    network = SongUNet(dims, **SMALL)
    output = network(torch.randn(2, 3, *[8] * dims), torch.zeros(2))
    assert 0 < float(output.detach().abs().max()) < 1e-3
    output.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


def test_an_image_that_cannot_be_halved_is_refused():
    with pytest.raises(InputError, match="make every side a multiple of 2"):
        SongUNet(2, **SMALL)(torch.zeros(1, 3, 7, 8), torch.zeros(1))

"""PCSA-GAN's blocks, generator and discriminator, and the classifier of its studies."""

import pytest
import torch

from petbench.errors import InputError
from petbench.networks.pcsa_generator import OUTPUTS, PCSAGenerator
from petbench.networks.pyramid import ChannelAttention, PyramidBlock, ResidualBlock, SelfAttention
from petbench.networks.volume_classifier import VolumeClassifier
from petbench.networks.volume_discriminator import VolumeDiscriminator

SMALL = {"filters": [[1, 2, 2], [2, 4]], "deep": 8, "residual_blocks": 1, "gate": "softmax", "pyramid": True, "skips": True}


def generator(**change):
    return PCSAGenerator(**(SMALL | {"attention_grid": 4, "output": "leaky_relu"} | change))


def grids(network, side=64):
    """Side of the grid of every convolution's input, in the order they run."""
    seen = []
    for module in network.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0].shape[-1], output.shape[-1], output.shape[1])))
    network(torch.rand(1, 1, side, side, side))
    return seen


def test_a_softmax_shares_out_weights_that_sum_to_the_channels_and_a_sigmoid_stays_below_one():
    features = torch.randn(3, 6, 4, 4, 4)
    shares = ChannelAttention(6, "softmax").weights(features)
    torch.testing.assert_close(shares.sum(dim=1), torch.full((3,), 6.0))
    gates = ChannelAttention(6, "sigmoid").weights(features)
    assert ((gates > 0) & (gates < 1)).all()


@pytest.mark.parametrize("channels", [2, 4, 8])  # 4 and 8 as published
def test_a_channel_attention_seldom_starts_dead(channels):
    """Its inputs are not negative, so that a hidden unit which is off for one image is off for all."""
    dead = 0
    for seed in range(40):
        torch.manual_seed(seed)
        attention = ChannelAttention(channels, "softmax")
        (attention.weights(torch.rand(3, channels, 4, 4, 4)) * torch.arange(channels)).sum().backward()
        dead += not attention.average[0].weight.grad.any()
    assert dead <= 0.25 * 40


def test_attention_weighs_each_group_by_itself():
    block = PyramidBlock(1, (5, 3), (2, 3), "softmax", pyramid=True)
    features = torch.rand(2, 1, 8, 8, 8)
    weighed = block(features)
    plain = [block.pool(convolve(features).relu()) for convolve in block.convolutions]
    for group, attention, part in zip(plain, block.attentions, weighed.split([2, 3], dim=1), strict=True):
        torch.testing.assert_close(part, group * attention.weights(group)[..., None, None, None])
    assert weighed.shape == (2, 5, 4, 4, 4)


def test_self_attention_is_the_literal_sum_and_starts_as_nothing():
    layer, features = SelfAttention(8), torch.randn(2, 8, 3, 3, 3)
    assert torch.equal(layer(features), features)
    torch.nn.init.constant_(layer.weight, 0.7)
    query, key, value = (part(features).flatten(2) for part in (layer.query, layer.key, layer.value))
    weights = (query.transpose(1, 2) @ key).softmax(dim=-1)
    expected = features + 0.7 * (value @ weights.transpose(1, 2)).reshape(features.shape)
    torch.testing.assert_close(layer(features), expected, rtol=1e-4, atol=1e-5)


def test_a_residual_block_of_zeros_passes_features_on():
    block, features = ResidualBlock(4), torch.rand(1, 4, 5, 5, 5)
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(block(features), features)


def test_the_grids_are_64_32_16_4_and_back():
    network = generator(filters=[[4, 8, 12], [36, 60]], deep=192, attention_grid=0)
    seen = grids(network)
    assert [(grid, channels) for grid, _, channels in seen[:3]] == [(64, 4), (64, 8), (64, 12)]
    assert [(grid, channels) for grid, _, channels in seen[3:5]] == [(32, 36), (32, 60)]
    assert seen[5] == (16, 8, 192)
    assert {grid for grid, _, _ in seen[6:-3]} == {4}
    assert [(grid, channels) for grid, _, channels in seen[-3:]] == [(16, 96), (32, 24), (64, 1)]
    kernels = [convolution.kernel_size[0] for block in network.down for convolution in block.convolutions]
    assert kernels == [7, 5, 3, 5, 3]


@pytest.mark.parametrize("grid", [4, 16, 32])
def test_attention_sees_the_grid_it_is_named_by_at_64_voxels(grid):
    network, seen = generator(attention_grid=grid), []
    network.attention.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].shape[-1]))
    with torch.no_grad():
        network(torch.rand(1, 1, 16, 16, 16))
    assert seen == [grid * 16 // 64]


CHANGES = [{}, {"pyramid": False}, {"attention_grid": 0}, {"skips": False}, {"output": "softplus"}, {"output": "relu"}, {"gate": "sigmoid"}]


@pytest.mark.parametrize("change", CHANGES)
def test_every_part_learns_and_the_shape_is_kept(change):
    network, mr = generator(**change), torch.rand(1, 1, 16, 16, 32)
    if network.attention is not None:
        torch.nn.init.ones_(network.attention.weight)
    made = network(mr)
    assert made.shape == mr.shape
    made.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def head():
    """Grey matter, a shell, the brain in which it lies, and PET."""
    radius = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 16)] * 3, indexing="ij")).square().sum(0).sqrt()[None, None]
    grey, brain = ((radius < 0.7) & (radius > 0.45)).float(), radius < 0.7
    return grey, brain, 0.3 * brain + 0.5 * grey


def taught_in_the_brain(output, pyramid, seed):
    """Largest gradient, of any weight, that the error inside the brain has at the start."""
    torch.manual_seed(seed)
    grey, brain, pet = head()
    network = generator(output=output, pyramid=pyramid)
    (network(grey) - pet)[brain].abs().mean().backward()
    return max(float(parameter.grad.abs().max()) for parameter in network.parameters())


@pytest.mark.parametrize("output", ["leaky_relu", "softplus", "linear"])
@pytest.mark.parametrize("pyramid", [True, False])
def test_nobody_starts_dead_in_the_brain(output, pyramid):
    assert min(taught_in_the_brain(output, pyramid, seed) for seed in range(12)) > 0.005


def test_with_the_papers_relu_some_start_dead_in_the_brain():
    assert 0 in [taught_in_the_brain("relu", False, seed) for seed in range(12)]


@pytest.mark.parametrize("output", ["leaky_relu", "softplus", "relu"])
def test_restored_pet_is_not_negative_and_what_is_bright_stays_as_it_is(output):
    made = torch.linspace(-2, 2, 401)
    restored, trained = (OUTPUTS[output](made, training) for training in (False, True))
    assert (restored >= 0).all()
    assert (restored - made)[made > 0.5].abs().max() < 1e-3
    torch.testing.assert_close(trained[made > 0], restored[made > 0])
    torch.testing.assert_close(OUTPUTS["linear"](made, False), made)


@pytest.mark.parametrize(("output", "returns"), [("leaky_relu", True), ("relu", False)])
def test_sa_gan_gone_dark_comes_back(output, returns):
    grey, brain, pet = head()
    network = generator(output=output, pyramid=False)
    torch.nn.init.constant_(network.up[-1].bias, -0.5)
    assert (network.eval()(grey) == 0).all()
    optimiser = torch.optim.Adam(network.train().parameters(), lr=5e-3)
    for _ in range(150):
        optimiser.zero_grad()
        (network(grey) - pet).abs().mean().backward()
        optimiser.step()
    made = network.eval()(grey).detach()
    assert (float(made[brain].mean()) > 0.2) is returns
    assert returns or (made == 0).all()


def test_without_a_pyramid_there_are_as_many_channels_from_one_kernel():
    network = generator(pyramid=False)
    assert [[c.kernel_size[0] for c in block.convolutions] for block in network.down] == [[3], [3]]
    assert [[c.out_channels for c in block.convolutions] for block in network.down] == [[5], [6]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention_grid": 8}, "network/attention_grid: 8 is unknown; choose one of 0, 4, 16, 32"),
        ({"gate": "tanh"}, "network/gate: 'tanh' is unknown; choose one of softmax, sigmoid"),
        ({"output": "tanh"}, "network/output: 'tanh' is unknown"),
        ({"filters": [[1, 2], [2, 4]]}, "network/filters: 2 groups for 3 kernel sizes"),
    ],
)
def test_what_it_does_not_know_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        generator(**change)


def test_a_side_that_is_no_multiple_of_16_is_refused():
    with pytest.raises(InputError, match="multiple of 16"):
        generator()(torch.rand(1, 1, 16, 16, 24))


def test_the_discriminator_gives_one_logit_and_every_layer_learns():
    network = VolumeDiscriminator(2, [2, 4, 4, 8])
    logits = network(torch.rand(3, 2, 16, 16, 16))
    assert logits.shape == (3, 1)
    logits.sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    assert sum(isinstance(module, ResidualBlock) for module in network.modules()) == 3


@pytest.mark.parametrize(("channels", "head"), [([4, 8], "mean"), ([4, 8], "voxels"), ([], "voxels")])
def test_the_classifier_gives_one_logit_a_person_whatever_the_company(channels, head):
    network = VolumeClassifier(2, (16, 16, 16), channels, "batch", 0.2, head).eval()
    volumes = torch.rand(3, 2, 16, 16, 16)
    logits = network(volumes)
    assert logits.shape == (3,)
    torch.testing.assert_close(network(volumes[1:2]), logits[1:2])

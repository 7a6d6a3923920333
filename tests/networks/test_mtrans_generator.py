import pytest
import torch
from torch import nn

from petbench.errors import InputError
from petbench.networks.mtrans_generator import FeatureIntegration, MTransGenerator, TokenLayer, TokenTransformer

SMALL = {
    "spatial_dims": 3,
    "channels": [4, 8, 8],
    "convolutions": [1, 2, 2],
    "normalisation": "none",
    "skips": "fused",
    "tokens": 8,
    "layers": 2,
    "heads": 2,
    "hidden": 8,
    "dropout": 0.0,
    "positions": [4, 4, 4],
    "range": [-3.0, 3.0],
}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("skips", ["pet", "fused"])
@pytest.mark.parametrize("normalisation", ["none", "batch", "instance"])
def test_grid_is_kept(dims, skips, normalisation):
    network = MTransGenerator(**SMALL | {"spatial_dims": dims, "skips": skips, "normalisation": normalisation, "positions": [4] * dims})
    windows = torch.rand(2, 1, 16, *[24] * (dims - 1))
    assert network(windows, windows).shape == windows.shape


@pytest.mark.parametrize("bounds", [[-3.0, 3.0], [-0.5, 1.5]])
def test_what_is_restored_reaches_its_range_and_stays_in_it(bounds):
    network = MTransGenerator(**SMALL | {"range": bounds})
    windows = torch.rand(1, 1, 8, 8, 8)
    for bias, bound in zip((-50.0, 50.0), bounds, strict=True):
        nn.init.constant_(network.head.bias, bias)
        torch.testing.assert_close(network(windows, windows), torch.full_like(windows, bound))


def test_it_restores_in_32_bit_under_autocast():
    network, windows = MTransGenerator(**SMALL), torch.rand(2, 1, 16, 16, 16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        restored = network(windows, windows)
    assert restored.dtype == torch.float32
    assert restored.unique().numel() > 0.5 * restored.numel()  # bf16 would leave some hundreds of values


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"skips": "none"}, "network/skips"),
        ({"convolutions": [1, 2]}, "network/convolutions"),
        ({"range": [1.0, 1.0]}, "network/range"),
        ({"heads": 3}, "network/heads"),
        ({"positions": [4, 4]}, "network/positions"),
    ],
)
def test_what_does_not_fit_is_named(change, named):
    with pytest.raises(InputError, match=named):
        MTransGenerator(**SMALL | change)


def test_a_window_that_cannot_be_halved_is_refused():
    windows = torch.rand(1, 1, 8, 8, 10)
    with pytest.raises(InputError, match="multiple of 4"):
        MTransGenerator(**SMALL)(windows, windows)


def test_fusion_is_all_pet_or_all_mr_at_the_ends_of_its_weights(monkeypatch):
    fusion, pet, mr = FeatureIntegration(3, 4), *torch.randn(2, 1, 4, 3, 3, 3)
    for share, chosen in ((1.0, fusion.pet(pet)), (0.0, fusion.mr(mr))):
        monkeypatch.setattr(fusion, "weights", lambda pet, mr, share=share: torch.full_like(pet, share))
        torch.testing.assert_close(fusion(pet, mr), fusion.output(chosen))


def test_fusion_weights_know_their_place_and_the_window():
    """A place's weight follows from what is there, the same for all channels, and each channel's from the whole window."""
    fusion, pet, mr = FeatureIntegration(3, 4), *torch.randn(2, 1, 4, 4, 4, 4)
    changed = pet.clone()
    changed[..., 0, 0, 0] += 5.0
    before, after = (fusion.weights(image, mr).logit() for image in (pet, changed))
    moved = (after - before).flatten(2)
    assert moved[..., 1:].std(2).max() < 1e-4  # elsewhere only the window's average has changed
    assert moved[..., 1:].abs().max() > 1e-4
    here = moved[..., 0] - moved[..., 1]
    assert here.abs().min() > 1e-2
    torch.testing.assert_close(here, here[:, :1].expand_as(here), rtol=1e-3, atol=1e-4)


def transformer(**change):
    keys = {"channels": 4, "width": 16, "layers": 2, "heads": 2, "hidden": 16, "dropout": 0.0, "positions": [16, 1, 1]}
    return TokenTransformer(3, **keys | {"normalisation": "none"} | change)


def test_tokens_bring_what_is_far_away():
    """What the first voxel of a line holds is brought to its last, which no convolution before or behind the layers sees."""
    network, line = transformer(), torch.randn(1, 4, 16, 1, 1)
    changed = line.clone()
    changed[:, :, 0] += 3.0

    def at_the_end():
        return (network(changed) - network(line))[:, :, -4:].abs().max().item()

    assert at_the_end() > 1e-3
    for layer in network.layers:
        layer.register_forward_hook(lambda module, inputs, output: inputs[0])
    assert at_the_end() == 0


def test_tokens_learn_to_use_what_is_far_away():
    """Trained to give everywhere what only the first voxel holds, it does; without its layers it no longer knows."""
    network, head = transformer(channels=8, width=32, hidden=32), nn.Conv3d(8, 1, 1)
    optimiser = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=1e-2)

    def error(seed):
        draw = torch.Generator().manual_seed(seed)
        held = 2 * torch.rand(32, 1, 1, 1, 1, generator=draw)
        lines = 0.3 * torch.randn(32, 8, 16, 1, 1, generator=draw)
        lines[:, :1, :1] = held
        return (head(network(lines)) - held)[:, :, 4:].square().mean()

    for step in range(120):
        optimiser.zero_grad()
        error(step).backward()
        optimiser.step()
    with torch.no_grad():
        assert error(-1) < 0.03  # of a variance of 0.33
        for layer in network.layers:
            layer.register_forward_hook(lambda module, inputs, output: inputs[0])
        assert error(-1) > 0.3


def test_positions_are_those_learnt_and_between_them_elsewhere():
    network = transformer(positions=[4, 4, 4])
    ramp = torch.arange(4.0).reshape(4, 1, 1).expand(1, 16, 4, 4, 4)
    network.positions.data.copy_(ramp)
    assert network.positions_on((4, 4, 4)) is network.positions
    finer = network.positions_on((8, 2, 4))
    assert finer.shape == (1, 16, 8, 2, 4)
    torch.testing.assert_close(finer[0, 0, 1:-1, 0, 0], torch.arange(0.25, 3.0, 0.5))


def test_the_same_tokens_are_told_apart_by_their_positions():
    network, alike = transformer(), torch.ones(1, 4, 16, 1, 1)
    middle = network(alike)[:, :, 4:-4]
    torch.testing.assert_close(middle, middle[:, :, :1].expand_as(middle), rtol=1e-4, atol=1e-5)
    nn.init.normal_(network.positions)
    assert network(alike)[:, :, 4:-4].std(2).max() > 1e-2


def test_a_layer_is_the_usual_one():
    """PyTorch's own pre-normalised encoder layer with the same weights gives the same, and the same gradient."""
    layer = TokenLayer(16, 2, 24, 0.0)
    reference = nn.TransformerEncoderLayer(16, 2, 24, dropout=0.0, batch_first=True, norm_first=True)
    attention, last = reference.self_attn, layer.feed_forward
    pairs = [(attention.in_proj_weight, layer.project.weight), (attention.in_proj_bias, layer.project.bias)]
    modules = [(attention.out_proj, layer.output), (reference.norm1, layer.norm), (reference.norm2, last[0])]
    modules += [(reference.linear1, last[1]), (reference.linear2, last[4])]
    for theirs, ours in [*pairs, *((a, b) for one, other in modules for a, b in ((one.weight, other.weight), (one.bias, other.bias)))]:
        theirs.data.copy_(ours)
    tokens = torch.randn(2, 8, 16, requires_grad=True)
    (theirs,) = torch.autograd.grad(reference(tokens).square().sum(), tokens)
    (ours,) = torch.autograd.grad(layer(tokens).square().sum(), tokens)
    torch.testing.assert_close(layer(tokens), reference(tokens))
    torch.testing.assert_close(ours, theirs)


def test_layers_are_awake_at_the_start():
    layer, tokens = TokenLayer(16, 2, 16, 0.0), torch.randn(2, 8, 16)
    assert (layer(tokens) - tokens).std() > 0.05

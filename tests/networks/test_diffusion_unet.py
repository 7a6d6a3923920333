import pytest
import torch
from torch import nn

from petbench.errors import InputError
from petbench.networks.diffusion_unet import Branch, DiffusionUNet, SelfAttention, TimeEmbedding, image_head
from petbench.networks.two_branch_unet import TwoBranchUNet

SMALL = {"spatial_dims": 2, "width": 4, "multipliers": [1, 2, 2], "blocks": 1, "attention": [2], "heads": 2, "head": "normalised"}


def test_attention_is_the_softmax_of_products():
    layer = SelfAttention(8, heads=2)
    nn.init.normal_(layer.out.weight)
    images = torch.randn(3, 8, 4, 5)
    rows = layer.normalise(images).flatten(2).transpose(1, 2)
    heads = [part.unflatten(-1, (2, 4)).transpose(1, 2) for part in layer.project(rows).chunk(3, dim=-1)]
    weights = torch.softmax(heads[0] @ heads[1].transpose(-1, -2) / 2, dim=-1)
    expected = images + layer.out((weights @ heads[2]).transpose(1, 2).flatten(2)).transpose(1, 2).reshape(images.shape)
    torch.testing.assert_close(layer(images), expected)


def test_a_plain_head_is_linear_in_the_features_and_a_normalised_one_forgets_their_level():
    features = torch.randn(2, 8, 6, 6)
    plain, normalised = (image_head(2, 8, 1, head) for head in ("plain", "normalised"))
    assert plain(features).std() > 0.1
    torch.testing.assert_close(plain(3 * features) - plain(0 * features), 3 * (plain(features) - plain(0 * features)))
    assert not normalised(features).any()
    nn.init.normal_(normalised[-1].weight)
    torch.testing.assert_close(normalised(3 * features), normalised(features), atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="network/head: 'linear' is unknown; choose one of plain, normalised"):
        image_head(2, 8, 1, "linear")


@pytest.mark.parametrize("dims", [2, 3])
def test_attention_has_no_order_of_positions(dims):
    layer = SelfAttention(4, heads=1)
    nn.init.normal_(layer.out.weight)
    images = torch.randn(2, 4, *[3] * dims)
    torch.testing.assert_close(layer(images.flip(2)), layer(images).flip(2))


def test_steps_are_told_apart():
    embedding = TimeEmbedding(7)(torch.arange(1000))
    assert embedding.shape == (1000, 28)
    assert torch.cdist(embedding, embedding).add(torch.eye(1000)).min() > 1e-4


def test_an_untrained_network_puts_out_zero_and_learns_everywhere():
    network = DiffusionUNet(**SMALL, in_channels=2, out_channels=1, dropout=0.0)
    images, time = torch.randn(2, 2, 8, 8), torch.tensor([3, 900])
    assert not network(images, time).any()
    for parameter in network.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    network(images, time).square().sum().backward()
    assert all(parameter.grad.any() for parameter in network.parameters())
    assert not torch.equal(network(images, time), network(images, time + 50))


def test_each_encoder_layer_has_its_decoder_layer():
    branch = Branch(**SMALL, in_channels=2, out_channels=1, dropout=0.0, decoder_dropout=0.0)
    embedding = torch.randn(1, 16)
    skips = branch.encode(torch.randn(1, 2, 8, 12), embedding)
    assert len(skips) == len(branch.encoder) == len(branch.decoder) == 6
    assert [skip.shape[1] for skip in skips] == list(branch.skip_channels) == [4, 4, 4, 8, 8, 8]
    assert [tuple(skip.shape[2:]) for skip in skips] == [(8, 12), (8, 12), (4, 6), (4, 6), (2, 3), (2, 3)]
    assert branch.decode(branch.bottom(skips, embedding), [(skip,) for skip in skips], embedding).shape == (1, 1, 8, 12)


def test_attention_sits_where_it_is_asked_for_and_not_in_the_mr_branch():
    dropout = {"encoder": 0.0, "pet_decoder": 0.0, "mr_decoder": 0.0}
    network = TwoBranchUNet(**SMALL, out_channels=1, dropout=dropout, hff="concat", bottleneck="separate", decoders=2)

    def attending(branch):
        return [name for name, module in branch.named_modules() if isinstance(module, SelfAttention)]

    assert [name.rsplit(".", 2)[0] for name in attending(network.pet)] == ["encoder.3", "middle", "decoder.2", "decoder.3"]
    assert attending(network.mr) == []


@pytest.mark.parametrize(("part", "rates"), [("encoder", (0.1, 0.2)), ("pet_decoder", (0.2, 0.1)), ("mr_decoder", (0.2, 0.2))])
def test_dropout_goes_where_it_is_said(part, rates):
    dropout = {"encoder": 0.2, "pet_decoder": 0.2, "mr_decoder": 0.2} | {part: 0.1}
    network = TwoBranchUNet(**SMALL, out_channels=1, dropout=dropout, hff="concat", bottleneck="separate", decoders=2)

    def of(module):
        return {layer.p for layer in module.modules() if isinstance(layer, nn.Dropout)}

    assert of(network.pet.encoder) == of(network.mr.encoder) == of(network.pet.middle) == {rates[0]}
    assert of(network.pet.decoder) == {rates[1]}
    assert of(network.mr.decoder) == {0.1 if part == "mr_decoder" else 0.2}

from itertools import permutations

import pytest
import torch
from torch.nn.functional import normalize

from petbench.errors import InputError
from petbench.networks.invertible import CouplingNode, InvertibleBranch
from petbench.networks.modality_fusion import ModalityFusion
from petbench.networks.restormer import ChannelAttention, TransformerBlock, WindowAttention

SMALL = {
    "spatial_dims": 2,
    "channels": 8,
    "encoder_blocks": 1,
    "decoder_blocks": 1,
    "heads": 2,
    "expansion": 2,
    "branches": ["global", "detail"],
    "attention": "channel",
    "window": 4,
    "nodes": 3,
    "fusion_nodes": 1,
    "detail_expansion": 2,
    "mixing": "permutation",
    "aggregation": "sum",
}


@pytest.mark.parametrize("dims", [2, 3])
def test_channel_attention_equals_a_loop_over_heads(dims):
    attention = ChannelAttention(dims, 6, heads=3)
    torch.nn.init.uniform_(attention.temperature, 0.5, 2.0)
    features = torch.randn(2, 6, *[5] * dims)
    query, key, value = attention.project(features).flatten(2).chunk(3, dim=1)
    heads = []
    for head, pair in enumerate([slice(0, 2), slice(2, 4), slice(4, 6)]):
        cosines = torch.einsum("bqn,bkn->bqk", normalize(query[:, pair], dim=2), normalize(key[:, pair], dim=2))
        heads.append((cosines * attention.temperature[head]).softmax(dim=2) @ value[:, pair])
    expected = attention.output(torch.cat(heads, dim=1).reshape(features.shape))
    torch.testing.assert_close(attention(features), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_window_attention_is_spatial_attention_of_each_window(dims):
    attention = WindowAttention(dims, 4, heads=2, window=3)
    features = torch.randn(2, 4, *[6] * dims)
    projected = attention.project(features)
    expected = torch.empty_like(features)
    for corner in torch.cartesian_prod(*[torch.tensor([0, 3])] * dims).tolist():
        place = (slice(None), slice(None), *(slice(first, first + 3) for first in corner))
        query, key, value = projected[place].flatten(2).unflatten(1, (3, 2, 2)).unbind(1)
        cosines = torch.einsum("bhcq,bhck->bhqk", normalize(query, dim=2), normalize(key, dim=2))
        mixed = torch.einsum("bhqk,bhck->bhcq", cosines.softmax(dim=3), value)
        expected[place] = mixed.reshape(expected[place].shape)
    torch.testing.assert_close(attention(features), attention.output(expected), atol=1e-5, rtol=1e-4)


def test_windows_must_tile_the_image():
    with pytest.raises(InputError, match="make every side a multiple"):
        WindowAttention(2, 4, heads=2, window=3)(torch.rand(1, 4, 6, 8))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("mixing", "exact"), [("permutation", 1e-10), ("orthogonal", 1e-5)])  # a rotation starts in 32-bit floats
def test_the_detail_branch_is_undone_exactly(dims, mixing, exact):
    branch = InvertibleBranch(dims, 6, nodes=3, expansion=2, mixing=mixing).double()
    for parameter in branch.parameters():
        parameter.data.mul_(2)  # away from the near-identity of the start
    features = torch.randn(2, 6, *[5] * dims, dtype=torch.double)
    mapped = branch(features)
    assert (mapped - features).abs().mean() > 0.1
    torch.testing.assert_close(branch.invert(mapped), features, atol=exact, rtol=exact)


@pytest.mark.parametrize("mixing", ["permutation", "orthogonal"])
def test_a_nodes_jacobian_has_the_determinant_of_its_scales(mixing):
    node = CouplingNode(2, 4, expansion=2, mixing=mixing).double()
    features = torch.randn(1, 4, 3, 2, dtype=torch.double)
    jacobian = torch.autograd.functional.jacobian(node, features).reshape(24, 24)
    kept = node(features).chunk(2, dim=1)[1]
    torch.testing.assert_close(torch.linalg.slogdet(jacobian).logabsdet, node.log_scale(kept).sum(), atol=1e-5, rtol=1e-5)


def test_two_nodes_change_every_channel():
    branch = InvertibleBranch(2, 6, nodes=2, expansion=2, mixing="permutation")
    features = torch.randn(1, 6, 4, 4)
    assert (branch(features) - features).abs().amax((0, 2, 3)).min() > 1e-4


@pytest.mark.parametrize(
    "change", [{}, {"spatial_dims": 3}, {"attention": "window"}, {"aggregation": "concatenation", "mixing": "orthogonal"}]
)
def test_fusion_is_at_full_resolution_and_every_parameter_takes_part(change):
    network = ModalityFusion(**SMALL | change)
    images = torch.rand(2, 2, 1, 8, *[12] * (network.pet_encoder[0].weight.ndim - 3))
    feature = network(*images)
    assert feature.shape == (2, 8, *images.shape[3:])
    feature.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize("branches", [["global", "global"], ["detail", "detail"]])
def test_ablated_branches_hold_about_as_many_parameters(branches):
    published = {"channels": 64, "encoder_blocks": 4, "decoder_blocks": 2, "heads": 8}
    whole, ablated = (
        sum(p.numel() for p in ModalityFusion(**SMALL | published | change).parameters()) for change in ({}, {"branches": branches})
    )
    assert ablated == pytest.approx(whole, rel=0.11)


def test_modalities_have_weights_of_their_own():
    network = ModalityFusion(**SMALL).eval()
    pet, mr = torch.rand(2, 1, 1, 8, 8)
    assert (network(pet, mr) - network(mr, pet)).abs().max() > 1e-4


def test_a_permuted_batch_gives_permuted_features():
    network = ModalityFusion(**SMALL).eval()
    images = torch.rand(2, 3, 1, 8, 8)
    whole = network(*images)
    for order in permutations(range(3)):
        torch.testing.assert_close(network(*images[:, list(order)]), whole[list(order)], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attention": "full"}, "choose one of channel, window"),
        ({"mixing": "shuffle"}, "choose one of permutation, orthogonal"),
        ({"aggregation": "max"}, "choose one of sum, concatenation"),
        ({"branches": ["local"]}, "choose from global, detail"),
        ({"heads": 3}, "choose a divisor"),
        ({"channels": 9, "heads": 3}, "even number"),
    ],
)
def test_parts_that_do_not_exist_or_fit_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        ModalityFusion(**SMALL | change)


def test_an_unknown_attention_is_refused():
    with pytest.raises(InputError, match="attention"):
        TransformerBlock(2, 4, 2, 2.0, attention="none")

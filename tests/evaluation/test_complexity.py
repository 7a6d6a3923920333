import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from petbench.evaluation.complexity import complexity


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.project = nn.Linear(16, 48, bias=False)

    def forward(self, tokens, mask=None):
        query, key, value = (part.unflatten(-1, (2, 8)).transpose(1, 2) for part in self.project(tokens).chunk(3, -1))
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


class Restorer(nn.Module):
    """A generator that restores, a discriminator that only trains, a dynamic convolution and dropout."""

    def __init__(self):
        super().__init__()
        self.generator = nn.Conv3d(1, 4, 3, padding=1)
        self.kernel = nn.Parameter(torch.randn(4, 4, 3, 3, 3))
        self.discriminator = nn.Conv3d(1, 8, 3)
        self.normalise = nn.BatchNorm3d(4)

    def restore(self, low_dose, mr=None):
        hidden = self.normalise(self.generator(low_dose))
        return F.conv3d(F.dropout(hidden, 0.5), self.kernel, padding=1) + torch.rand(1)


def test_convolution():
    cost = complexity(nn.Conv3d(2, 6, 3, stride=2, padding=1), [torch.zeros(1, 2, 8, 8, 8)])
    assert cost["parameters"] == 6 * 2 * 27 + 6
    assert cost["gmac_modules"] * 1e9 == pytest.approx(6 * 2 * 27 * 4**3)
    assert cost["gflop"] == pytest.approx(2 * cost["gmac_modules"])


def test_grouped_convolution():
    cost = complexity(nn.Conv2d(8, 8, 5, padding=2, groups=4), [torch.zeros(3, 8, 10, 10)])
    assert cost["gmac_modules"] * 1e9 == pytest.approx(3 * 8 * 2 * 25 * 100)
    assert cost["gflop"] == pytest.approx(2 * cost["gmac_modules"])


def test_transposed_convolution_is_counted_by_output_as_thop_does_and_truly_in_flops():
    cost = complexity(nn.ConvTranspose3d(4, 2, 2, stride=2), [torch.zeros(1, 4, 4, 4, 4)])
    assert cost["gmac_modules"] * 1e9 == pytest.approx(4 * 2 * 8 * 8**3)
    assert cost["gflop"] * 1e9 == pytest.approx(2 * 4 * 2 * 8 * 4**3)


def test_linear():
    cost = complexity(nn.Linear(16, 5), [torch.zeros(2, 7, 16)])
    assert cost["gmac_modules"] * 1e9 == pytest.approx(2 * 7 * 16 * 5)
    assert cost["gflop"] == pytest.approx(2 * cost["gmac_modules"])


@pytest.mark.parametrize("mask", [None, torch.ones(20, 20, dtype=torch.bool)])
def test_attention_products_count_in_flops_only(mask):
    cost = complexity(Attention(), [torch.zeros(1, 20, 16), mask])
    projection, products = 20 * 16 * 48, 2 * 20 * 20 * 16
    assert cost["gmac_modules"] * 1e9 == pytest.approx(projection)
    assert cost["gflop"] * 1e9 == pytest.approx(2 * (projection + products))


def test_fused_transformer_layers_do_not_escape():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    cost = complexity(layer, [torch.zeros(1, 20, 16)])
    projections, feed_forward, products = 20 * 16 * 16 * 4, 2 * 20 * 16 * 32, 2 * 20 * 20 * 16
    assert cost["gflop"] * 1e9 == pytest.approx(2 * (projections + feed_forward + products))
    assert cost["parameters"] == sum(parameter.numel() for parameter in layer.parameters())


def test_a_restorer_is_counted_by_what_restoring_reads():
    restorer = Restorer()
    cost = complexity(restorer, [torch.zeros(1, 1, 6, 6, 6), None])
    assert cost["parameters"] == (27 * 4 + 4) + 4 * 4 * 27 + 8
    generated, dynamic = 27 * 4 * 6**3, 4 * 4 * 27 * 6**3
    assert cost["gmac_modules"] * 1e9 == pytest.approx(generated)
    assert cost["gflop"] * 1e9 == pytest.approx(2 * (generated + dynamic))


def test_a_batch_of_two_costs_twice():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 3))
    one, two = (complexity(network, [torch.zeros(batch, 1, 9, 9)]) for batch in (1, 2))
    assert two["gflop"] == pytest.approx(2 * one["gflop"])
    assert two["parameters"] == one["parameters"]


def test_counting_leaves_no_trace():
    restorer = Restorer()
    restorer.discriminator.eval()
    before = {name: value.clone() for name, value in restorer.state_dict().items()}
    state = torch.get_rng_state()
    complexity(restorer, [torch.randn(1, 1, 6, 6, 6, generator=torch.Generator().manual_seed(0))])
    assert torch.equal(torch.get_rng_state(), state)
    assert restorer.training
    assert restorer.normalise.training
    assert not restorer.discriminator.training
    assert not any(module._forward_hooks for module in restorer.modules())
    assert all(torch.equal(value, before[name]) for name, value in restorer.state_dict().items())


def test_operations_are_counted_as_the_library_counts_them():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.linear = nn.Conv2d(2, 8, 3, padding=1), nn.Linear(8, 8)

        def forward(self, image):
            tokens = self.linear(self.convolution(image).flatten(2).transpose(1, 2))
            weights = torch.einsum("bic,bjc->bij", tokens, tokens).softmax(-1)
            return torch.baddbmm(tokens, weights @ weights, tokens)

    network, image = Mixed(), torch.randn(2, 2, 6, 6)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    assert counter.get_total_flops() > 0
    assert complexity(network, [image])["gflop"] * 1e9 == pytest.approx(counter.get_total_flops())

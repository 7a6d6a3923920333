"""Transformer stages reach across a window and no further, without them nothing does; what is restored is the low dose and a change."""

import pytest
import torch

from petbench.errors import InputError
from petbench.networks.cvt import ConvolutionalAttention, CVTDiscriminator, CVTGenerator

SMALL = {
    "spatial_dims": 3,
    "stem": 4,
    "channels": [8, 8],
    "depths": [1, 2],
    "heads": [2, 2],
    "decoder_heads": [4],
    "expansion": 2,
    "dropout": [0.0, 0.0],
    "output": "leaky_relu",
}
JUDGE = {
    "spatial_dims": 3,
    "in_channels": 2,
    "convolutions": [4, 8],
    "strides": [2, 1],
    "channels": [8],
    "heads": [2],
    "expansion": 2,
    "dropout": 0.0,
    "convolution_dropout": 0.0,
}
LONG = (64, 8, 8)


def awake(network):
    """Weights that leave nothing near 0, in 64-bit, as when restoring."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network.double().eval()


def reach(network, images):
    """Voxels of each image along its first axis that count for what the network makes of the first one's first corner."""
    seen = images.double().requires_grad_()
    (gradient,) = torch.autograd.grad(network(seen)[0, 0, 0, 0, 0], seen)
    return gradient.abs().amax(dim=(1, 3, 4)) > 0


def without_attention(network):
    for module in network.modules():
        if isinstance(module, ConvolutionalAttention):
            module.register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    return network


@pytest.mark.parametrize(("make", "settings", "images"), [(CVTGenerator, SMALL, 1), (CVTDiscriminator, JUDGE, 2)])
def test_attention_reaches_across_a_window_and_not_into_another(make, settings, images):
    network, pair = awake(make(**settings)), torch.randn(2, images, *LONG)
    own, other = reach(network, pair)
    assert own.all()
    assert not other.any()
    near, _ = reach(without_attention(network), pair)
    assert near[0]
    assert not near[40:].any()


@pytest.mark.parametrize("output", ["leaky_relu", "linear"])
def test_what_is_restored_is_the_low_dose_and_a_change(output):
    network, low_dose = awake(CVTGenerator(**SMALL | {"output": output})).float(), torch.rand(2, 1, 8, 16, 8)
    changed = network(low_dose)
    torch.nn.init.zeros_(network.head.weight)
    torch.nn.init.constant_(network.head.bias, -1.0)
    torch.testing.assert_close(network(low_dose), low_dose - (0.2 if output == "leaky_relu" else 1.0))
    assert (changed - low_dose).std() > 0.01


@pytest.mark.parametrize("dims", [2, 3])
def test_grids_are_kept_and_regions_judged(dims):
    low_dose = torch.randn(2, 1, 8, *[16] * (dims - 1))
    assert CVTGenerator(**SMALL | {"spatial_dims": dims})(low_dose).shape == low_dose.shape
    logits = CVTDiscriminator(**JUDGE | {"spatial_dims": dims})(low_dose.expand(-1, 2, *low_dose.shape[2:]))
    assert logits.shape == (2, 8, 2, *[4] * (dims - 1))


def test_at_published_size_grids_and_widths_are_those_of_the_paper():
    published = {"stem": 64, "channels": [128, 256, 512], "depths": [1, 2, 2], "heads": [2, 4, 4], "decoder_heads": [4, 4], "expansion": 4}
    seen = {}
    with torch.device("meta"):
        network = CVTGenerator(**SMALL | published | {"dropout": [0.0, 0.2, 0.0]})
        for name, modules in (("stages", network.stages), ("refines", network.refines), ("ups", network.ups)):
            for module in modules:
                module.register_forward_hook(
                    lambda module, inputs, output, name=name: seen.setdefault(name, []).append((output.shape[1], output.shape[2]))
                )
        network(torch.empty(1, 1, 64, 64, 64))
    assert seen == {
        "stages": [(128, 16), (256, 8), (512, 4)],
        "refines": [(512, 4), (256, 8), (128, 16)],
        "ups": [(256, 8), (128, 16), (64, 32)],
    }
    assert [len(stage) - 3 for stage in network.stages] == [1, 2, 2]
    assert [len(stage) - 3 for stage in network.ups[:-1]] == [2, 1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"depths": [1]}, "network/depths: 1 values for 2 stages; give 2"),
        ({"decoder_heads": [2, 2]}, "network/decoder_heads: 2 values for 2 stages; give 1"),
        ({"heads": [3, 2]}, "network/heads: 3 heads cannot share 8 channels"),
        ({"output": "tanh"}, "network/output: 'tanh' is unknown; choose one of leaky_relu, linear"),
    ],
)
def test_what_does_not_fit_is_one_line(change, said):
    with pytest.raises(InputError, match=said):
        CVTGenerator(**SMALL | change)


def test_a_judge_that_does_not_fit_is_one_line():
    with pytest.raises(InputError, match="discriminator/strides: 1 values for 2 layers"):
        CVTDiscriminator(**JUDGE | {"strides": [2]})


def test_windows_that_cannot_be_halved_are_refused():
    with pytest.raises(InputError, match="multiple of 8"):
        CVTGenerator(**SMALL)(torch.rand(1, 1, 8, 8, 12))

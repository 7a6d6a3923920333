from functools import partial

import pytest
import torch
from torch import nn

from petbench.errors import InputError
from petbench.networks.mak_generator import MAKGenerator

SMALL = {
    "spatial_dims": 3,
    "channels": [4, 8, 16],
    "encoder": "mke",
    "interaction": "aki",
    "heads": 2,
    "mke_ratio": [2, 1, 1],
    "aki_ratio": [1, 1, 1],
    "aki_identity": True,
    "kernel_size": 3,
    "prior_grid": [8, 4, 2],
    "prior_hidden": 4,
    "prior_residual": True,
    "expansion": 2,
    "decoder": [8, 4, 4],
    "image_skip": "features",
    "image_features": 4,
    "normalisation": "batch",
    "residual": True,
}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("encoder", ["mke", "unet"])
@pytest.mark.parametrize("interaction", ["aki", "convolution", "both"])
def test_grid_is_kept(dims, encoder, interaction):
    network = MAKGenerator(**SMALL | {"spatial_dims": dims, "encoder": encoder, "interaction": interaction})
    windows = torch.randn(2, 1, 16, *[24] * (dims - 1))
    assert network(windows, windows).shape == windows.shape


@pytest.mark.parametrize("interaction", ["aki", "convolution"])
def test_mr_influences_the_output(interaction):
    network = MAKGenerator(**SMALL | {"interaction": interaction})
    low_dose, mr = torch.rand(1, 1, 16, 16, 16), torch.rand(1, 1, 16, 16, 16, requires_grad=True)
    network(low_dose, mr).sum().backward()
    assert mr.grad.abs().max() > 0


def test_every_parameter_has_a_gradient():
    network = MAKGenerator(**SMALL)
    network(*torch.rand(2, 2, 1, 16, 16, 16)).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("image_skip", ["none", "image", "features"])
def test_full_resolution_sees_the_image_by_its_skip(image_skip):
    network = MAKGenerator(**SMALL | {"image_skip": image_skip})
    seen = []
    network.decoder.blocks[-1].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][:, 4:]))
    low_dose, mr = torch.rand(2, 1, 1, 16, 16, 16)
    network(low_dose, mr)
    assert seen[0].shape[1] == {"none": 0, "image": 1, "features": 4}[image_skip]
    assert image_skip != "image" or torch.equal(seen[0], low_dose)


@pytest.mark.parametrize("encoder", ["mke", "unet"])
@pytest.mark.parametrize("interaction", ["aki", "convolution", "both"])
@pytest.mark.parametrize("channels", [[8, 16, 32], [32, 64, 128]])
def test_at_the_start_every_level_gets_as_much_from_below_as_from_its_skip(encoder, interaction, channels):
    widths = {"channels": channels, "decoder": channels[::-1], "encoder": encoder, "interaction": interaction}
    network = MAKGenerator(**SMALL | widths | {"normalisation": "none"})
    ratios = []

    def compare(_, inputs, width):
        below, skip = inputs[0].tensor_split([width], dim=1)
        ratios.append(float((below.square().mean() / skip.square().mean()).sqrt()))

    for width, level in zip(channels[::-1], network.decoder.blocks, strict=True):
        level.register_forward_pre_hook(partial(compare, width=width))
    with torch.no_grad():
        network(*torch.rand(2, 2, 1, 16, 16, 16))
    assert all(0.1 < ratio < 10 for ratio in ratios), ratios


def test_a_start_keeps_intensity():
    """Twice the activity makes twice the features of the first stage: nothing before the first prior removes it."""
    network = MAKGenerator(**SMALL)
    low_dose = torch.rand(1, 1, 16, 16, 16)
    with torch.no_grad():
        once, twice = (network.pet[0](dose * low_dose).abs().mean() for dose in (1, 2))
    assert twice / once == pytest.approx(2, rel=0.15)


def test_grids_are_one_a_stage():
    with pytest.raises(InputError, match="1 grids for 3 stages"):
        MAKGenerator(**SMALL | {"prior_grid": [8]})


def test_residual_adds_the_low_dose():
    low_dose, mr = torch.rand(2, 1, 1, 16, 16, 16)
    network = MAKGenerator(**SMALL).eval()
    with_residual = network(low_dose, mr)
    network.residual = False
    torch.testing.assert_close(with_residual, network(low_dose, mr) + low_dose)


def test_a_sample_is_restored_alike_alone_and_in_a_batch():
    network = MAKGenerator(**SMALL).eval()
    low_dose, mr = torch.rand(2, 3, 1, 16, 16, 16)
    alone = torch.cat([network(p[None], m[None]) for p, m in zip(low_dose, mr, strict=True)])
    torch.testing.assert_close(network(low_dose, mr), alone, atol=1e-5, rtol=1e-4)


def test_a_grid_that_cannot_be_halved_is_refused():
    with pytest.raises(InputError, match="multiple of 8"):
        MAKGenerator(**SMALL)(torch.rand(1, 1, 16, 16, 20), torch.rand(1, 1, 16, 16, 20))


@pytest.mark.parametrize(("key", "value"), [("encoder", "vit"), ("interaction", "sum"), ("image_skip", "mr"), ("normalisation", "layer")])
def test_unknown_parts_are_refused(key, value):
    with pytest.raises(InputError, match="choose one of"):
        MAKGenerator(**SMALL | {key: value})


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_patch_merging_halves_the_grid_at_each_stage(stage):
    network = MAKGenerator(**SMALL)
    grids = []
    network.interactions[stage].register_forward_hook(lambda module, inputs, output: grids.append(tuple(output.shape[2:])))
    with torch.no_grad():
        network(*torch.rand(2, 1, 1, 16, 16, 16))
    assert grids == [(16 // 2 ** (stage + 1),) * 3]
    assert isinstance(network.pet[stage][0], nn.Conv3d)


@pytest.mark.filterwarnings("ignore:TF32")
@pytest.mark.parametrize("encoder", ["mke", "unet"])
def test_gradients_are_those_of_the_reference_convolution(encoder):
    network = MAKGenerator(**SMALL | {"encoder": encoder})
    low_dose, mr = torch.rand(2, 2, 1, 24, 24, 24)

    def gradients(fast):
        network.zero_grad()
        with torch.backends.mkldnn.flags(enabled=fast, allow_tf32=False):
            network(low_dose, mr).square().mean().backward()
        return [parameter.grad.clone() for parameter in network.parameters()]

    for ours, reference in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(ours, reference, atol=1e-4 * float(reference.abs().max()) + 1e-6, rtol=1e-2)

import pytest
import torch

from petbench.errors import InputError
from petbench.networks.blocks import CONVOLUTION, UP_CONVOLUTION, Decoder, initialise, keep_scale
from petbench.networks.edges import sobel_magnitude
from petbench.networks.multi_kernel import MultiKernelProjection, allocate
from petbench.networks.patchgan import PatchDiscriminator
from petbench.networks.unet import UNet


@pytest.mark.parametrize("slopes", [(2.0, -3.0), (1.0, -2.0, 2.0)])
def test_edges_of_a_ramp_are_its_slope(slopes):
    axes = torch.meshgrid(*[torch.arange(7.0)] * len(slopes), indexing="ij")
    ramp = sum(slope * axis for slope, axis in zip(slopes, axes, strict=True))[None, None]
    inside = (slice(None), slice(None), *[slice(1, -1)] * len(slopes))
    expected = torch.full_like(ramp, sum(slope**2 for slope in slopes) ** 0.5)
    torch.testing.assert_close(sobel_magnitude(ramp)[inside], expected[inside])


@pytest.mark.parametrize("dims", [2, 3])
def test_edges_of_a_flat_image_are_zero_with_zero_gradient(dims):
    flat = torch.full((1, 1, *[5] * dims), 3.0, requires_grad=True)
    edges = sobel_magnitude(flat)
    edges.sum().backward()
    assert torch.equal(edges, torch.zeros_like(edges))
    assert torch.equal(flat.grad, torch.zeros_like(flat))


def test_edges_do_not_depend_on_the_order_of_axes():
    image = torch.randn(1, 1, 5, 6, 7)
    turned = sobel_magnitude(image.permute(0, 1, 4, 2, 3)).permute(0, 1, 3, 4, 2)
    torch.testing.assert_close(sobel_magnitude(image), turned)


@pytest.mark.parametrize(
    ("channels", "ratio", "shares"),
    [(64, [2, 1, 1], [32, 16, 16]), (64, [1, 1, 1], [21, 21, 22]), (64, [1, 1, 0], [32, 32, 0]), (7, [1, 1, 0], [3, 4, 0])],
)
def test_channels_are_shared_by_ratio(channels, ratio, shares):
    assert allocate(channels, ratio) == shares


def test_a_share_without_channels_is_refused():
    with pytest.raises(InputError, match="use more channels"):
        allocate(2, [2, 1, 1])


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("stride", "side"), [(1, 6), (2, 3)])
def test_projection_gives_one_token_a_voxel_of_the_strided_grid(dims, stride, side):
    project = MultiKernelProjection(dims, 8, [2, 1, 1], stride)
    assert project(torch.randn(2, 8, *[6] * dims)).shape == (2, side**dims, 8)


def test_projection_groups_see_their_own_reach():
    project = MultiKernelProjection(2, 4, [2, 1, 1], stride=1)
    torch.nn.init.eye_(project.mix.weight)
    point = torch.zeros(1, 4, 9, 9)
    point[..., 4, 4] = 1
    changed = (project(point) - project(torch.zeros_like(point))).abs().reshape(9, 9, 4) > 1e-8
    assert [int(changed[..., channel].any(0).sum()) for channel in range(4)] == [3, 3, 5, 7]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("normalisation", ["batch", "instance", "none"])
def test_unet_keeps_the_grid(dims, normalisation):
    network = UNet(dims, 2, [4, 8, 16], normalisation)
    assert network(torch.randn(2, 2, 8, *[12] * (dims - 1))).shape == (2, 1, 8, *[12] * (dims - 1))


def test_unet_refuses_a_grid_that_cannot_be_halved():
    with pytest.raises(InputError, match="multiple of 4"):
        UNet(3, 2, [4, 8, 16], "none")(torch.randn(1, 2, 8, 10, 8))


def test_unknown_normalisation_is_refused():
    with pytest.raises(InputError, match="batch, instance, none"):
        UNet(3, 2, [4, 8], "layer")


def test_decoder_needs_a_width_a_level():
    with pytest.raises(InputError, match="one a level"):
        Decoder(3, 16, skips=[8, 4], widths=[8], normalisation="none")


@pytest.mark.parametrize("dims", [2, 3])
def test_discriminator_judges_regions(dims):
    network = PatchDiscriminator(dims, 2, channels=4, layers=2, normalisation="batch")
    assert network(torch.randn(2, 2, *[24] * dims)).shape == (2, 1, *[4] * dims)


def test_initialisation_is_normal_with_the_given_spread():
    network = UNet(3, 2, [16, 32], "batch")
    initialise(network, 0.02)
    kernels = torch.cat([p.detach().flatten() for name, p in network.named_parameters() if name.endswith("weight") and p.ndim > 1])
    assert abs(kernels.mean()) < 1e-3  # of 45,000 draws
    assert kernels.std() == pytest.approx(0.02, rel=0.02)


LAYERS = {
    "plain": lambda dims: CONVOLUTION[dims](16, 32, 3, padding=1),
    "strided": lambda dims: CONVOLUTION[dims](16, 32, 3, stride=2, padding=1),
    "grouped": lambda dims: CONVOLUTION[dims](16, 32, 3, padding=1, groups=4),
    "up by two": lambda dims: UP_CONVOLUTION[dims](16, 32, 2, stride=2),
    "up by two, overlapping": lambda dims: UP_CONVOLUTION[dims](16, 32, 3, stride=2, padding=1, output_padding=1),
    "up by two, 4 wide": lambda dims: UP_CONVOLUTION[dims](16, 32, 4, stride=2, padding=1),
}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", LAYERS)
def test_features_keep_their_mean_square(name, dims):
    layer = keep_scale(LAYERS[name](dims))
    with torch.no_grad():
        made = layer(torch.randn(4, 16, *[12] * dims))
    assert made.square().mean() == pytest.approx(1.0, abs=0.25)  # less at the borders, which see zeros


@pytest.mark.filterwarnings("ignore:TF32")
@pytest.mark.parametrize("side", [4, 6, 8])
def test_projection_gradients_are_those_of_the_reference_convolution(side):
    project = MultiKernelProjection(3, 4, [2, 1, 1], stride=2)
    features = torch.randn(2, 4, side, side, side)

    def gradients(fast):
        project.zero_grad()
        dirt = [torch.full((size,), 1e20) for size in (27, 64, 343, 1000, 4096) for _ in range(4)]
        del dirt  # so that memory left unset shows
        with torch.backends.mkldnn.flags(enabled=fast, allow_tf32=False):
            project(features).square().sum().backward()
        return [kernel.weight.grad.clone() for kernel in project.kernels]

    for ours, reference in zip(gradients(True), gradients(False), strict=True):
        torch.testing.assert_close(ours, reference, atol=1e-3, rtol=1e-3)

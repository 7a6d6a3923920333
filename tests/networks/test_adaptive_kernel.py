import pytest
import torch
from torch.nn.functional import conv2d, conv3d

from petbench.errors import InputError
from petbench.networks.adaptive_kernel import AdaptiveKernelInteraction, AdaptiveKernelPredictor, per_sample_convolution


@pytest.mark.parametrize(("dims", "convolve"), [(2, conv2d), (3, conv3d)])
def test_per_sample_convolution_equals_a_loop(dims, convolve):
    features, kernels = torch.randn(3, 4, *[6] * dims), torch.randn(3, 5, 4, *[3] * dims)
    looped = torch.cat([convolve(f[None], k, padding=1) for f, k in zip(features, kernels, strict=True)])
    torch.testing.assert_close(per_sample_convolution(features, kernels), looped, atol=1e-5, rtol=1e-5)


def test_every_tap_of_a_kernel_comes_from_its_part_of_the_prior():
    predict = AdaptiveKernelPredictor(3, channels=8, out_channels=3, kernel_size=3)
    prior = torch.randn(1, 8, 6, 6, 6)
    changed = prior.clone()
    changed[..., 4:, :2, :2] += torch.randn(1, 8, 2, 2, 2)
    moved = (predict(changed) - predict(prior)).abs().amax((0, 1, 2)) > 1e-7
    assert moved.nonzero().tolist() == [[2, 0, 0]]


def test_predicted_kernels_keep_the_scale_of_features():
    torch.manual_seed(0)
    predict = AdaptiveKernelPredictor(3, channels=32, out_channels=32, kernel_size=3)
    smooth = torch.randn(8, 32, 1, 1, 1) + 0.1 * torch.randn(8, 32, 8, 8, 8)
    filtered = per_sample_convolution(smooth, predict(smooth))[..., 1:-1, 1:-1, 1:-1]
    assert 0.5 < filtered.std() < 2


def block(ratio=(1, 1, 1), dims=3, channels=8):
    torch.manual_seed(0)
    return AdaptiveKernelInteraction(dims, channels, heads=2, projection_ratio=[2, 1, 1], kernel_ratio=ratio, kernel_size=3)


@pytest.mark.parametrize("ratio", [(1, 1, 1), (1, 1, 0), (2, 1, 1), (0, 1, 1)])
def test_kernels_depend_on_their_own_sample_alone(ratio):
    interact = block(ratio)
    pet, mr = torch.randn(2, 3, 8, 6, 6, 6)
    alone = torch.cat([interact(p[None], m[None]) for p, m in zip(pet, mr, strict=True)])
    torch.testing.assert_close(interact(pet, mr), alone, atol=1e-5, rtol=1e-4)


def test_mr_moves_the_inter_modal_channels_only():
    interact = block()
    pet, mr = torch.randn(2, 1, 8, 6, 6, 6)
    moved = (interact(pet, mr + torch.randn_like(mr)) - interact(pet, mr)).abs().amax((0, 2, 3, 4)) > 1e-7
    assert moved.tolist() == [False] * 2 + [True] * 2 + [False] * 4


def test_the_static_kernel_is_a_convolution():
    interact = block(ratio=(0, 0, 1))
    pet = torch.randn(2, 8, 5, 5, 5)
    torch.testing.assert_close(interact(pet, pet), conv3d(pet, interact.static_kernel, padding=1), atol=1e-5, rtol=1e-5)


def test_works_on_slices():
    assert block(dims=2)(torch.randn(2, 8, 6, 4), torch.randn(2, 8, 6, 4)).shape == (2, 8, 6, 4)


def test_an_even_kernel_is_refused():
    with pytest.raises(InputError, match="odd"):
        AdaptiveKernelInteraction(3, 8, heads=2, projection_ratio=[2, 1, 1], kernel_ratio=[1, 1, 1], kernel_size=4)


def test_heads_must_divide_the_channels():
    with pytest.raises(InputError, match="divisor"):
        AdaptiveKernelInteraction(3, 8, heads=3, projection_ratio=[2, 1, 1], kernel_ratio=[1, 1, 1], kernel_size=3)

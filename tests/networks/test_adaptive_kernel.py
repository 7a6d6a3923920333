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


def share(kernels, dim):
    """The part of kernels' energy that varies along a dimension."""
    return ((kernels - kernels.mean(dim, keepdim=True)).square().sum() / kernels.square().sum()).item()


def predictor(channels=8, out_channels=3):
    return AdaptiveKernelPredictor(3, channels, out_channels, kernel_size=3, prior_grid=4, hidden=8)


def smooth(size, channels, side, dims=3):
    """Features and priors as encoders give them: much the same everywhere, with a little structure."""
    return torch.randn(1, channels, *[1] * dims) + 0.5 * torch.randn(size, channels, *[side] * dims)


@pytest.mark.parametrize("seed", range(5))
def test_kernels_vary_over_taps_and_between_priors(seed):
    torch.manual_seed(seed)
    kernels = predictor()(smooth(6, 8, 6)).flatten(3)
    assert share(kernels, 3) > 0.1
    assert share(kernels, 0) > 0.01


@pytest.mark.parametrize("seed", range(5))
def test_kernels_vary_over_taps_whatever_the_prior(seed):
    """Attention averages: a prior may be all but the same everywhere, and its kernels are no box blurs for that."""
    torch.manual_seed(seed)
    kernels = predictor()(torch.randn(6, 8, 1, 1, 1).expand(6, 8, 6, 6, 6)).flatten(3)
    assert share(kernels, 3) > 0.1


@pytest.mark.parametrize("seed", range(5))
def test_where_a_thing_stands_in_the_prior_counts(seed):
    torch.manual_seed(seed)
    prior = smooth(1, 8, 6)
    predict = predictor()
    kernels = predict(prior)
    assert (predict(prior.flip(2)) - kernels).square().sum() > 0.01 * kernels.square().sum()


@pytest.mark.parametrize("seed", range(5))
def test_what_is_the_same_everywhere_in_the_prior_counts(seed):
    torch.manual_seed(seed)
    predict, everywhere = predictor(), torch.randn(2, 8, 1, 1, 1).expand(2, 8, 6, 6, 6)
    kernels = predict(everywhere)
    assert (kernels[0] - kernels[1]).square().sum() > 0.1 * kernels[0].square().sum()


def test_predicted_kernels_keep_the_scale_of_features():
    features = smooth(8, 32, 8)
    filtered = per_sample_convolution(features, predictor(32, 32)(features))[..., 1:-1, 1:-1, 1:-1]
    assert 0.5 < filtered.square().mean().sqrt() / features.square().mean().sqrt() < 2


def test_a_grid_coarser_than_the_priors_is_refused():
    with pytest.raises(InputError, match="prior_grid: 4 is finer than a stage's 6x6x3"):
        predictor()(torch.randn(1, 8, 6, 6, 3))


def block(ratio=(1, 1, 1), dims=3, channels=8, identity=False):
    torch.manual_seed(0)
    projections = {"heads": 2, "projection_ratio": [2, 1, 1], "kernel_ratio": ratio, "kernel_size": 3}
    return AdaptiveKernelInteraction(dims, channels, **projections, prior_grid=4, prior_hidden=8, prior_residual=True, identity=identity)


@pytest.mark.parametrize("identity", [True, False])
def test_a_block_learns_to_pass_real_features(identity):
    (pet, unseen), (mr, other) = (smooth(20, 6, 8, dims=2).split(16) for _ in range(2))
    interact = block(dims=2, channels=6, identity=identity)
    optimiser = torch.optim.Adam(interact.parameters(), lr=1e-1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 400)
    for _ in range(400):
        optimiser.zero_grad()
        (interact(pet, mr) - pet).square().mean().backward()
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        error = (interact(unseen, other) - unseen).square().mean() / unseen.square().mean()
    assert error.sqrt() < 0.02


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


def test_with_the_identity_path_a_block_starts_near_passing_features_on():
    pet, mr = torch.randn(2, 2, 8, 6, 6, 6)
    torch.testing.assert_close(block(identity=True)(pet, mr), pet + 0.1 * block()(pet, mr))


def test_the_static_kernel_is_a_convolution():
    interact = block(ratio=(0, 0, 1))
    pet = torch.randn(2, 8, 5, 5, 5)
    torch.testing.assert_close(interact(pet, pet), conv3d(pet, interact.static_kernel, padding=1), atol=1e-5, rtol=1e-5)


def test_works_on_slices():
    assert block(dims=2)(torch.randn(2, 8, 6, 4), torch.randn(2, 8, 6, 4)).shape == (2, 8, 6, 4)


def test_an_even_kernel_is_refused():
    with pytest.raises(InputError, match="odd"):
        AdaptiveKernelInteraction(3, 8, 2, [2, 1, 1], [1, 1, 1], 4, prior_grid=4, prior_hidden=8, prior_residual=True, identity=True)


def test_heads_must_divide_the_channels():
    with pytest.raises(InputError, match="divisor"):
        AdaptiveKernelInteraction(3, 8, 3, [2, 1, 1], [1, 1, 1], 3, prior_grid=4, prior_hidden=8, prior_residual=True, identity=True)

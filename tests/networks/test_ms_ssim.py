import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from petbench.networks.ms_ssim import WEIGHTS, compare, ms_ssim, ssim

C1, C2 = 0.01**2, 0.03**2


def images(side=16, noise=0.2):
    rng = np.random.default_rng(0)
    truth = gaussian_filter(rng.random((2, side, side, side)), (0, 1, 1, 1))
    return truth.astype(np.float32), (truth + noise * rng.standard_normal(truth.shape)).astype(np.float32)


def tensor(array):
    return torch.from_numpy(array)[:, None]


def halved(array):
    return array.reshape(*(size for side in array.shape for size in (side // 2, 2))).mean(axis=(1, 3, 5))


def literal(first, second, weights):
    """MS-SSIM of two arrays, step by step, with SciPy's filter."""

    def blur(array):
        return gaussian_filter(array.astype(np.float64), 1.5, mode="nearest", radius=5)

    total = 1.0
    for scale, weight in enumerate(weights):
        if scale:
            first, second = (halved(array) for array in (first, second))
        means = blur(first), blur(second)
        variances = blur(first**2) - means[0] ** 2, blur(second**2) - means[1] ** 2
        covariance = blur(first * second) - means[0] * means[1]
        structure = (2 * covariance + C2) / (variances[0] + variances[1] + C2)
        luminance = (2 * means[0] * means[1] + C1) / (means[0] ** 2 + means[1] ** 2 + C1)
        total *= max((structure * (luminance if scale == len(weights) - 1 else 1)).mean(), 1e-6) ** weight
    return total


@pytest.mark.parametrize("weights", [WEIGHTS, (1.0,), (0.5, 0.5)])
def test_it_is_the_literal_formula(weights):
    truth, other = images()
    found = ms_ssim(tensor(truth), tensor(other), weights)
    expected = [literal(a, b, weights) for a, b in zip(truth.astype(np.float64), other.astype(np.float64), strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-4)


def test_one_scale_is_scikit_images_away_from_the_edges():
    truth, other = images(side=24, noise=0.05)
    options = {"data_range": 1.0, "gaussian_weights": True, "use_sample_covariance": False, "sigma": 1.5, "full": True}
    _, expected = structural_similarity(truth[0], other[0], **options)
    luminance, structure = compare(tensor(truth[:1]), tensor(other[:1]), 1.0)
    inside = (slice(5, -5),) * 3
    np.testing.assert_allclose((luminance * structure)[0, 0].numpy()[inside], expected[inside], rtol=1e-3, atol=1e-4)
    assert float(ssim(tensor(truth), tensor(other))[0]) == pytest.approx(float((luminance * structure).mean()), rel=1e-5)


def test_equal_images_are_one_and_order_does_not_matter():
    truth, other = (tensor(array) for array in images())
    torch.testing.assert_close(ms_ssim(truth, truth), torch.ones(2))
    torch.testing.assert_close(ms_ssim(truth, other), ms_ssim(other, truth))
    assert (ms_ssim(truth, other) < 1).all()


def test_more_noise_is_less_alike():
    values = [float(ms_ssim(*(tensor(array) for array in images(noise=noise))).mean()) for noise in (0.01, 0.1, 0.3)]
    assert values == sorted(values, reverse=True)


def test_normalised_exponents_sum_to_one():
    truth, other = (tensor(array) for array in images())
    plain, normalised = (ms_ssim(truth, other, normalise=normalise) for normalise in (False, True))
    torch.testing.assert_close(normalised, plain ** (1 / sum(WEIGHTS)))


def test_the_gradient_is_finite_even_where_images_are_opposite_and_pulls_them_together():
    truth, _ = images()
    reference = tensor(truth)
    estimate = (1 - reference).requires_grad_()
    ms_ssim(estimate, reference).sum().backward()
    assert torch.isfinite(estimate.grad).all()
    estimate = torch.full_like(reference, 0.5).requires_grad_()
    optimiser = torch.optim.Adam([estimate], lr=0.05)
    first = float(ms_ssim(estimate.detach(), reference).mean())
    for _ in range(20):
        optimiser.zero_grad()
        (1 - ms_ssim(estimate, reference).mean()).backward()
        optimiser.step()
    assert float(ms_ssim(estimate.detach(), reference).mean()) > first + 0.2

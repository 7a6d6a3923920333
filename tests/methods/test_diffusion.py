import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from petbench.errors import InputError
from petbench.methods.diffusion import Diffusion, Process, Sampler, cosine_betas, linear_betas

LINEAR = {"name": "linear", "betas": [1e-4, 2e-2]}
PROCESS = Process(1000, LINEAR, "x0", "fixed_large", vlb_weight=0.001, range=(-1.0, 1.0))
COSINE = replace(PROCESS, schedule={"name": "cosine", "offset": 0.008})
ANCESTRAL, DDIM = Sampler("ancestral", 1000, seed=0), Sampler("ddim", 1000, seed=0, eta=1.0)


def steps(*numbers):
    return torch.tensor(numbers)


class OptimalDenoiser(Diffusion):
    """Knows that images are N(mean, std): its estimate is E[x_0 | x_t], its variance that of x_s given x_t, as a share of the bounds."""

    def __init__(self, process, mean, std):
        super().__init__(process)
        self.mean, self.std = mean, std

    def condition(self, low_dose, mr):
        return None

    def predict(self, noisy, time, condition):
        share = self.process.share(time.cpu()).to(noisy.dtype).reshape(-1, 1, 1, 1)
        gain = share.sqrt() * self.std**2 / (share * self.std**2 + 1 - share)
        clean = self.mean + gain * (noisy - share.sqrt() * self.mean)
        return clean if self.process.prediction == "x0" else (noisy - share.sqrt() * clean) / (1 - share).sqrt()


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0), (0.05, 0.3)])
def test_the_range_is_mapped_linearly_to_minus_one_and_one_and_nothing_is_clipped(low, high):
    process = replace(PROCESS, range=(low, high))
    pet = torch.tensor([low, (low + high) / 2, high, 2 * high - low, 2 * low - high])
    torch.testing.assert_close(process.encode(pet), torch.tensor([-1.0, 0.0, 1.0, 3.0, -3.0]), rtol=0, atol=1e-5)
    torch.testing.assert_close(process.decode(process.encode(pet)), pet)


@pytest.mark.parametrize("bounds", [(1.0, 0.0), (0.5, 0.5)])
def test_a_range_that_does_not_ascend_is_refused(bounds):
    with pytest.raises(InputError, match=r"train/diffusion/range: \S+ is not below \S+; give a lower value and then a higher one"):
        replace(PROCESS, range=bounds)


def test_a_learned_variance_that_nothing_trains_is_refused():
    with pytest.raises(InputError, match="train/diffusion/vlb_weight: 0 leaves the learned variance untrained"):
        replace(PROCESS, variance="learned", vlb_weight=0.0)
    assert PROCESS.errors(torch.zeros(1, 1, 4, 4), PROCESS.noised(torch.zeros(1, 1, 4, 4)))[1] is None


def generators(count, seed=0):
    return [torch.Generator().manual_seed(seed + number) for number in range(count)]


def test_linear_betas_are_evenly_spaced():
    betas = linear_betas(5, (0.1, 0.5))
    torch.testing.assert_close(betas, torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5], dtype=torch.float64))


def test_cosine_betas_make_alpha_bar_a_squared_cosine():
    alpha_bar = torch.cumprod(1 - cosine_betas(100, 0.008), 0)
    expected = [(math.cos((t / 100 + 0.008) / 1.008 * math.pi / 2) / math.cos(0.008 / 1.008 * math.pi / 2)) ** 2 for t in range(1, 100)]
    torch.testing.assert_close(alpha_bar[:99], torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=0)
    assert cosine_betas(100, 0.008).max() == 0.999


@pytest.mark.parametrize("process", [PROCESS, COSINE])
def test_the_marginal_is_that_of_as_many_single_steps(process):
    """Variance and mean of x_t from x_t = sqrt(1 - beta) x_{t-1} + sqrt(beta) z, step by step."""
    mean, variance = torch.ones(()), torch.zeros(())
    betas = 1 - process.alpha_bar / torch.cat([torch.ones(1), process.alpha_bar[:-1]])
    for time in range(300):
        mean, variance = mean * (1 - betas[time]).sqrt(), variance * (1 - betas[time]) + betas[time]
    share = process.share(steps(299))[0]
    torch.testing.assert_close(share.sqrt(), mean.double())
    torch.testing.assert_close(1 - share, variance.double())
    noise = torch.randn(1, 1, 400, 400)
    drawn = process.diffuse(torch.full_like(noise, 2.0), steps(299), noise)
    assert float(drawn.mean()) == pytest.approx(2 * float(mean), abs=0.01)
    assert float(drawn.var()) == pytest.approx(float(variance), rel=0.02)


@pytest.mark.parametrize(("time", "earlier"), [(1, 0), (500, 499), (999, 400), (40, 3)])
def test_the_posterior_is_bayes_rule(time, earlier):
    """q(x_s | x_t, x_0) from the product of two Gaussians: q(x_s | x_0) and q(x_t | x_s)."""
    of_clean, of_noisy, variance = (float(value) for value in PROCESS.posterior(steps(time), steps(earlier)))
    now, then = float(PROCESS.share(steps(time))), float(PROCESS.share(steps(earlier)))
    alpha = now / then
    precision = 1 / (1 - then) + alpha / (1 - alpha)
    assert variance == pytest.approx(1 / precision)
    assert of_clean == pytest.approx(math.sqrt(then) / (1 - then) / precision)
    assert of_noisy == pytest.approx(math.sqrt(alpha) / (1 - alpha) / precision)


def test_the_last_step_is_the_estimate_itself():
    clean, noisy = torch.randn(2, 1, 1, 4, 4)
    for sampler in (ANCESTRAL, DDIM, replace(DDIM, eta=0.0)):
        torch.testing.assert_close(PROCESS.reverse(clean, noisy, 7, -1, sampler, lambda: 1 / 0), clean)


@pytest.mark.parametrize(("time", "earlier"), [(1, 0), (500, 499), (999, 400)])
def test_ddim_with_all_noise_is_ancestral_with_the_small_variance(time, earlier):
    clean, noisy, noise = torch.randn(3, 1, 1, 4, 4)
    small = replace(PROCESS, variance="fixed_small")
    ours, theirs = (small.reverse(clean, noisy, time, earlier, sampler, lambda: noise) for sampler in (DDIM, ANCESTRAL))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.0, 1.0), (0.1, 0.4)])
@pytest.mark.parametrize("prediction", ["x0", "epsilon"])
@pytest.mark.parametrize(
    ("sampler", "variance"),
    [
        (ANCESTRAL, "fixed_small"),
        (replace(ANCESTRAL, steps=250), "fixed_large"),
        (replace(DDIM, steps=250, eta=0.0), "fixed_large"),
        (replace(DDIM, steps=250, eta=0.5), "fixed_large"),
    ],
)
def test_an_optimal_denoiser_of_a_gaussian_samples_that_gaussian(sampler, variance, prediction, bounds):
    """20,000 voxels: the mean is known to 0.0025, the deviation to 0.0018; respacing costs the rest."""
    process = replace(PROCESS, variance=variance, prediction=prediction, range=bounds)
    target = OptimalDenoiser(process, process.encode(torch.tensor(0.6)), 0.35 * 2 / (bounds[1] - bounds[0]))
    like = torch.zeros(2, 1, 100, 100)
    drawn = target.sample(like, None, sampler, generators(2))
    assert float(drawn.mean()) == pytest.approx(0.6, abs=0.01)
    assert float(drawn.std()) == pytest.approx(0.35, abs=0.01)


def test_a_learned_variance_lies_between_the_posterior_and_beta():
    process = replace(PROCESS, variance="learned")
    clean, noise = torch.zeros(3, 1, 8, 8), torch.randn(3, 1, 8, 8)
    small, large = (float(bound) for bound in process.log_variances(steps(600), steps(500)))
    for said, expected in ((-1.0, small), (1.0, large), (0.0, (small + large) / 2)):
        output = torch.cat([clean, torch.full_like(clean, said)], dim=1)
        step = process.reverse(output, clean, 600, 500, ANCESTRAL, lambda: noise)
        torch.testing.assert_close(step, math.exp(0.5 * expected) * noise)
    assert small < large


def test_the_bound_of_the_true_reverse_step_is_zero_and_trains_the_variance_only():
    process = replace(PROCESS, variance="learned")
    clean, noise = torch.rand(4, 1, 8, 8), torch.randn(4, 1, 8, 8)
    noised = process.noised(clean)._replace(time=steps(1, 10, 100, 300))
    noised = noised._replace(noise=noise, noisy=process.diffuse(noised.clean, noised.time, noise))
    exact = torch.cat([noised.clean, torch.full_like(clean, -1.0)], dim=1)
    torch.testing.assert_close(process.errors(exact, noised)[1], torch.zeros(4), atol=1e-4, rtol=0)
    output = (exact + 0.1).requires_grad_()
    squared, bound = process.errors(output, noised)
    assert (bound > 0).all()
    torch.testing.assert_close(squared, torch.full((4,), 0.01))
    bound.sum().backward()
    assert not output.grad[:, 0].any()
    assert output.grad[:, 1].all()


def test_the_bound_of_the_first_step_is_a_likelihood():
    """-log2 N(x_0; estimate, variance), times T."""
    process = replace(PROCESS, variance="learned")
    clean = torch.rand(1, 1, 8, 8)
    noised = process.noised(clean)._replace(time=steps(0))
    output = torch.cat([noised.clean + 0.02, torch.ones_like(clean)], dim=1)
    scale = math.sqrt(1e-4)
    expected = -torch.distributions.Normal(noised.clean + 0.02, scale).log_prob(noised.clean).mean() / math.log(2)
    torch.testing.assert_close(process.errors(output, noised)[1][0], 1000 * expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("count", [1, 2, 7, 50, 999, 1000])
def test_steps_are_evenly_spaced_from_the_noisiest_to_the_clean_image(count):
    pairs = list(PROCESS.steps(count))
    assert len(pairs) == count
    assert (pairs[0][0], pairs[-1][1]) == (999, -1)
    assert all(before[1] == after[0] for before, after in pairwise(pairs))
    gaps = {time - earlier for time, earlier in pairs[:-1]}
    assert max(gaps, default=1) - min(gaps, default=1) <= 1


def test_more_steps_than_the_process_has_are_refused():
    with pytest.raises(InputError, match=r"restore/sampler/steps: 1001 exceed the 1000"):
        OptimalDenoiser(PROCESS, 0.0, 1.0).sample(torch.zeros(1, 1, 4, 4), None, replace(DDIM, steps=1001), generators(1))


@pytest.mark.parametrize("sampler", [replace(ANCESTRAL, steps=20), replace(DDIM, steps=20), replace(DDIM, steps=20, eta=0.0)])
def test_an_image_depends_on_its_own_generator_only(sampler):
    target = OptimalDenoiser(PROCESS, 0.5, 0.3)
    like = torch.zeros(5, 1, 6, 6)
    whole = target.sample(like, None, sampler, generators(5))
    alone = torch.cat([target.sample(like[:1], None, sampler, [generator]) for generator in reversed(generators(5))]).flip(0)
    torch.testing.assert_close(whole, alone)
    assert not torch.allclose(whole[0], whole[1], atol=0.01)
    assert not torch.allclose(whole, target.sample(like, None, sampler, generators(5, seed=10)), atol=0.01)


@pytest.mark.parametrize("bounds", [(-1.0, 1.0), (0.0, 1.0), (0.1, 0.4)])
def test_clipping_bounds_the_estimate_in_scaled_pet(bounds):
    process = replace(PROCESS, range=bounds)
    target = OptimalDenoiser(process, torch.tensor(50.0), 0.0)
    drawn = target.sample(torch.zeros(1, 1, 4, 4), None, replace(DDIM, steps=5, clip=[0.0, 1.5]), generators(1))
    torch.testing.assert_close(drawn, torch.full_like(drawn, 1.5))


def test_restoring_without_a_sampler_is_refused():
    with pytest.raises(InputError, match="this method samples"):
        OptimalDenoiser(PROCESS, 0.0, 1.0).restore(torch.zeros(1, 1, 4, 4), None)

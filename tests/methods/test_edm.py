"""EDM against closed forms: on a Gaussian the best denoiser, the flow from noise and the share of each noise level are known."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from petbench.errors import InputError
from petbench.methods.base import Progress
from petbench.methods.build import build
from petbench.methods.diffusion import Sampler
from petbench.methods.edm import EDM, NoiseLevels, noise_levels
from petbench.training.probes import learn

from .entries import entry, merged, tiny

LEVELS = NoiseLevels(sigma_data=0.5, p_mean=-1.2, p_std=1.2, scale=1.0)
HEUN = Sampler("heun", 100, seed=0)
EULER = replace(HEUN, name="euler")
MEAN, STD = 0.3, 0.2


class OptimalDenoiser(EDM):
    """Knows that images of the process are N(mean, std), and remembers the levels that it was asked about."""

    def __init__(self, levels=LEVELS, mean=MEAN, std=STD):
        super().__init__(levels)
        self.mean, self.std, self.asked = mean, std, []

    def condition(self, low_dose, mr):
        return None

    def denoise(self, noisy, sigma, condition):
        self.asked.append(sigma)
        variance = sigma.to(noisy.dtype).reshape(-1, 1, 1, 1) ** 2
        return (self.std**2 * noisy + variance * self.mean) / (self.std**2 + variance)


class Silent(EDM):
    """Its network says nothing."""

    def condition(self, low_dose, mr):
        return None

    def predict(self, seen, noise, condition):
        return torch.zeros_like(seen)


def generators(count, seed=0):
    return [torch.Generator().manual_seed(seed + number) for number in range(count)]


def drawn(sampler, method=None, low_dose=None):
    low_dose = torch.zeros(3, 1, 16, 16, dtype=torch.float64) if low_dose is None else low_dose
    return (method or OptimalDenoiser()).sample(low_dose, None, sampler, generators(len(low_dose)))


def flowed(sampler):
    """Where the flow leads from the same noise: x - mean falls as the root of std^2 + sigma^2, and the last step is the denoiser's."""
    start = torch.stack([torch.randn(1, 16, 16, generator=generator) for generator in generators(3)]).double()
    high, low = sampler.sigma_max, sampler.sigma_min
    reached = (high * start - MEAN) * math.sqrt((STD**2 + low**2) / (STD**2 + high**2))
    return MEAN + reached * STD**2 / (STD**2 + low**2)


def error(sampler):
    return float((drawn(sampler) - flowed(sampler)).square().mean().sqrt())


def test_the_flow_of_a_gaussian_is_followed():
    assert error(HEUN) < 2e-3 * STD
    assert error(HEUN) < error(EULER) / 10


@pytest.mark.parametrize(("sampler", "order"), [(HEUN, 2), (EULER, 1)])
def test_the_error_falls_with_the_order_of_the_sampler(sampler, order):
    errors = [error(replace(sampler, steps=steps)) for steps in (100, 200, 400)]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.1)


def test_a_gaussian_is_drawn_whatever_residuals_are_multiplied_by():
    """30,000 voxels know mean and deviation to 0.001; starting as if the mean were 0 costs it mean * std / 80, of the multiplied."""
    low_dose = torch.full((3, 1, 100, 100), 0.6)
    for scale in (1.0, 5.0):
        method = OptimalDenoiser(replace(LEVELS, scale=scale), MEAN * scale, STD * scale)
        found = drawn(HEUN, method, low_dose)
        assert found.dtype == torch.float32
        assert float(found.mean()) == pytest.approx(0.6 + MEAN, abs=0.006)
        assert float(found.std()) == pytest.approx(STD, abs=0.004)


def test_levels_fall_as_published():
    levels = noise_levels(HEUN)
    assert len(levels) == 101
    assert (levels[0], levels[-2], levels[-1]) == (pytest.approx(80), pytest.approx(0.002), 0)
    for number in (1, 40, 98):
        assert levels[number] == pytest.approx((80 ** (1 / 7) + number / 99 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7)
    assert noise_levels(replace(HEUN, steps=5, rho=1.0, sigma_min=2.0, sigma_max=10.0)) == pytest.approx([10, 8, 6, 4, 2, 0])


@pytest.mark.parametrize("name", ["heun", "euler"])
def test_one_step_is_the_estimate_from_noise_alone(name):
    method = OptimalDenoiser()
    found = drawn(replace(HEUN, name=name, steps=1), method)
    assert [float(sigma[0]) for sigma in method.asked] == [80.0]
    torch.testing.assert_close(found, torch.full_like(found, MEAN), atol=5 * STD**2 / 80, rtol=0)


@pytest.mark.parametrize("sampler", [HEUN, EULER, replace(HEUN, steps=1), Sampler("ddim", 7, seed=0)])
def test_a_sampler_tells_its_evaluations(sampler):
    assert sampler.evaluations == {"heun": 2 * sampler.steps - 1}.get(sampler.name, sampler.steps)
    if sampler.name != "ddim":
        method = OptimalDenoiser()
        drawn(sampler, method)
        assert len(method.asked) == sampler.evaluations


@pytest.mark.parametrize("sigma", [0.002, 0.3, 80.0])
def test_what_the_network_sees_and_says_has_a_variance_of_one(sigma):
    """Of images with the deviation that they are taken to have; and the weight makes errors of the network's output count alike."""
    random = torch.Generator().manual_seed(0)
    clean, noise = torch.randn(2, 300_000, generator=random, dtype=torch.float64)
    clean, level = LEVELS.sigma_data * clean, torch.tensor(sigma, dtype=torch.float64)
    noisy = clean + level * noise
    said = (clean - LEVELS.skip(level) * noisy) / LEVELS.out(level)
    assert float((LEVELS.into(level) * noisy).var()) == pytest.approx(1, abs=0.01)
    assert float(said.var()) == pytest.approx(1, abs=0.01)
    assert float(LEVELS.weight(level) * LEVELS.out(level) ** 2) == pytest.approx(1)
    assert abs(float((said * noisy).mean())) < 0.01 * float(noisy.std())  # the skip has said what is linear


def test_a_network_that_says_nothing_has_a_loss_of_one():
    random = torch.Generator().manual_seed(0)
    residual = LEVELS.sigma_data / 4 * torch.randn(200, 1, 16, 16, generator=random)
    batch = {"low_dose": torch.rand(residual.shape, generator=random)}
    batch["standard_dose"] = batch["low_dose"] + residual
    torch.manual_seed(0)
    (step,) = Silent(replace(LEVELS, scale=4.0)).losses(batch, Progress(0, 1))
    assert float(step.loss) == pytest.approx(1, abs=0.01)


def test_noise_levels_of_the_training_are_log_normal():
    method, image = OptimalDenoiser(), torch.zeros(20_000, 1, 1, 1)
    torch.manual_seed(0)
    next(method.losses({"low_dose": image, "standard_dose": image}, Progress(0, 1)))
    logarithms = method.asked[0].log()
    assert float(logarithms.mean()) == pytest.approx(LEVELS.p_mean, abs=0.03)
    assert float(logarithms.std()) == pytest.approx(LEVELS.p_std, abs=0.03)
    assert float(((logarithms - LEVELS.p_mean).abs() < LEVELS.p_std).float().mean()) == pytest.approx(0.683, abs=0.01)


def test_the_network_is_given_a_quarter_of_the_logarithm_and_the_scaled_image():
    seen = []

    class Looking(Silent):
        def predict(self, image, noise, condition):
            seen.append((image, noise))
            return torch.ones_like(image)

    noisy, sigma = torch.randn(2, 1, 4, 4), torch.tensor([0.01, 3.0])
    found = Looking(LEVELS).denoise(noisy, sigma, None)
    for number, level in enumerate((0.01, 3.0)):
        both = 0.25 + level**2
        assert float(seen[0][1][number]) == pytest.approx(math.log(level) / 4)
        torch.testing.assert_close(seen[0][0][number], noisy[number] / math.sqrt(both))
        torch.testing.assert_close(found[number], 0.25 / both * noisy[number] + level * 0.5 / math.sqrt(both))


def test_a_scan_takes_no_more_evaluations_than_it_is_given():
    method = OptimalDenoiser()
    assert method.scan_sampler(None).evaluations == 49
    assert [method.scan_sampler(count).evaluations for count in (1, 2, 3, 10)] == [1, 1, 3, 9]


def of_place(count, seed):
    """Slices whose residual is where they lie, which nothing else tells."""
    random = torch.Generator().manual_seed(seed)
    low_dose, mr = torch.rand(2, count, 1, 8, 8, generator=random)
    height = 2 * torch.rand(count, 1, 1, 1, generator=random) - 1
    return {
        "low_dose": low_dose,
        "mr": mr,
        "coordinates": height.expand(-1, 3, 8, 8).contiguous(),
        "standard_dose": low_dose + 0.5 * height,
    }


@pytest.mark.parametrize("told", [True, False])
def test_what_only_its_place_tells_of_a_slice_is_learned_from_coordinates(told):
    torch.manual_seed(0)
    conditions = [kind for kind in entry("csrd")["train"]["conditions"] if told or kind != "coordinates"]
    method = build("csrd", merged(tiny("csrd"), {"conditions": conditions}))
    learn(method, [of_place(16, seed) for seed in range(60)], 1e-2)
    data = of_place(32, 99)
    more = {"coordinates": data["coordinates"]} if told else {}
    of_much_noise = replace(HEUN, steps=1, sigma_max=1.0)
    found = method.eval().sample(data["low_dose"], data["mr"], of_much_noise, generators(32), **more)
    missed = (found - data["standard_dose"]).square().mean() / (data["standard_dose"] - data["low_dose"]).square().mean()
    assert float(missed) < 0.5 if told else float(missed) > 0.8


def test_a_condition_that_is_missing_is_named():
    method = build("csrd", tiny("csrd"))
    data = of_place(1, 0)
    with pytest.raises(InputError, match="this method needs coordinates"):
        method.sample(data["low_dose"], data["mr"], HEUN, generators(1))

import math

import numpy as np
import pytest
import torch

from petbench.errors import InputError
from petbench.methods import cdm
from petbench.methods.base import Progress
from petbench.methods.build import build
from petbench.methods.diffusion import Sampler
from petbench.training.probes import Phantoms

from .entries import entry, merged, tiny

SAMPLER = Sampler(**entry("cdm")["restore"]["sampler"])


@pytest.fixture(scope="module")
def method():
    torch.manual_seed(0)
    return build("cdm", tiny("cdm")).eval()


@pytest.fixture
def batch():
    return Phantoms((16, 16), 2, seed=3).windows()


def generators(count):
    return [torch.Generator().manual_seed(number) for number in range(count)]


def logs(method, batch):
    torch.manual_seed(5)
    (step,) = method.losses(batch, Progress(0, 1))
    return step


def test_both_networks_are_as_large_as_published():
    with torch.device("meta"):
        method = build("cdm", entry("cdm")["train"])
    sizes = [sum(parameter.numel() for parameter in network.parameters()) for network in (method.coarse, method.denoiser)]
    assert sizes == [26_596_801, 6_796_897]  # the authors' code; 26.60 and 6.80 million


def test_the_spectrum_of_a_wave_is_bright_at_its_frequency():
    angle = 2 * math.pi * 3 * torch.arange(16) / 16
    found = cdm.spectrum((0.5 + torch.cos(angle))[None, None, :, None].expand(1, 1, 16, 16))[0, 0]
    assert {tuple(place) for place in (found > 0.5).nonzero().tolist()} == {(8, 8), (5, 8), (11, 8)}
    assert float(found.min()) == 0.0
    assert float(found.max()) == 1.0


def test_the_spectrum_of_an_empty_slice_is_nothing():
    assert not cdm.spectrum(torch.zeros(2, 1, 8, 8)).any()


def test_the_divergence_is_that_of_its_definition():
    images, estimate = torch.rand(2, 3, 4, 4), torch.rand(2, 1, 4, 4) - 0.2
    p, q = images.double().numpy(), estimate.double().numpy().clip(min=1e-6)
    expected = (p * np.log(p / q)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(cdm.divergence(images, estimate, 1e-6).numpy(), expected, rtol=1e-4)
    torch.testing.assert_close(cdm.divergence(images, images, 1e-6), torch.zeros(2))


def test_a_sampler_with_a_schedule_of_its_own_undoes_it(method, batch, monkeypatch):
    """A network that knows the residual and is told how much of it is left finds it again, in ten steps of another process."""
    residual = 0.3 * torch.randn(2, 1, 16, 16)

    def knows(noisy, level, condition):
        left = level[:, None, None, None]
        return (noisy - left * residual) / (1 - left.square()).sqrt()

    monkeypatch.setattr(method, "predict", knows)
    given = {"neighbours": batch["neighbours"]}
    coarse = method.condition(batch["low_dose"], None, **given).coarse.detach()
    found = method.sample(batch["low_dose"], None, SAMPLER, generators(2), **given)
    torch.testing.assert_close(found, (coarse + residual.clamp(-1, 1)).clamp(min=0), atol=1e-3, rtol=1e-3)


def test_no_other_method_has_a_schedule_in_its_sampler():
    iddpm = build("iddpm", tiny("iddpm"))
    with pytest.raises(InputError, match="sampler/schedule: this method is told the number of a step"):
        iddpm.sample(torch.zeros(1, 1, 8, 8), None, SAMPLER, generators(1))


@pytest.mark.parametrize("changed", ["low_dose", "neighbours"])
def test_both_inputs_reach_the_coarse_image_and_the_noise(method, batch, changed):
    def seen(images):
        condition = method.condition(images["low_dose"], None, neighbours=images["neighbours"])
        return condition.coarse, method.predict(images["standard_dose"], torch.full((2,), 0.5), condition)

    other = batch | {changed: batch[changed].flip(-1)}
    for one, another in zip(seen(batch), seen(other), strict=True):
        assert not torch.allclose(one, another, rtol=1e-3)


def test_the_coarse_image_learns_from_its_residual_and_if_asked_from_its_error(batch):
    bare = {"auxiliary": 0.0, "contrast": 0.0}
    published = build("cdm", merged(tiny("cdm"), {"loss": bare}))
    logs(published, batch).loss.backward()
    assert published.coarse.start.weight.grad.any()
    helped = build("cdm", merged(tiny("cdm"), {"loss": bare | {"coarse": 2.0}}))
    coarse = helped.condition(batch["low_dose"], None, neighbours=batch["neighbours"]).coarse
    torch.testing.assert_close(logs(helped, batch).logs["coarse"], 2 * (coarse - batch["standard_dose"]).abs().mean().detach())


def test_the_loss_is_that_of_its_definition(monkeypatch, batch):
    """Han et al., section 2: the noise's error, what guides miss, and both divergences, weighed by how much noise there is."""
    method = build("cdm", merged(tiny("cdm"), {"loss": {"auxiliary": 0.7, "contrast": 0.3, "floor": 1e-2}}))
    time, noise, place = torch.tensor([3, 1500]), torch.randn(2, 1, 16, 16), torch.tensor([0.25, 0.75], dtype=torch.float64)
    for name, fixed in (("randint", time), ("randn_like", noise), ("rand_like", place)):
        monkeypatch.setattr(torch, name, lambda *_, fixed=fixed: fixed)
    found = logs(method, batch)
    shares = np.cumprod(1 - np.linspace(1e-6, 1e-2, 2000))
    levels = (1 - place) * np.sqrt(shares[time - 1]) + place * np.sqrt(shares[time])
    level = levels[:, None, None, None].float()
    given = method.condition(batch["low_dose"], None, neighbours=batch["neighbours"])
    noisy = level * (batch["standard_dose"] - given.coarse) + (1 - level**2).sqrt() * noise
    told = method.predict(noisy, levels.float(), given)
    estimate = given.coarse + (noisy - (1 - level**2).sqrt() * told) / level
    own = [cdm.divergence(batch["standard_dose"], estimate, 1e-2), (2 - time / 2000)]
    others = [cdm.divergence(batch["negatives"][:, n : n + 1], estimate, 1e-2) for n in range(10)]
    expected = {
        "noise": (told - noise).abs().mean(),
        "auxiliary": 0.7 * (own[0] * own[1]).mean(),
        "contrast": -0.3 * (sum(others) / 10 * (1 + time / 2000)).mean(),
    }
    for name, value in expected.items():
        torch.testing.assert_close(found.logs[name], value.detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.loss, sum(found.logs.values()))


def test_contrast_is_weighed_and_left_out(method, batch):
    weights = {scale: build("cdm", merged(tiny("cdm"), {"loss": {"contrast": scale}})) for scale in (0.0, 1.0, 3.0)}
    for one in weights.values():
        one.load_state_dict(method.state_dict())
    found = {scale: logs(one, batch).logs for scale, one in weights.items()}
    torch.testing.assert_close(found[3.0]["contrast"], 3 * found[1.0]["contrast"])
    del batch["negatives"]
    assert "contrast" not in logs(weights[0.0], batch).logs


def test_contrast_needs_something_to_contrast_with():
    without = {key: value for key, value in tiny("cdm").items() if key != "supervision"}
    with pytest.raises(InputError, match="train/supervision: contrast needs negatives"):
        build("cdm", without)

import copy

import pytest
import torch

from petbench.methods.base import Progress
from petbench.methods.build import build
from petbench.training.probes import Phantoms, learn

from .entries import tiny


def windows(seed):
    return Phantoms((16, 16), 4, seed).windows()


@pytest.fixture(scope="module")
def trained():
    torch.manual_seed(0)
    method = build("cncl", tiny("cncl") | {"initialisation": 0.02})
    learn(method, [windows(seed) for seed in range(240)], 1e-2)
    return method.eval()


@pytest.fixture(scope="module")
def held_out():
    return Phantoms((16, 16), 32, seed=1000).windows()


def error(method, batch):
    return float((method.restore(batch["low_dose"], batch["mr"]) - batch["standard_dose"]).square().mean())


def test_the_noise_is_predicted_on_heads_that_were_not_seen(trained, held_out):
    noise = held_out["low_dose"] - held_out["standard_dose"]
    with torch.no_grad():
        predicted = trained.generate(held_out["low_dose"], held_out["mr"])[:, 1:]
    pair = torch.stack([predicted.flatten(), noise.flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.6
    assert error(trained, held_out) < 0.6 * float(noise.square().mean())


@pytest.mark.parametrize("branch", ["content", "noise"])
def test_the_fusion_uses_both_branches(trained, held_out, branch):
    """Either branch put out worsens the image; none of them is idle."""
    without = copy.deepcopy(trained)
    for parameter in getattr(without.generator, branch).head[-1].parameters():
        parameter.data.zero_()
    assert error(without, held_out) > 1.1 * error(trained, held_out)


def test_the_content_is_fused_of_a_content_and_of_the_low_dose_less_the_noise():
    torch.manual_seed(0)
    generator = build("cncl", tiny("cncl")).generator.eval()
    images = torch.rand(2, 2, 16, 16)
    with torch.no_grad():
        content, noise = generator(images).split(1, dim=1)
        first, second = (float(weight) for weight in generator.fusion.weight.flatten())
        expected = first * generator.content(images) + second * (images[:, :1] - noise) + generator.fusion.bias
    torch.testing.assert_close(content, expected)
    assert first
    assert second


def test_content_and_noise_have_equal_parts_in_the_loss_and_are_judged_beside_what_was_seen():
    torch.manual_seed(0)
    method = build("cncl", tiny("cncl"))
    batch = windows(0)
    judged = []
    method.discriminator.register_forward_pre_hook(lambda _, given: judged.append(given[0]))
    _, step = method.losses(batch, Progress(0, 1))
    low_dose, mr, standard_dose = batch["low_dose"], batch["mr"], batch["standard_dose"]
    noise = low_dose - standard_dose
    made = copy.deepcopy(method).generate(low_dose, mr).detach()
    torch.testing.assert_close(step.logs["l1"], ((made[:, :1] - standard_dose).abs().mean() + (made[:, 1:] - noise).abs().mean()) / 2)
    real, fake, again = judged
    torch.testing.assert_close(real, torch.cat([standard_dose, noise, low_dose, mr], dim=1))
    torch.testing.assert_close(fake, torch.cat([made, low_dose, mr], dim=1))
    torch.testing.assert_close(again, fake)

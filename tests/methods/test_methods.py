import pytest
import torch

from petbench.errors import InputError
from petbench.methods.base import Progress, l1
from petbench.methods.build import build

from .entries import entry, merged, tiny

NAMES = ["m_unet", "mak_gan", "mak_gan-a", "mak_gan-b", "mak_gan-c", "mak_gan-d", "mak_gan-aki_1_1_0"]


def a_batch(size: int = 2, side: int = 16, dims: int = 3) -> dict[str, torch.Tensor]:
    """Warm balls; the low dose is noisy, MR shows the balls with another contrast."""
    axes = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, side)] * dims, indexing="ij"))
    centres = torch.rand(size, dims, *[1] * dims) - 0.5
    balls = ((axes - centres).square().sum(1, keepdim=True) < 0.6).float()
    return {"low_dose": balls + 0.3 * torch.randn_like(balls), "mr": 1 - 0.5 * balls, "standard_dose": balls}


def make(name: str, **change):
    return build(entry(name)["module"], merged(tiny(name), change)).train()


def optimisers(method, rate=2e-3):
    return {name: torch.optim.Adam(parameters, lr=rate) for name, parameters in method.optimised().items()}


def train_step(method, batch, optimised):
    logs = {}
    for step in method.losses(batch, Progress(0, 1)):
        optimised[step.optimiser].zero_grad()
        step.loss.backward()
        optimised[step.optimiser].step()
        logs |= step.logs
    return logs


@pytest.mark.parametrize("name", NAMES)
def test_the_l1_loss_falls(name):
    method, batch = make(name), a_batch()
    optimised = optimisers(method, rate=1e-2)
    history = [float(train_step(method, batch, optimised)["l1"]) for _ in range(40)]
    assert sum(history[-3:]) < 0.8 * sum(history[:3])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dims", [2, 3])
def test_restoring_keeps_shape_and_needs_no_gradient(name, dims):
    method, batch = make(name, network={"spatial_dims": dims}).eval(), a_batch(dims=dims)
    restored = method.restore(batch["low_dose"], batch["mr"])
    assert restored.shape == batch["low_dose"].shape
    assert not restored.requires_grad


@pytest.mark.parametrize("name", ["mak_gan", "mak_gan-d"])
def test_with_the_residual_the_start_is_near_the_low_dose(name):
    method, batch = make(name).eval(), a_batch()
    change = l1(method.restore(batch["low_dose"], batch["mr"]), batch["low_dose"])
    assert change < 0.1 * batch["low_dose"].abs().mean()


@pytest.mark.parametrize("name", ["m_unet", "mak_gan"])
def test_without_mr_there_is_one_sentence(name):
    method, batch = make(name), a_batch()
    with pytest.raises(InputError, match="needs mr"):
        method.restore(batch["low_dose"], None)
    del batch["mr"]
    with pytest.raises(InputError, match="needs mr"):
        next(iter(method.losses(batch, Progress(0, 1))))


@pytest.mark.parametrize("name", ["m_unet", "mak_gan"])
def test_windows_that_cannot_be_halved_are_refused(name):
    window = torch.rand(1, 1, 16, 16, 15)
    with pytest.raises(InputError, match="multiple of"):
        make(name).restore(window, window)


@pytest.mark.parametrize("name", ["m_unet", "mak_gan"])
def test_values_above_one_are_not_clipped(name):
    method, batch = make(name).eval(), a_batch()
    for parameters in method.optimised().values():
        for parameter in parameters:
            torch.nn.init.constant_(parameter, 1.0)
    assert method.restore(batch["low_dose"], batch["mr"]).max() > 10


@pytest.mark.parametrize("name", ["m_unet", "mak_gan"])
def test_logs_are_detached_scalars(name):
    for step in make(name).losses(a_batch(), Progress(0, 1)):
        assert step.loss.ndim == 0
        assert all(value.ndim == 0 and not value.requires_grad for value in step.logs.values())


@pytest.mark.parametrize("edge", [0.0, 50.0])
def test_the_generator_loss_is_the_weighted_sum(edge):
    method = make("mak_gan", loss={"edge": edge})
    discriminate, generate = method.losses(a_batch(), Progress(0, 1))
    weights = {"adversarial": 1.0, "l1": 100.0, "edge": edge}
    assert set(generate.logs) == {name for name, weight in weights.items() if weight}
    torch.testing.assert_close(generate.loss.detach(), sum(weights[name] * term for name, term in generate.logs.items()))
    torch.testing.assert_close(discriminate.loss.detach(), sum(discriminate.logs.values()))

"""CycleWGAN and PT-WGAN: critics, the cycle, supervision and the transfer from pretraining."""

import pytest
import torch

from petbench.errors import InputError
from petbench.methods.adversarial import criticism, gradient_penalty, scores
from petbench.methods.base import Progress, l1, mse
from petbench.methods.build import build
from petbench.networks.critic import Critic
from petbench.networks.slab_generator import SlabGenerator
from petbench.restoration.weights import Description, fill, save_weights
from petbench.training.probes import Phantoms, batches, learn

from .entries import entry, merged, tiny

KINDS = ("low_dose", "standard_dose")
WINDOWS = {"cycle_wgan": (16, 16), "pt_wgan": (16, 16, 9)}
METHODS = sorted(WINDOWS)


def make(module, name=None, **change):
    return build(module, merged(tiny(name or module), change)).train()


def drawn(module, steps=1, parts=4, count=2):
    return batches(Phantoms(WINDOWS[module], count, seed=1), KINDS, steps, parts)


class Linear(torch.nn.Module):
    """A critic whose gradient is known: `slope` times a unit vector."""

    def __init__(self, slope, shape):
        super().__init__()
        direction = torch.randn(shape)
        self.slope = torch.nn.Parameter(torch.tensor(slope))
        self.register_buffer("direction", direction / direction.norm())

    def forward(self, images):
        return self.slope * (images * self.direction).flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("spatial", [(6, 6), (4, 4, 3)])
def test_the_penalty_is_the_squared_distance_of_the_slope_from_one_and_so_is_its_gradient(spatial):
    critic, (real, fake) = Linear(3.0, (1, *spatial)), torch.rand(2, 5, 1, *spatial)
    penalty = gradient_penalty(critic, real, fake)
    torch.testing.assert_close(penalty.detach(), torch.tensor(4.0))
    torch.testing.assert_close(torch.autograd.grad(penalty, critic.slope)[0], torch.tensor(4.0))


def test_the_penalty_is_taken_on_lines_between_real_and_fake_images_and_stops_at_them():
    seen = []
    critic = Critic([4, 4], [2, 2], [2, 2], 8)
    critic.register_forward_pre_hook(lambda _, images: seen.append(images[0].detach()))
    real, fake = torch.rand(2, 8, 1, 16, 16).requires_grad_()
    penalty = gradient_penalty(critic, real, fake)
    with torch.no_grad():
        share = ((seen[0] - fake) / (real - fake)).flatten(1).median(dim=1).values
        torch.testing.assert_close(seen[0], fake + share[:, None, None, None] * (real - fake))
    assert share.min() > 0
    assert share.max() < 1
    assert len(share.unique()) == 8
    assert torch.autograd.grad(penalty, [real, fake], allow_unused=True) == (None, None)


def test_the_penalty_follows_torchs_random_state_and_not_the_autocast():
    critic, (real, fake) = Critic([4, 4], [2, 2], [2, 2], 8), torch.rand(2, 4, 1, 16, 16)

    def at(seed, autocast=False):
        torch.manual_seed(seed)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            penalty = gradient_penalty(critic, real, fake)
        return penalty.detach(), torch.autograd.grad(penalty, critic.hidden[0].weight)[0]

    for one, other in zip(at(0), at(0, autocast=True), strict=True):
        assert torch.equal(one, other)
        assert one.dtype == torch.float32
    assert not torch.equal(at(0)[0], at(1)[0])


def slopes(critic, real, fake):
    between = (0.5 * (real + fake)).requires_grad_()
    (gradient,) = torch.autograd.grad(scores(critic, between).sum(), between)
    return gradient.flatten(1).norm(dim=1)


def test_critic_steps_bring_the_slope_near_one_and_without_the_penalty_they_do_not():
    """A critic tells images of two levels apart; only the penalty keeps it from doing so ever more."""
    found = {}
    for weight in (0.0, 10.0):
        torch.manual_seed(0)
        critic = Critic([4, 8], [2, 2], [2, 2], 16)
        optimiser = torch.optim.Adam(critic.parameters(), lr=3e-3, betas=(0.5, 0.9))
        for _ in range(150):
            real, fake = torch.rand(8, 1, 16, 16) + 0.2, torch.rand(8, 1, 16, 16)
            distance, penalty = criticism(critic, real, fake)
            optimiser.zero_grad()
            (distance + weight * penalty).backward()
            optimiser.step()
        found[weight] = slopes(critic, real, fake)
        assert scores(critic, real).mean() > scores(critic, fake).mean()
    assert (found[10.0] - 1).abs().max() < 0.3
    assert found[0.0].min() > 10


@pytest.mark.parametrize("module", METHODS)
def test_each_step_sees_windows_of_its_own(module):
    """Three steps of the critics and one of the generators share eight windows out among themselves, two to each, in order."""
    method, (batch,) = make(module), drawn(module)
    critic = method.critic if module == "pt_wgan" else method.judges["standard_dose"]
    seen = []
    critic.register_forward_pre_hook(lambda _, images: seen.append(images[0].detach()))
    generated = []
    method.generator.register_forward_pre_hook(lambda _, images: generated.append(images[0].detach()))
    names = [step.optimiser for step in method.losses(batch, Progress(0, 1))]
    last = "generator" if module == "pt_wgan" else "generators"
    assert names == [{"pt_wgan": "critic", "cycle_wgan": "critics"}[module]] * 3 + [last]
    assert method.batches == 4
    for number in range(4):
        part = batch["low_dose"][2 * number : 2 * number + 2]
        assert any(torch.equal(images, part) for images in generated)
    reals = [images for images in seen if any(torch.equal(images, real) for real in batch["standard_dose"].split(2))]
    assert all(torch.equal(*pair) for pair in zip(reals, batch["standard_dose"].split(2)[:3], strict=True))


@pytest.mark.parametrize("module", METHODS)
def test_critics_and_generators_leave_each_others_gradients_alone(module):
    method, (batch,) = make(module), drawn(module)
    for step in method.losses(batch, Progress(0, 1)):
        method.zero_grad()
        step.loss.backward()
        moved = {name.split(".")[0] for name, parameter in method.named_parameters() if parameter.grad is not None}
        expected = {"critics": {"judges"}, "critic": {"critic"}, "generator": {"generator"}}
        assert moved == expected.get(step.optimiser, {"generator", "inverse"})


@pytest.mark.parametrize("module", METHODS)
def test_generators_follow_the_critics(module):
    """With the critic's score alone as its loss, a step of the generator raises it, and its image changes."""
    off = {"mse": 0.0} if module == "pt_wgan" else {"cycle": 0.0, "supervised": 0.0}
    method, (batch,) = make(module, loss=off), drawn(module, parts=1, count=4)
    method.batches = 1
    scored = []
    optimiser = torch.optim.Adam(list(method.optimised()["generator" if module == "pt_wgan" else "generators"]), lr=1e-3)
    for _ in range(10):
        (step,) = method.losses(batch, Progress(0, 1))
        scored.append(-float(step.loss.detach()))
        optimiser.zero_grad()
        step.loss.backward()
        optimiser.step()
    assert scored[-1] > scored[0]


def test_the_cycle_closes_where_it_is_asked_to():
    errors = {}
    for cycle in (0.0, 100.0):
        torch.manual_seed(0)
        method = make("cycle_wgan", loss={"supervised": 0.0, "cycle": cycle})
        given = drawn("cycle_wgan", steps=30)
        learn(method, given, rate=3e-3)
        low, standard = (given[0][kind] for kind in KINDS)
        with torch.no_grad():
            there_and_back = l1(method.inverse(method.generator(low)), low)
            errors[cycle] = float(there_and_back + l1(method.generator(method.inverse(standard)), standard))
    assert errors[100.0] < 0.5 * errors[0.0]


def test_the_cycle_and_the_supervision_are_sums_over_both_directions():
    method, (batch,) = make("cycle_wgan", loss={"adversarial": 0.0, "cycle": 2.0, "supervised": 3.0}), drawn("cycle_wgan", parts=1)
    low, standard = (batch[kind] for kind in KINDS)
    high, lower = method.generator(low), method.inverse(standard)
    cycle = l1(method.inverse(high), low) + l1(method.generator(lower), standard)
    supervised = l1(high, standard) + l1(lower, low)
    (step,) = method.losses(batch, Progress(0, 1))
    torch.testing.assert_close(step.loss, 2 * cycle + 3 * supervised)
    assert set(method.optimised()) == {"generators"}
    assert not any(name.startswith("judges") for name in method.weights())


def test_supervision_teaches_from_pairs_to_leave_noise_out():
    """Of unseen noise three quarters go; a tenth did where the input was added and generators had to carry noise through their coarsest grid."""
    torch.manual_seed(0)
    method = make("cycle_wgan", loss={"adversarial": 0.0, "cycle": 0.0})
    given = drawn("cycle_wgan", steps=100, parts=1, count=4)
    for batch in given:
        batch["low_dose"] = batch["standard_dose"] + 0.5 * torch.randn(batch["standard_dose"].shape)
    learn(method, given[:-1], rate=1e-2)
    low, standard = (given[-1][kind] for kind in KINDS)
    assert l1(method.restore(low, None), standard) < 0.4 * l1(low, standard)


def test_the_adversarial_training_starts_from_the_generator_that_squared_errors_taught(tmp_path):
    torch.manual_seed(0)
    taught = make("pt_wgan", "pt_wgan-mse")
    assert taught.critic is None
    assert taught.batches == 1
    given = drawn("pt_wgan", steps=40, parts=1)
    low, standard = (given[-1][kind] for kind in KINDS)
    first = float(mse(taught.restore(low, None), standard))
    learn(taught, given, rate=5e-3)
    assert float(mse(taught.restore(low, None), standard)) < 0.75 * first
    path = tmp_path / "model.safetensors"
    save_weights(path, taught.weights(), Description("pt_wgan", {}, {}, [], [], "phantoms", "low", "0", ""))
    start = entry("pt_wgan")["init_from"]
    assert start == {"method": "pt_wgan-mse", "part": "generator"}
    method = make("pt_wgan")
    critic = {name: tensor.clone() for name, tensor in method.critic.state_dict().items()}
    fill(method, path, start["part"])
    assert torch.equal(method.eval().restore(low, None), taught.eval().restore(low, None))
    assert all(torch.equal(tensor, critic[name]) for name, tensor in method.critic.state_dict().items())


def test_a_slice_of_a_slab_depends_on_four_to_either_side():
    generator = SlabGenerator(4, "linear")
    slab = torch.rand(1, 1, 12, 12, 13).requires_grad_()
    (gradient,) = torch.autograd.grad(generator(slab)[0, 0, 6, 6, 6], slab)
    assert gradient.abs().sum(dim=(0, 1, 2, 3)).nonzero().flatten().tolist() == list(range(2, 11))


def test_a_slab_generator_has_the_published_layers():
    """Ten layers without biases; 3 x 3 x 3 in the outer two at either end, 3 x 3 in the six between: 112,320 parameters."""
    sizes = [tuple(parameter.shape) for parameter in SlabGenerator(32, "relu").parameters()]
    cubes = [(32, 1, 3, 3, 3), (32, 32, 3, 3, 3), (32, 32, 3, 3, 3), (32, 1, 3, 3, 3)]
    assert sizes == [*cubes[:2], *[(32, 32, 3, 3, 1)] * 6, *cubes[2:]]
    assert sum(torch.Size(size).numel() for size in sizes) == 112_320


@pytest.mark.parametrize("module", METHODS)
def test_without_any_weight_there_is_nothing_to_learn(module):
    off = {"adversarial": 0.0, "mse": 0.0} if module == "pt_wgan" else {"adversarial": 0.0, "cycle": 0.0, "supervised": 0.0}
    with pytest.raises(InputError, match=r"train/loss: .* 0; give one a weight"):
        make(module, loss=off)


def test_a_critic_has_a_stride_an_axis():
    with pytest.raises(InputError, match="critic: 2 strides for a size of 3 axes"):
        Critic([4], [2, 2], [2, 2, 1], 8)

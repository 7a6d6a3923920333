"""HGAN: the cycle, the judges, and what restoring takes."""

import pytest
import torch

from petbench.errors import InputError
from petbench.methods.base import Progress, l1
from petbench.methods.build import build
from petbench.methods.hgan import UnitGenerator
from petbench.training.probes import learn

from .entries import merged, tiny

EACH = ("adversarial", "cycle", "voxel")


def make(**change):
    return build("hgan", merged(tiny("hgan"), change)).train()


def heads(count=4, side=16):
    """Balls of several places and sizes as MR, and PET that is warm in and around them."""
    axes = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, side)] * 3, indexing="ij"))
    centres, sizes = 0.6 * torch.rand(count, 3, 1, 1, 1) - 0.3, 0.4 + 0.3 * torch.rand(count, 1, 1, 1, 1)
    radius = ((axes - centres) / sizes).square().sum(1, keepdim=True).sqrt()
    return {"mr": (radius < 1).float() * 0.8, "standard_dose": torch.exp(-(radius**2))}


def trained(steps, **loss):
    torch.manual_seed(0)
    batch = heads()
    method = make(loss={"adversarial": 0.0, **loss})
    learn(method, [batch] * steps, rate=1e-2)
    return method.eval(), batch


def test_the_cycle_closes_where_it_is_asked_to():
    """MR to PET and back, with and without the term, at equal steps from equal starts; without the loss on pairs, which closes it too."""
    errors = {}
    for cycle in (0.0, 10.0):
        method, batch = trained(20, adversarial=1.0, cycle=cycle, voxel=0.0)
        with torch.no_grad():
            errors[cycle] = float(l1(method.inverse(method.generator(batch["mr"])), batch["mr"]))
    assert errors[10.0] < 0.5 * errors[0.0]


def test_the_cycle_is_of_each_image_itself_and_teaches_both_ways():
    method, batch = make(loss={"adversarial": 0.0, "cycle": 1.0, "voxel": 0.0}), heads()
    mr, pet = batch["mr"], batch["standard_dose"]
    back_and_forth = l1(method.inverse(method.generator(mr)), mr) + l1(method.generator(method.inverse(pet)), pet)
    (step,) = method.losses(batch, Progress(0, 1))
    torch.testing.assert_close(step.loss, back_and_forth)
    parameters = method.optimised()["generators"]
    for found, expected in zip(*(torch.autograd.grad(loss, parameters) for loss in (step.loss, back_and_forth)), strict=True):
        torch.testing.assert_close(found, expected)


def test_both_generators_learn_from_pairs():
    method, batch = trained(40, cycle=0.0)
    fresh, _ = trained(0)
    for generator, given, wanted in (("generator", "mr", "standard_dose"), ("inverse", "standard_dose", "mr")):
        with torch.no_grad():
            before, after = (float(l1(getattr(m, generator)(batch[given]), batch[wanted])) for m in (fresh, method))
        assert after < 0.5 * before


def test_each_discriminator_judges_its_own_kind_of_image():
    method, batch = make(), heads()
    seen = {"standard_dose": [], "mr": []}
    for kind, discriminator in method.judges.items():
        discriminator.register_forward_pre_hook(lambda _, images, kind=kind: seen[kind].append(images[0].detach()))
    made = {"standard_dose": method.generator(batch["mr"]), "mr": method.inverse(batch["standard_dose"])}
    assert [step.optimiser for step in method.losses(batch, Progress(0, 1))] == list(method.optimised())
    for kind in seen:
        for image, expected in zip(seen[kind], (batch[kind], made[kind], made[kind]), strict=True):
            torch.testing.assert_close(image, expected)


def test_the_generators_leave_the_discriminators_gradients_alone():
    method = make()
    for step in method.losses(heads(), Progress(0, 1)):
        method.zero_grad()
        step.loss.backward()
        moved = {name for name, parameter in method.named_parameters() if parameter.grad is not None and parameter.grad.any()}
        judges = {"discriminator_pet": ("judges.standard_dose",), "discriminator_mr": ("judges.mr",)}
        prefix = judges.get(step.optimiser, ("generator", "inverse"))
        assert {name.split(".network")[0].split(".layers")[0] for name in moved} == set(prefix)


@pytest.mark.parametrize("only", EACH)
def test_what_has_no_weight_is_not_computed(only):
    method, batch = make(loss={name: 2.0 * (name == only) for name in EACH}), heads()
    calls = []
    method.generator.register_forward_hook(lambda *_: calls.append(1))
    *_, last = method.losses(batch, Progress(0, 1))
    assert set(last.logs) == {only}
    torch.testing.assert_close(last.loss.detach(), 2 * last.logs[only])
    assert len(calls) == (2 if only == "cycle" else 1)
    assert any(name.startswith("judges") for name in method.weights()) is (only == "adversarial")
    assert ("discriminator_mr" in method.optimised()) is (only == "adversarial")


def test_without_any_weight_there_is_nothing_to_learn():
    with pytest.raises(InputError, match="train/loss: the weights adversarial, cycle, voxel are all 0"):
        make(loss=dict.fromkeys(EACH, 0.0))


def test_restoring_takes_the_way_from_mr_to_pet_alone():
    method, batch = make().eval(), heads()
    made = method.restore(None, batch["mr"])
    for network in (method.inverse, method.judges):
        for parameter in network.parameters():
            torch.nn.init.constant_(parameter, float("nan"))
    assert torch.equal(method.restore(torch.rand(4, 1, 16, 16, 16), batch["mr"]), made)
    with pytest.raises(InputError, match="needs mr"):
        method.restore(batch["mr"], None)


def test_the_generator_has_the_published_layers():
    """8, 16 and 32 features; 7-wide at both ends, strided and transposed by 2, six residual blocks: counted layer by layer."""
    generator = UnitGenerator(8, 6, "relu")
    norm = lambda width: 2 * width  # noqa: E731
    conv = lambda a, b, side: a * b * side**3 + b  # noqa: E731
    ends = conv(1, 8, 7) + norm(8) + conv(8, 1, 7)
    down = conv(8, 16, 3) + norm(16) + conv(16, 32, 3) + norm(32)
    up = conv(32, 16, 3) + norm(16) + conv(16, 8, 3) + norm(8)
    assert sum(p.numel() for p in generator.parameters()) == ends + down + up + 6 * 2 * (conv(32, 32, 3) + norm(32))
    images = torch.rand(1, 1, 16, 16, 16)
    sizes = []
    for layer in generator.network.layers:
        layer.register_forward_hook(lambda _, __, output: sizes.append(output.shape[1:3]))
    assert generator(images).shape == images.shape
    assert {tuple(size) for size in sizes} == {(8, 16), (16, 8), (32, 4)}


def test_images_fill_minus_one_to_one_inside():
    """As its authors' code has them: 2 x - 1 goes in, and ReLU(y / 2 + 1) - 1 of it comes out."""
    generator, images = UnitGenerator(2, 1, "relu").eval(), torch.rand(1, 1, 8, 8, 8)
    with torch.no_grad():
        inside = generator.network(2 * images - 1)
        torch.testing.assert_close(2 * generator(images) - 1, (inside / 2 + 1).relu() - 1)


def test_a_window_that_does_not_halve_twice_is_refused():
    with pytest.raises(InputError, match="multiple of 4"):
        make().generator(torch.rand(1, 1, 16, 16, 18))

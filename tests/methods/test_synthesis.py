"""Methods that make PET of MR: PCSA-GAN, its comparator, and the mean PET."""

from functools import partial

import pytest
import torch
from torch.nn.functional import softplus

from petbench.errors import InputError
from petbench.methods.base import Progress
from petbench.methods.build import build
from petbench.networks.ms_ssim import _blur

from .entries import entry, merged, tiny
from .test_entries import differences
from .test_methods import optimisers, train_step

ABLATIONS = {
    "pca": {"train.network.attention_grid": 0},
    "sa": {"train.network.pyramid": False},
    "attention_16": {"train.network.attention_grid": 16},
    "attention_32": {"train.network.attention_grid": 32},
    "adversarial": {"train.loss.l1": 0.0, "train.loss.ms_ssim": 0.0},
    "mae": {"train.loss.ms_ssim": 0.0},
    "ms_ssim": {"train.loss.l1": 0.0},
    "mae_ssim": {"train.loss.ssim": 12.0, "train.loss.ms_ssim": 0.0},
}
TRAINED = ["pcsa_gan", "cgan_unet", *(f"pcsa_gan-{name}" for name in ABLATIONS)]


def pairs(count=3, side=16):
    """MR of balls, and PET that is warm where the MR is."""
    axes = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, side)] * 3, indexing="ij"))
    centres = torch.rand(count, 3, 1, 1, 1) - 0.5
    balls = ((axes - centres).square().sum(1, keepdim=True) < 0.5).float()
    return {"mr": balls, "standard_dose": 0.2 + 0.6 * balls}


def make(name, **change):
    return build(entry(name)["module"], merged(tiny(name), change)).train()


@pytest.mark.parametrize("name", ABLATIONS)
def test_ablations_change_their_part_only(name):
    assert differences(f"pcsa_gan-{name}", "pcsa_gan") == ABLATIONS[name]


@pytest.mark.parametrize("name", ["pcsa_gan", "cgan_unet", "pcsa_gan-sa"])
def test_pet_is_learnt_from_mr_alone(name):
    method, batch = make(name), pairs()
    optimised = optimisers(method, rate=5e-3)
    errors = [float(train_step(method, batch, optimised)["l1"]) for _ in range(40)]
    assert sum(errors[-3:]) < 0.5 * sum(errors[:3])
    made = method.eval().restore(None, batch["mr"])
    assert made.shape == batch["mr"].shape
    assert not made.requires_grad


@pytest.mark.parametrize("name", TRAINED)
def test_the_generator_loss_is_the_weighted_sum_of_what_has_a_weight(name):
    method = make(name)
    weights = {key: value for key, value in entry(name)["train"]["loss"].items() if key not in ("objective", "normalise") and value}
    _, generate = method.losses(pairs(), Progress(0, 1))
    assert set(generate.logs) == set(weights)
    torch.testing.assert_close(generate.loss.detach(), sum(weights[key] * term for key, term in generate.logs.items()))


@pytest.mark.parametrize("name", ["pcsa_gan", "mak_gan"])
def test_what_has_no_weight_is_not_computed(name, monkeypatch):
    """Of any adversarial method, the adversarial loss included: without it there is no discriminator, in its weights neither."""
    batch = pairs() | {"low_dose": torch.rand(3, 1, 16, 16, 16)}
    weights = [key for key, value in entry(name)["train"]["loss"].items() if isinstance(value, float)]
    called = []

    def term(key):
        called.append(key)
        return torch.zeros((), requires_grad=True)

    for only in weights:
        method = make(name, loss={key: float(key == only) for key in weights})
        monkeypatch.setattr(method, "terms", lambda *_: {key: partial(term, key) for key in weights if key != "adversarial"})
        called.clear()
        steps = list(method.losses(batch, Progress(0, 1)))
        judged = only == "adversarial"
        assert called == ([] if judged else [only])
        assert set(steps[-1].logs) == {only}
        assert [step.optimiser for step in steps] == list(method.optimised()) == (["discriminator"] if judged else []) + ["generator"]
        assert any(key.startswith("discriminator") for key in method.weights()) is judged
    with pytest.raises(InputError, match=r"train/loss: the weights adversarial, l1, .* are all 0; give one a weight"):
        make(name, loss=dict.fromkeys(weights, 0.0))


def gradients(method, batch, precision):
    """The loss and the gradient of each optimiser's step, the latter as one vector."""
    found, steps = {}, method.losses(batch, Progress(0, 1))
    while True:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            step = next(steps, None)
        if step is None:
            return found
        method.zero_grad()
        step.loss.backward()
        parameters = list(method.optimised()[step.optimiser])
        found[step.optimiser] = step.loss.detach(), torch.cat([parameter.grad.flatten() for parameter in parameters])


def heads(count=4, side=32):
    """Grey matter, a shell, of heads of several sizes and places, and PET that is brightest there; as smooth as after preprocessing."""
    axes = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, side)] * 3, indexing="ij"))
    centres, sizes = (low + 0.2 * torch.rand(count, width, 1, 1, 1) for low, width in ((-0.1, 3), (0.55, 1)))
    radius = ((axes - centres) / sizes).square().sum(1, keepdim=True).sqrt()
    grey = ((radius < 1) & (radius > 0.7)).float()
    return _blur(grey), _blur(0.25 * (radius < 1) + 0.75 * grey)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", ["pcsa_gan", "pcsa_gan-mae_ssim"])
def test_terms_on_the_image_pull_alike(name, seed):
    """On images as a generator makes them from its first steps on: else rows that differ in a term could not differ in what they learn.

    Not on an even image, which it begins with: of a similarity of nearly 0 the roots in MS-SSIM have a slope without bound.
    """
    torch.manual_seed(seed)
    method, (mr, pet) = make(name), heads()
    made = {
        "dark, with the contrast of MR": softplus(3 * mr - 0.6 + 0.1 * torch.randn(mr.shape)) / 10,
        "everybody alike": pet.mean(0, keepdim=True).expand_as(pet),
        "too smooth": 0.7 * _blur(_blur(pet)),
        "noisy": pet + 0.03 * torch.randn(pet.shape),
    }
    for how, image in made.items():
        image.requires_grad_()
        weights = {key: weight for key, weight in method.loss_weights.items() if weight and key != "adversarial"}
        terms = {key: term for key, term in method.terms(image, {"standard_dose": pet}).items() if key in weights}
        pulls = {key: weights[key] * torch.autograd.grad(term(), image)[0].norm() for key, term in terms.items()}
        assert len(pulls) == 2
        assert all(1 / 3 < pull / pulls["l1"] < 3 for pull in pulls.values()), how


# A gradient that comes through the discriminator alone turns on which voxel of a pool is the largest, and so on the last bit of an image.
@pytest.mark.parametrize("name", [name for name in TRAINED if name != "pcsa_gan-adversarial"])
def test_bfloat16_leaves_losses_finite_and_gradients_as_they_are(name):
    wider = {"filters": [[2, 4, 6], [12, 20]], "deep": 48} if name.startswith("pcsa_gan") else {"channels": [8, 16]}
    (mr, pet), method = heads(3, 16), make(name, network=wider, discriminator={"channels": [8, 16, 32, 64]})
    exact, rounded = (gradients(method, {"mr": mr, "standard_dose": pet}, precision) for precision in ("fp32", "bf16"))
    for optimiser, (loss, gradient) in rounded.items():
        assert torch.isfinite(loss)
        if name == "cgan_unet" and optimiser == "discriminator":
            continue  # it judges other images: batch normalisation in the generator spreads the rounding
        assert (gradient - exact[optimiser][1]).norm() < 0.05 * exact[optimiser][1].norm()


@pytest.mark.parametrize("conditional", [True, False])
def test_the_discriminator_sees_the_mr_if_it_is_conditional(conditional):
    method, batch = make("pcsa_gan", discriminator={"conditional": conditional}), pairs()
    swapped = batch | {"mr": batch["mr"].roll(1, dims=0)}
    losses = []
    for one in (batch, swapped):
        torch.manual_seed(0)
        losses.append(float(next(iter(method.losses(one, Progress(0, 1)))).logs["discriminator_real"]))
    assert (losses[0] == losses[1]) is not conditional


def test_a_low_dose_is_neither_needed_nor_looked_at():
    method, batch = make("pcsa_gan").eval(), pairs()
    assert torch.equal(method.restore(None, batch["mr"]), method.restore(torch.rand(3, 1, 16, 16, 16), batch["mr"]))
    with pytest.raises(InputError, match="needs mr"):
        method.restore(batch["mr"], None)


def test_the_mean_pet_is_the_mean_of_what_it_was_shown_and_nothing_else():
    method, batch = build("mean_pet", entry("mean_pet")["train"]), pairs(5)
    assert method.optimised() == {}
    for number in range(5):
        assert list(method.losses({key: volume[number : number + 1] for key, volume in batch.items()}, Progress(0, 1))) == []
    torch.testing.assert_close(method.restore(None, batch["mr"])[3], batch["standard_dose"].mean(dim=0))
    other = build("mean_pet", entry("mean_pet")["train"])
    other.load_weights(method.weights())
    assert torch.equal(other.restore(None, batch["mr"]), method.restore(None, batch["mr"]))
    resumed = build("mean_pet", entry("mean_pet")["train"])
    resumed.load_state_dict(method.state_dict())
    assert torch.equal(resumed.mean, method.mean)
    with pytest.raises(InputError, match="keep the window"):
        method.restore(None, torch.rand(1, 1, 8, 8, 8))
    with pytest.raises(InputError, match="takes each image in once; give epochs 1"):
        build("mean_pet", {"steps": 10, "batch_size": 1})

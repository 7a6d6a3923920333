"""Methods that make PET of MR: PCSA-GAN, its comparator, and the mean PET."""

import pytest
import torch

from petbench.errors import InputError
from petbench.methods.build import build

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
    "mae_ssim": {"train.loss.ssim": 1.0, "train.loss.ms_ssim": 0.0},
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
    _, generate = method.losses(pairs())
    assert set(generate.logs) == set(weights)
    torch.testing.assert_close(generate.loss.detach(), sum(weights[key] * term for key, term in generate.logs.items()))


@pytest.mark.parametrize("conditional", [True, False])
def test_the_discriminator_sees_the_mr_if_it_is_conditional(conditional):
    method, batch = make("pcsa_gan", discriminator={"conditional": conditional}), pairs()
    swapped = batch | {"mr": batch["mr"].roll(1, dims=0)}
    losses = []
    for one in (batch, swapped):
        torch.manual_seed(0)
        losses.append(float(next(iter(method.losses(one))).logs["discriminator_real"]))
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
        assert list(method.losses({key: volume[number : number + 1] for key, volume in batch.items()})) == []
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

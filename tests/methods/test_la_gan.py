"""What must be seen of a trained LA-GAN: weights that go with the place, and a second stage that makes use of the first."""

import pytest
import torch
from torch.nn.functional import avg_pool3d, interpolate

from petbench.errors import InputError
from petbench.networks.locality_adaptive import LocalityAdaptiveFusion

from .test_methods import make, optimisers, train_step

NETWORK = {"regions": 2, "channels": [8, 16], "normalisation": "none"}
STEPS = 120


def field(draw: torch.Generator, size: int, width: int) -> torch.Tensor:
    coarse = torch.rand(size, 1, *[16 // width + 1] * 3, generator=draw)
    return interpolate(coarse, size=(16, 16, 16), mode="trilinear")


def halves(size: int, seed: int) -> dict[str, torch.Tensor]:
    """The low dose tells the standard dose in one half of the window and MR in the other; elsewhere each is something else."""
    draw = torch.Generator().manual_seed(seed)
    standard_dose, one, other = (field(draw, size, 4) for _ in range(3))
    first = (torch.arange(16) < 8).float()[:, None, None]
    return {
        "low_dose": standard_dose * first + one * (1 - first),
        "mr": standard_dose * (1 - first) + other * first,
        "standard_dose": standard_dose,
    }


def heads(size: int, seed: int) -> dict[str, torch.Tensor]:
    """Warm structures that MR shows sharply, in a noisy low dose."""
    draw = torch.Generator().manual_seed(seed)
    structure = (field(draw, size, 4) > 0.5).float()
    standard_dose = 0.2 + 0.6 * avg_pool3d(structure, 3, 1, 1, count_include_pad=False) + 0.1 * field(draw, size, 8)
    return {
        "low_dose": standard_dose + 0.4 * torch.randn(standard_dose.shape, generator=draw),
        "mr": 1 - 0.6 * structure,
        "standard_dose": standard_dose,
    }


def trained(batch, seed=0, **network):
    torch.manual_seed(seed)
    method = make("la_gan-first", network=NETWORK | network)
    optimised = optimisers(method, rate=4e-3)
    for step in range(STEPS):
        train_step(method, batch(step), optimised)
    return method.eval()


def error(restored, batch):
    return (restored - batch["standard_dose"]).square().mean().sqrt().item()


def test_modalities_start_alike_everywhere():
    images = torch.rand(2, 3, 8, 6, 4)
    torch.testing.assert_close(LocalityAdaptiveFusion(3, 3, 2)(images), images.mean(dim=1, keepdim=True))


@pytest.mark.parametrize("sides", [(8, 6, 4), (9, 7, 5), (2, 2, 2)])
def test_a_region_has_weights_of_its_own(sides):
    fusion = LocalityAdaptiveFusion(3, 2, 2)
    with torch.no_grad():
        fusion.weight.zero_()
        fusion.weight[1, 0, 1, 0] = 3.0
    images = torch.rand(1, 2, *sides)
    half = [round(side / 2 + 0.25) for side in sides]
    expected = torch.zeros(1, 1, *sides)
    expected[..., : half[0], half[1] :, : half[2]] = 3 * images[:, 1:, : half[0], half[1] :, : half[2]]
    torch.testing.assert_close(fusion(images), expected)


def test_weights_differ_by_region_where_regions_need_different_modalities():
    method, unseen = trained(lambda step: halves(2, step)), halves(8, seed=-1)
    pet, mr = method.generator.fusion.weight.detach().abs()
    share = pet / (pet + mr)
    assert share[0].min() > 0.65
    assert share[1].max() < 0.35
    same_everywhere = trained(lambda step: halves(2, step), regions=1)
    errors = [error(one.restore(unseen["low_dose"], unseen["mr"]), unseen) for one in (method, same_everywhere)]
    assert errors[0] < 0.7 * errors[1]


def test_a_second_stage_uses_its_context_and_is_better_than_the_first():
    first = trained(lambda step: heads(2, step))

    def staged(size, seed):
        batch = heads(size, seed)
        return batch | {"context": first.restore(batch["low_dose"], batch["mr"])}

    # other windows than the first stage saw: its context is out of fold
    second, unseen = trained(lambda step: staged(2, 1000 + step), modalities=3), staged(8, seed=-1)
    low_dose, mr, context = (unseen[kind] for kind in ("low_dose", "mr", "context"))
    own = error(second.restore(low_dose, mr, context=context), unseen)
    assert own < 0.95 * error(context, unseen)
    assert error(second.restore(low_dose, mr, context=context.roll(1, 0)), unseen) > 1.5 * own


@pytest.mark.parametrize("name", ["la_gan-first", "la_gan"])
def test_slices_are_restored_as_patches_are(name):
    method = make(name, network=NETWORK | {"spatial_dims": 2, "modalities": 2 if name == "la_gan-first" else 3})
    batch = {kind: torch.rand(2, 1, 16, 12) for kind in ("low_dose", "mr", "context", "standard_dose")}
    train_step(method, batch, optimisers(method))
    assert method.eval().restore(batch["low_dose"], batch["mr"], context=batch["context"]).shape == (2, 1, 16, 12)


def test_a_second_stage_needs_its_context():
    batch = heads(1, seed=0)
    with pytest.raises(InputError, match="needs context"):
        make("la_gan", network={"modalities": 3}).restore(batch["low_dose"], batch["mr"])

"""GLA-GAN: its local path and its loss on regions."""

import pytest
import torch

from petbench.errors import InputError
from petbench.methods.base import Progress
from petbench.methods.build import build
from petbench.methods.gla_gan import region_error
from petbench.networks.gla_generator import GLAGenerator
from petbench.networks.volume_discriminator import VolumeDiscriminator
from petbench.training.probes import learn

from .entries import merged, tiny

WEIGHTS = {"adversarial": 0.0, "l1": 100.0, "ms_ssim": 0.0, "regions": 0.0}


def make(**change):
    return build("gla_gan", merged(tiny("gla_gan"), change)).train()


def people(count=4, side=16):
    """MR of balls; PET that is warm there, and in a small region of everybody's warm by how large the ball is."""
    axes = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, side)] * 3, indexing="ij"))
    sizes = 0.5 + 0.4 * torch.rand(count, 1, 1, 1, 1)
    mr = (axes.square().sum(0)[None, None] < sizes**2).float()
    regions = torch.zeros(count, 1, side, side, side, dtype=torch.int16)
    regions[..., 2:5, 2:5, 2:5], regions[..., 10:13, 10:13, 3:5] = 1, 7
    pet = 0.5 * mr + 0.5 * (regions > 0) * sizes
    return {"mr": mr, "standard_dose": pet, "regions": regions}


def trained(steps=60, **change):
    torch.manual_seed(0)
    batch = people()
    method = make(**change)
    learn(method, [batch] * steps, rate=5e-3)
    return method.eval(), batch


def test_the_region_term_lowers_the_error_of_its_regions():
    """With and without it, at equal steps and from equal starts."""
    errors = {}
    for weight in (0.0, 40.0):
        method, batch = trained(40, loss=WEIGHTS | {"regions": weight})
        errors[weight] = float(region_error(method.restore(None, batch["mr"]), batch["standard_dose"], batch["regions"]))
    assert errors[40.0] < 0.5 * errors[0.0]


def test_a_region_counts_as_much_as_any_other_and_nothing_outside_counts():
    batch = people()
    labels, pet = batch["regions"], batch["standard_dose"]
    shifted = pet + 0.1 * (labels == 1) - 0.3 * (labels == 7) + 5.0 * (labels == 0)
    torch.testing.assert_close(region_error(shifted, pet, labels), torch.tensor(0.2))
    labels = labels.clone()
    labels[2:][labels[2:] == 7] = 0  # whoever lacks a region counts with the others
    torch.testing.assert_close(region_error(shifted, pet, labels), torch.tensor((4 * 0.1 + 2 * 0.3) / 6))
    assert region_error(shifted, pet, torch.zeros_like(labels)) == 0
    halved = region_error(shifted.bfloat16(), pet.bfloat16(), batch["regions"])
    assert halved.dtype == torch.float32


def test_its_gradient_is_that_of_a_mean_over_means():
    batch = people(2)
    image = torch.rand(2, 1, 16, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(region_error(image, batch["standard_dose"], batch["regions"]), image)
    expected = torch.zeros_like(image)
    for label in (1, 7):
        inside = batch["regions"] == label
        expected += inside * (image - batch["standard_dose"]).sign() / inside.sum() / 2
    torch.testing.assert_close(gradient, expected.detach())


def test_without_regions_their_term_says_what_it_needs():
    batch = people()
    del batch["regions"]
    with pytest.raises(InputError, match="needs regions"):
        list(make().losses(batch, Progress(0, 1)))
    *_, step = make(loss=WEIGHTS).losses(batch, Progress(0, 1))
    assert set(step.logs) == {"l1"}


def test_the_local_path_carries_signal_after_training():
    method, batch = trained(loss=WEIGHTS)
    with torch.no_grad():
        whole = method.restore(None, batch["mr"])
        method.generator.local_features = lambda mr: torch.zeros(len(mr), 4, *mr.shape[2:])
        without = method.restore(None, batch["mr"])
    error, worse = ((image - batch["standard_dose"]).abs().mean() for image in (whole, without))
    assert worse > 1.25 * error


def test_each_part_has_a_network_that_sees_that_part_alone():
    generator = GLAGenerator([2, 4], [2, 2], 2, 3, "none", "linear").eval()
    mr = torch.rand(1, 1, 8, 8, 8)
    with torch.no_grad():
        before = generator.local_features(mr)
        assert before.shape == (1, 3, 8, 8, 8)
        for number in range(8):
            corner = [slice(4 * (number >> shift & 1), 4 * (number >> shift & 1) + 4) for shift in (2, 1, 0)]
            part = (slice(None), slice(None), *corner)
            changed = mr.clone()
            changed[part] = torch.rand(1, 1, 4, 4, 4)
            apart = (generator.local_features(changed) - before).abs().sum(dim=1, keepdim=True) > 0
            assert apart[part].all()
            assert apart.sum() == 4**3
            torch.testing.assert_close(before[part], generator.local[number](mr[part]))
        assert (generator.whole(changed) - generator.whole(mr)).abs().sum(dim=1).count_nonzero() > 4**3


@pytest.mark.parametrize("generator_first", [True, False])
def test_no_image_starts_dark_in_whatever_order_networks_are_made(generator_first):
    """Where it started about 0, the signs of a few features left one of ten all dark, depending on which network was drawn first."""
    dark, batch = [], people(2)
    for seed in range(10):
        torch.manual_seed(seed)
        discriminator = None if generator_first else VolumeDiscriminator(2, tiny("gla_gan")["discriminator"]["channels"])
        method = make()
        method.discriminator = discriminator or method.discriminator
        learn(method, [batch] * 3, rate=1e-3)
        spread = method.eval().restore(None, batch["mr"]).flatten(1).std(dim=1)
        dark += [seed] * bool((spread < 1e-3).any())
    assert dark == []


def test_a_window_that_cannot_be_cut_and_halved_is_refused():
    generator = GLAGenerator([2, 4], [2, 2, 2], 2, 3, "none", "linear")
    with pytest.raises(InputError, match="multiple of 8"):
        generator(torch.rand(1, 1, 8, 8, 12))

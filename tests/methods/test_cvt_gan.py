"""What must be seen of 3D CVT-GAN: trained where only the far end of a window tells, its stages, attention and projections work."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.methods.base import Progress
from petbench.networks.cvt import ConvolutionalAttention, ConvolutionalProjection, CVTBlock
from petbench.training.probes import learn

from .test_mak_gan import size
from .test_methods import a_batch, make, optimisers

END = 8
WIDTHS = {"stem": 8, "channels": [16, 16], "output": "linear"}


def columns(count: int, seed: int) -> dict[str, Tensor]:
    """Windows with equal activity at both ends; the low dose shows one, and of the other, 48 voxels away, only where it is."""
    draw = torch.Generator().manual_seed(seed)
    level = torch.rand(count, 1, 1, 1, 1, generator=draw)
    standard_dose = torch.zeros(count, 1, 64, 8, 8)
    standard_dose[:, :, :END] = standard_dose[:, :, -END:] = level
    low_dose = standard_dose + 0.1 * torch.randn(standard_dose.shape, generator=draw)
    low_dose[:, :, -END:] -= level + 0.5
    return {"low_dose": low_dose, "standard_dose": standard_dose}


@cache
def trained():
    torch.manual_seed(0)
    method = make("cvt_gan", network=WIDTHS, loss={"adversarial": 0.0})
    learn(method, [columns(4, seed=step) for step in range(160)], rate=4e-3)
    return method.eval()


def restored(part=None):
    """Unseen windows restored with what `part` names replaced, and the windows."""
    method, unseen = trained(), columns(16, seed=-1)
    found, change = PARTS[part] if part else ((), None)
    handles = [module.register_forward_hook(change) for module in (found(method.generator) if part else ())]
    image = method.restore(unseen["low_dose"], None)
    for handle in handles:
        handle.remove()
    return image, unseen


def nothing(module, inputs, output):
    return torch.zeros_like(output)


def passed_on(module, inputs, output):
    return inputs[0]


def of_one_voxel(module, inputs, output):
    """The sum of a kernel's taps at its middle."""
    taps = torch.zeros_like(module.weight)
    taps[:, :, 1, 1, 1] = module.weight.sum((2, 3, 4))
    return nn.functional.conv3d(inputs[0], taps, stride=module.stride, padding=1, groups=module.groups)


def within(kind, part=None):
    def find(generator):
        modules = [module for module in generator.modules() if isinstance(module, kind)]
        assert modules
        return [getattr(module, part) for module in modules] if part else modules

    return find


PARTS = {
    "stages": (lambda generator: generator.ups[-1:], nothing),
    "blocks": (within(CVTBlock), passed_on),
    "attention": (within(ConvolutionalAttention), nothing),
    "where to attend": (within(ConvolutionalAttention, "key"), nothing),
    "width of projections": (within(ConvolutionalProjection, "depthwise"), of_one_voxel),
}


def test_what_only_the_far_end_tells_is_restored():
    """To half of what is left where attention is taken away, and of what levels vary by."""
    image, unseen = restored()
    alone, _ = restored("attention")
    true = unseen["standard_dose"][:, :, -END:]
    error, without = (size(made[:, :, -END:] - true) for made in (image, alone))
    assert error < 0.5 * true.std()
    assert error < 0.5 * without


@pytest.mark.parametrize("part", PARTS)
def test_each_part_carries_a_tenth_of_what_training_changed(part):
    image, unseen = restored()
    assert size(restored(part)[0] - image) > 0.1 * size(image - unseen["low_dose"])


def test_training_starts_at_the_low_dose():
    batch = a_batch()
    change = make("cvt_gan").eval().restore(batch["low_dose"], None) - batch["low_dose"]
    assert 0 < size(change) < 0.1 * size(batch["low_dose"])


def test_the_generator_loss_is_the_adversarial_one_and_a_hundred_times_the_error():
    discriminate, generate = make("cvt_gan").losses(a_batch(), Progress(0, 1))
    torch.testing.assert_close(generate.loss.detach(), generate.logs["adversarial"] + 100 * generate.logs["l1"])
    torch.testing.assert_close(
        discriminate.loss.detach(), discriminate.logs["discriminator_real"] + discriminate.logs["discriminator_fake"]
    )


def test_the_discriminator_learns_to_tell_noise_from_an_image():
    method, batch = make("cvt_gan"), a_batch(size=4)
    optimised = {"discriminator": optimisers(method, rate=3e-3)["discriminator"]}
    for _ in range(30):
        step = next(iter(method.losses(batch, Progress(0, 1))))
        optimised["discriminator"].zero_grad()
        step.loss.backward()
        optimised["discriminator"].step()
    assert step.logs["discriminator_real"] < 0.5
    assert step.logs["discriminator_fake"] < 0.5


def test_without_pet_there_is_one_sentence():
    with pytest.raises(InputError, match="needs low_dose"):
        make("cvt_gan").restore(None, a_batch()["mr"])

import pytest
import torch

from petbench.methods.base import Progress
from petbench.methods.build import build
from petbench.training.probes import Phantoms, learn

from .entries import tiny


def hi_net(**loss):
    """Hi-Net at small widths; of its losses, those named have weight."""
    train = tiny("hi_net")
    weights = dict.fromkeys(("adversarial", "l1", "low_dose", "mr"), 0.0) | loss if loss else {}
    return build("hi_net", train | {"loss": train["loss"] | weights})


def windows(seed=0):
    return Phantoms((16, 16), 4, seed).windows()


def reached(method):
    """Parts of the generator to which a loss has sent a gradient, the way down and the way up of a modality's network apart."""
    ways = {"downs": "in", "bottom": "out", "ups": "out", "finest": "out", "head": "out"}
    found = set()
    for name, parameter in method.generator.named_parameters():
        if parameter.grad is not None and bool(parameter.grad.any()):
            first, second = name.split(".")[:2]
            found.add(f"{first} {ways[second]}" if first in ("pet", "mr") else "fusion")
    return found


BOTH = {"pet in", "mr in", "fusion"}


@pytest.mark.parametrize(
    ("loss", "parts"), [("low_dose", {"pet in", "pet out"}), ("mr", {"mr in", "mr out"}), ("l1", BOTH), ("adversarial", BOTH)]
)
def test_a_loss_reaches_the_networks_of_its_own_images(loss, parts):
    method = hi_net(**{loss: 1.0})
    *_, step = method.losses(windows(), Progress(0, 1))
    method.zero_grad()
    step.loss.backward()
    assert set(step.logs) == {loss}
    assert reached(method) == parts


def test_every_level_mixes_sum_product_and_maximum_on_both_ways():
    generator = hi_net().generator.eval()
    mixed, handles = {}, []
    for way in ("downs", "ups"):
        for number, fusion in enumerate(getattr(generator, way)):
            note = lambda _, given, key=(way, number): mixed.update({key: given[0]})  # noqa: E731
            handles.append(fusion.mix.register_forward_pre_hook(note))
    batch = windows()
    generator(batch["low_dose"], batch["mr"])[:, 0].square().sum().backward()
    with torch.no_grad():
        levels = list(zip(generator.pet.encode(batch["low_dose"]), generator.mr.encode(batch["mr"]), strict=True))
    assert len(mixed) == 2 * len(levels)
    for (way, number), given in mixed.items():
        pet, mr = levels[number if way == "downs" else -1 - number]
        torch.testing.assert_close(given, torch.cat([pet + mr, pet * mr, torch.where(pet > mr, pet, mr)], dim=1))
        kinds = getattr(generator, way)[number].mix[0].weight.grad.chunk(3, dim=1)
        assert all(bool(kind.any()) for kind in kinds), f"{way} {number}"


def test_each_modality_is_given_back_after_a_short_training():
    method = hi_net(low_dose=20.0, mr=20.0)
    learn(method, [windows(seed) for seed in range(100)], 1e-2)
    held_out = windows(seed=1000)
    with torch.no_grad():
        given_back = method.eval().generate(held_out["low_dose"], held_out["mr"])
    terms = method.terms(given_back, held_out)
    flat = method.terms(given_back.flatten(2).median(dim=2).values[..., None, None].expand_as(given_back), held_out)
    for name in ("low_dose", "mr"):
        assert terms[name]() < 0.8 * flat[name]()


def test_the_discriminator_sees_the_restored_image_alone():
    method = hi_net()
    images = torch.rand(2, 3, 16, 16)
    other = torch.cat([images[:, :1], torch.rand(2, 2, 16, 16)], dim=1)
    assert method.beside(windows()) is None
    assert torch.equal(method.judged(images, None), method.judged(other, None))


class GivesBack(torch.nn.Module):
    def forward(self, low_dose, mr):
        return torch.cat([low_dose, low_dose, mr], dim=1)


def test_scaled_pet_is_mapped_to_the_range_and_back():
    method = hi_net()
    method.generator = GivesBack()
    batch = windows()
    restored = method.restore(batch["low_dose"], batch["mr"])
    torch.testing.assert_close(restored, batch["low_dose"])
    low, high = tiny("hi_net")["range"]
    ends = method.real({"standard_dose": torch.tensor([low, high])})
    torch.testing.assert_close(ends, torch.tensor([-1.0, 1.0]))

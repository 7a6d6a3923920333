"""The level of an image: a slice with half of the activity is restored to half of it, whatever normalises features on the way."""

import pytest
import torch

from petbench.methods.base import Progress
from petbench.methods.build import build
from petbench.methods.diffusion import Sampler

from .entries import entry, merged, tiny

CLEAN_IMAGE = {"diffusion": {"prediction": "x0", "range": [0.0, 1.25]}, "network": {"head": "plain", "width": 8}}
WIDER = {"diffusion": CLEAN_IMAGE["diffusion"], "network": {"width": 8}}


def slices(count, seed):
    """Balls of one contrast each, 0.2 to 1, of the same size: only their level tells them apart."""
    generator = torch.Generator().manual_seed(seed)
    axes = torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, 16)] * 2, indexing="ij"))
    centres = 0.6 * (torch.rand(count, 2, 1, 1, generator=generator) - 0.5)
    balls = ((axes - centres).square().sum(1, keepdim=True) < 0.5).float()
    pet = (0.2 + 0.8 * torch.rand(count, 1, 1, 1, generator=generator)) * balls
    return {"low_dose": pet + 0.15 * torch.randn(pet.shape, generator=generator), "mr": 1 - 0.5 * balls, "standard_dose": pet}


def means_of(method, low_dose, mr):
    """The mean of each restored slice."""
    generators = [torch.Generator().manual_seed(number) for number in range(len(low_dose))]
    return method.sample(low_dose, mr, Sampler("ddim", 3, seed=0), generators).flatten(1).mean(1)


@pytest.mark.parametrize(("name", "change"), [("m2diff", WIDER), ("diffusion_mtl", WIDER), ("mfdiff", CLEAN_IMAGE)])
def test_a_restored_slice_follows_the_level_of_its_input(name, change):
    """After 100 steps. With a normalised head half of the activity came back as 0.6 to 0.8 of it."""
    torch.manual_seed(0)
    method, data = build(entry(name)["module"], merged(tiny(name), change)).train(), slices(32, seed=1)
    optimiser = torch.optim.Adam(method.parameters(), lr=3e-3)
    for _ in range(100):
        drawn = torch.randperm(32)[:8]
        for step in method.losses({kind: images[drawn] for kind, images in data.items()}, Progress(0, 1)):
            optimiser.zero_grad()
            step.loss.backward()
            optimiser.step()
    method.eval()
    unseen = slices(16, seed=2)
    true, restored = unseen["standard_dose"].flatten(1).mean(1), means_of(method, unseen["low_dose"], unseen["mr"])
    assert torch.corrcoef(torch.stack([restored, true]))[0, 1] > 0.95
    halved = means_of(method, unseen["low_dose"] / 2, unseen["mr"])
    assert float(halved.mean() / restored.mean()) == pytest.approx(0.5, abs=0.07)

"""What must be seen of a trained MAK-GAN: that its depth works, that its kernels adapt, and that the guided one uses its MR."""

from functools import cache

import pytest
import torch
from torch.nn.functional import avg_pool3d

from petbench.networks.adaptive_kernel import AdaptiveKernelPredictor

from .test_methods import make, optimisers, train_step

WIDTHS = {"channels": [8, 16], "decoder": [16, 8], "image_features": 4, "prior_grid": [6, 3], "prior_hidden": 8}
SEEDS = (0, 1)


def heads(size: int, seed: int) -> dict[str, torch.Tensor]:
    """Smooth heads with warm structures whose edges only MR shows sharply; the low dose is noisy."""
    draw = torch.Generator().manual_seed(seed)

    def field(width: int) -> torch.Tensor:
        coarse = torch.randn(size, 1, *[12 // width + 2] * 3, generator=draw)
        return torch.nn.functional.interpolate(coarse, size=(12, 12, 12), mode="trilinear")

    structure = (field(3) > 0).float()
    standard_dose = 0.2 + 0.6 * avg_pool3d(structure, 3, 1, 1, count_include_pad=False) + 0.1 * field(6)
    noise = 0.4 * torch.randn(standard_dose.shape, generator=draw)
    return {"low_dose": standard_dose + noise, "mr": 1 - 0.6 * structure, "standard_dose": standard_dose}


@cache
def trained(name: str, seed: int):
    """After steps that take away two fifths of the noise: the shallow path at full resolution learns first, and would do alone."""
    torch.manual_seed(seed)
    method = make(name, network=WIDTHS)
    optimised = optimisers(method, rate=4e-3)
    for step in range(40):
        train_step(method, heads(4, seed=step), optimised)
    return method.eval()


@torch.no_grad()
def size(change: torch.Tensor) -> float:
    return change.float().square().mean().sqrt().item()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["mak_gan", "mak_gan-guided"])
def test_lower_levels_carry_a_tenth_of_what_training_changed(name, seed):
    method, unseen = trained(name, seed), heads(8, seed=-1)
    whole = method.restore(unseen["low_dose"], unseen["mr"])
    handle = method.generator.decoder.ups[-1].register_forward_hook(lambda module, inputs, output: torch.zeros_like(output))
    shallow = method.restore(unseen["low_dose"], unseen["mr"])
    handle.remove()
    assert size(whole - unseen["standard_dose"]) < 0.7 * size(unseen["low_dose"] - unseen["standard_dose"])
    assert size(whole - shallow) > 0.1 * size(whole - unseen["low_dose"])


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["mak_gan", "mak_gan-guided"])
def test_kernels_vary_over_taps_and_between_patches(name, seed):
    method, unseen, kernels = trained(name, seed), heads(8, seed=-1), {}
    handles = [
        module.register_forward_hook(lambda module, inputs, output, path=path: kernels.update({path: output.flatten(3)}))
        for path, module in method.generator.named_modules()
        if isinstance(module, AdaptiveKernelPredictor)
    ]
    method.restore(unseen["low_dose"], unseen["mr"])
    for handle in handles:
        handle.remove()
    assert len(kernels) == 4
    for path, kernel in kernels.items():
        for dim in (0, 3):
            assert size(kernel - kernel.mean(dim, keepdim=True)) ** 2 > 0.01 * size(kernel) ** 2, (path, dim)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_the_guided_one_uses_its_mr(precision, seed):
    method, unseen = trained("mak_gan-guided", seed), heads(8, seed=-1)
    low_dose, mr, standard_dose = (unseen[key] for key in ("low_dose", "mr", "standard_dose"))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision is torch.bfloat16):
        own = method.restore(low_dose, mr)
        other = method.restore(low_dose, mr.roll(1, 0))
        other_pet = method.restore(low_dose.roll(1, 0), mr)
    assert size(other - own) > 0.01 * size(other_pet - own)
    assert size(own - standard_dose) < size(other - standard_dose)

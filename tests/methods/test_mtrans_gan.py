"""What must be seen of MTrans-GAN: MR counts, fusion weights tell places apart, token layers stay awake, and edges sharpen."""

from functools import cache

import pytest
import torch

from petbench.networks.edges import sobel_magnitude
from petbench.networks.mtrans_generator import FeatureIntegration, TokenLayer

from .test_mak_gan import heads, size
from .test_methods import make, optimisers, train_step


@cache
def trained(edge: float = 16.0):
    torch.manual_seed(0)
    method = make("mtrans_gan", network={"channels": [8, 16, 16], "convolutions": [1, 2, 2], "positions": [3, 3, 3]}, loss={"edge": edge})
    optimised = optimisers(method, rate=4e-3)
    for step in range(120):
        train_step(method, heads(4, seed=step), optimised)
    return method.eval()


@pytest.fixture
def unseen():
    return heads(8, seed=-1)


def error(method, batch, **change):
    images = batch | change
    return size(method.restore(images["low_dose"], images["mr"]) - batch["standard_dose"])


def replaced(kind, change):
    """Have every module of a kind in the trained generator give what `change` makes of its output."""
    modules = [module for module in trained().generator.modules() if isinstance(module, kind)]
    assert modules
    return [module.register_forward_hook(lambda module, inputs, output: change(module, inputs, output)) for module in modules]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_its_own_mr_is_worth_more_than_anothers(unseen, precision):
    method = trained()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision is torch.bfloat16):
        own, other = error(method, unseen), error(method, unseen, mr=unseen["mr"].roll(1, 0))
    assert own < 0.5 * size(unseen["low_dose"] - unseen["standard_dose"])
    assert own < 0.9 * other


def test_fusion_weights_are_worth_their_places(unseen):
    """Weights that are the same everywhere, at the average of what they are, restore heads of other people worse."""
    method, spreads = trained(), []

    def everywhere(module, inputs, output):
        pet, mr = module.pet(inputs[0]), module.mr(inputs[1])
        weights = module.weights(pet, mr)
        spreads.append(size(weights - weights.mean((2, 3, 4), keepdim=True)))
        return module.output(torch.lerp(mr, pet, weights.mean((2, 3, 4), keepdim=True)))

    own = error(method, unseen)
    handles = replaced(FeatureIntegration, everywhere)
    alike = error(method, unseen)
    for handle in handles:
        handle.remove()
    assert max(spreads) > 0.02
    assert own < 0.97 * alike


def test_token_layers_stay_awake(unseen):
    """They make a fifth of what the transformer gives after training."""
    method, given = trained(), []
    watch = method.generator.transformer.register_forward_hook(lambda module, inputs, output: given.append(output))
    method.restore(unseen["low_dose"], unseen["mr"])
    handles = replaced(TokenLayer, lambda module, inputs, output: inputs[0])
    method.restore(unseen["low_dose"], unseen["mr"])
    for handle in (watch, *handles):
        handle.remove()
    whole, without = given
    assert size(whole - without) > 0.2 * size(whole)


def test_edges_sharpen_with_the_edge_term(unseen):
    """Edges of what is restored are nearer to the true ones, and where those are strong they are stronger."""
    true = sobel_magnitude(unseen["standard_dose"])
    strong = true > true.flatten().quantile(0.8)
    without, heavy = (sobel_magnitude(trained(edge).restore(unseen["low_dose"], unseen["mr"])) for edge in (0.0, 400.0))
    assert size(heavy - true) < 0.95 * size(without - true)
    assert without[strong].mean() + 0.02 * true[strong].mean() < heavy[strong].mean() < true[strong].mean()

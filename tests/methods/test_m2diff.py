import inspect
from dataclasses import replace

import pytest
import torch
import yaml

from petbench.errors import InputError
from petbench.methods.base import Progress
from petbench.methods.build import build
from petbench.methods.diffusion import Process, Sampler
from petbench.methods.m2diff import M2Diff
from petbench.networks.diffusion_unet import DiffusionUNet
from petbench.networks.two_branch_unet import TwoBranchUNet

from .entries import CONFIG, entry, merged, tiny
from .test_methods import a_batch, optimisers, train_step

TWO_BRANCHES = ["m2diff", "m2diff-projected", "diffusion_mtl", "m2diff-v4", "m2diff-v5", "m2diff-mr70"]
NAMES = ["iddpm", "ddpm_petmr", *TWO_BRANCHES]
SAMPLER = Sampler("ddim", 3, seed=0, clip=[0.0, 2.0])


def make(name, **change):
    """An entry at the smallest widths, its silent layers woken, as if it had been trained."""
    method = build(entry(name)["module"], merged(tiny(name), change))
    for parameter in method.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return method.eval()


def generators(count):
    return [torch.Generator().manual_seed(number) for number in range(count)]


def batch(size=2, side=8):
    return a_batch(size, side, dims=2)


def parameters(name, **change):
    with torch.device("meta"):
        method = build(entry(name)["module"], merged(entry(name)["train"], change))
    return sum(parameter.numel() for parameter in method.parameters()) / 1e6


@pytest.mark.parametrize(("name", "published"), [("iddpm", 124.05), ("m2diff", 268.99), ("diffusion_mtl", 231.48)])
def test_parameters_are_as_many_as_published(name, published):
    """Millions, section III-F; the entries are the published settings."""
    assert parameters(name) == pytest.approx(published, abs=0.01)


def test_with_plain_heads_m2diff_has_exactly_as_many_parameters_as_its_authors():
    """Of which the two heads are 9 weights a feature and a bias each; a normalised head has two parameters a feature more."""
    assert round(parameters("m2diff") * 1e6) == 268_986_114
    normalised = {"network": {"head": "normalised"}}
    assert round((parameters("m2diff", **normalised) - parameters("m2diff")) * 1e6) == 2 * 2 * 128


@pytest.mark.parametrize(
    ("name", "head"),
    [("iddpm", "normalised"), ("ddpm_petmr", "normalised"), ("diffusion_mtl", "plain"), *((name, "plain") for name in TWO_BRANCHES)],
)
def test_heads_are_those_of_each_methods_authors(name, head):
    method = make(name)
    branches = [method.network.branch] if head == "normalised" else [method.network.pet, method.network.mr]
    heads = [branch.head for branch in branches if hasattr(branch, "head")]
    assert [isinstance(layer, torch.nn.Conv2d) for layer in heads] == [head == "plain"] * len(heads)


def test_petmr_adds_one_channel_only():
    assert parameters("ddpm_petmr") - parameters("iddpm") == pytest.approx(9 * 128 / 1e6)


def test_a_learned_variance_adds_one_output_a_head():
    learned = {"diffusion": {"variance": "learned"}}
    assert parameters("m2diff", **learned) - parameters("m2diff") == pytest.approx(2 * (9 * 128 + 1) / 1e6)


@pytest.mark.parametrize(
    ("module", "block", "part", "given"),
    [
        ("iddpm", "network", DiffusionUNet, {"in_channels", "out_channels"}),
        ("m2diff", "network", TwoBranchUNet, {"out_channels"}),
        ("m2diff", "loss", M2Diff, {"process", "network", "mr_dropout", "mr_flag", "mr_head"}),
        ("iddpm", "diffusion", Process, set()),
    ],
)
def test_schemas_list_what_constructors_take(module, block, part, given):
    shared = yaml.safe_load((CONFIG / "schemas/method.yaml").read_text())["$defs"]
    schema = yaml.safe_load((CONFIG / f"schemas/methods/{module}.yaml").read_text())["properties"][block]
    schema = shared[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    assert set(schema["properties"]) == set(inspect.signature(part).parameters) - given == set(schema["required"])
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("name", "prediction", "variance"),
    [("iddpm", "x0", "fixed_large"), ("m2diff", "epsilon", "learned"), ("m2diff-mr70", "x0", "learned")],
)
def test_the_loss_falls(name, prediction, variance):
    method = build(entry(name)["module"], merged(tiny(name), {"diffusion": {"prediction": prediction, "variance": variance}})).train()
    data, optimised = batch(8), optimisers(method, rate=5e-3)
    key = "mse" if name == "iddpm" else "mse_pet"
    history = [float(train_step(method, data, optimised)[key]) for _ in range(40)]
    assert sum(history[-10:]) < 0.8 * sum(history[:10])


@pytest.mark.parametrize("name", NAMES)
def test_sampling_keeps_shape_whatever_the_batch(name):
    method, data = make(name), batch(3)
    whole = method.sample(data["low_dose"], data["mr"], SAMPLER, generators(3))
    assert whole.shape == data["low_dose"].shape
    assert not whole.requires_grad
    alone = method.sample(data["low_dose"][2:], data["mr"][2:], SAMPLER, generators(3)[2:])
    torch.testing.assert_close(whole[2:], alone, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_trained(name):
    method = make(name, mr_dropout=0.0) if name == "m2diff-mr70" else make(name)
    for step in method.train().losses(batch(4), Progress(0, 1)):
        step.loss.backward()
    assert [name for name, parameter in method.named_parameters() if parameter.grad is None or not parameter.grad.any()] == []


@pytest.mark.parametrize("name", ["ddpm_petmr", "m2diff", "diffusion_mtl", "m2diff-v4"])
def test_without_mr_there_is_one_sentence(name):
    method, data = make(name), batch()
    with pytest.raises(InputError, match="needs mr"):
        method.sample(data["low_dose"], None, SAMPLER, generators(2))
    del data["mr"]
    with pytest.raises(InputError, match="needs mr"):
        next(iter(method.losses(data, Progress(0, 1))))


@pytest.mark.parametrize("name", ["iddpm", "m2diff"])
def test_slices_that_cannot_be_halved_are_refused(name):
    window = torch.rand(1, 1, 8, 7)
    with pytest.raises(InputError, match=r"8x7 cannot be halved.*multiple of 2"):
        make(name).sample(window, window, SAMPLER, generators(1))


@pytest.mark.parametrize("name", TWO_BRANCHES)
def test_a_chain_of_the_pet_head_decodes_no_mr(name):
    method, data = make(name), batch()
    given = (torch.randn(2, 1, 8, 8), torch.tensor([3, 700]))
    condition = method.condition(data["low_dose"], data["mr"])
    expected = method.network(*given, *condition)[0]
    decoded = []
    for layer in getattr(method.network.mr, "decoder", []):
        layer.register_forward_hook(lambda *_: decoded.append(1))
    torch.testing.assert_close(method.predict_pet(*given, condition), expected, rtol=0, atol=0)
    assert decoded == []


def test_three_dimensions_work_too():
    data = a_batch(1, 8)
    for name in ("iddpm", "m2diff-projected"):
        method = make(name, network={"spatial_dims": 3})
        assert method.sample(data["low_dose"], data["mr"], SAMPLER, generators(1)).shape == data["low_dose"].shape


@pytest.mark.parametrize("change", [{"attention": [16]}, {"heads": 3}])
def test_networks_that_cannot_be_are_refused(change):
    with pytest.raises(InputError, match=f"network/{next(iter(change))}"):
        make("iddpm", network=change)
    with pytest.raises(InputError, match="network/decoders"):
        make("m2diff-v4", network={"hff": "none"})


@pytest.mark.parametrize("name", TWO_BRANCHES)
def test_the_prediction_is_the_mean_of_the_heads(name):
    method, data = make(name), batch()
    noisy, time = torch.randn(2, 1, 8, 8), torch.tensor([3, 700])
    pet, mr = method.network(noisy, time, data["low_dose"], data["mr"])
    assert (mr is None) == (name == "m2diff-v4")
    expected = pet if mr is None else 0.5 * (pet + mr)
    torch.testing.assert_close(method.predict(noisy, time, (data["low_dose"], data["mr"])), expected)


@pytest.mark.parametrize(
    ("name", "shared"), [("m2diff", True), ("m2diff-projected", True), ("diffusion_mtl", True), ("diffusion_mtl", False)]
)
def test_each_head_sees_the_other_image_through_fusion_only(name, shared):
    method = make(name, network={} if shared else {"bottleneck": "separate"})
    data, noisy, time = batch(), torch.randn(2, 1, 8, 8), torch.tensor([3, 700])
    pet, mr = method.network(noisy, time, data["low_dose"], data["mr"])
    other_pet, _ = method.network(noisy, time, data["low_dose"], data["mr"] + 1)
    _, other_mr = method.network(noisy, time, data["low_dose"] + 1, data["mr"])
    assert torch.equal(pet, other_pet) is torch.equal(mr, other_mr) is not shared


def test_the_loss_is_equation_12():
    method, data = make("m2diff"), batch(3)
    torch.manual_seed(1)
    (step,) = method.losses(data, Progress(0, 1))
    torch.manual_seed(1)
    noised = method.process.noised(data["standard_dose"])
    pet, mr = method.network(noised.noisy, noised.time, data["low_dose"], data["mr"])
    clean = 2 * data["standard_dose"] / 1.25 - 1
    expected = 0.4 * (pet - clean).square().mean() + 0.4 * (mr - clean).square().mean() + 0.2 * (pet - mr).square().mean()
    torch.testing.assert_close(step.loss, expected)


def test_a_sample_without_mr_trains_the_pet_head_only(monkeypatch):
    """Drawn as absent for samples 0 and 2: MR does not matter there, and the MR head is not asked for them."""
    method, data = make("m2diff-mr70"), batch(3)
    monkeypatch.setattr(torch, "rand", lambda *size: torch.tensor([0.1, 0.9, 0.2]))

    def loss(mr):
        torch.manual_seed(1)
        (step,) = method.losses(data | {"mr": mr}, Progress(0, 1))
        return step

    step, mr = loss(data["mr"]), data["mr"].clone()
    mr[[0, 2]] += torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(loss(mr).loss, step.loss)
    mr[1] += 1
    assert not torch.isclose(loss(mr).loss, step.loss)
    torch.manual_seed(1)
    noised = method.process.noised(data["standard_dose"])
    alone, _ = method.network(noised.noisy, noised.time, data["low_dose"], None)
    both, head = method.network(noised.noisy, noised.time, data["low_dose"], data["mr"])
    clean = 2 * data["standard_dose"] / 1.25 - 1
    squared = [(image - clean).square().flatten(1).mean(1) for image in (alone, both, head)]
    apart = (both - head).square().flatten(1).mean(1)
    expected = (0.4 * (squared[0][0] + squared[1][1] + squared[0][2] + squared[2][1]) + 0.2 * apart[1]) / 3
    torch.testing.assert_close(step.loss, expected)


@pytest.mark.parametrize("hff", ["concat", "projected"])
def test_without_mr_the_mr_branch_is_not_computed(hff):
    method, data = make("m2diff-mr70", network={"hff": hff}), batch()
    for module in method.network.mr.modules():
        module.register_forward_hook(lambda *_: pytest.fail("a module of the MR branch ran"))
    restored = method.sample(data["low_dose"], None, SAMPLER, generators(2))
    assert torch.isfinite(restored).all()
    (step,) = build("m2diff", merged(tiny("m2diff-mr70"), {"mr_dropout": 0.999999})).losses(batch(), Progress(0, 1))
    assert set(step.logs) == {"mse_pet"}


def test_in_the_transfer_the_mr_head_goes_on_training_on_its_mr(monkeypatch):
    """One flag for all, drawn as absent: the PET head does without MR, the MR head and the difference of both count as ever."""
    method, data = make("m2diff-transfer"), batch(3)
    monkeypatch.setattr(torch, "rand", lambda *size: torch.full(size, 0.1))

    def losses(mr):
        torch.manual_seed(1)
        (step,) = method.losses(data | {"mr": mr}, Progress(0, 1))
        return step

    step, other = losses(data["mr"]), losses(data["mr"] + 1)
    assert step.logs["mse_pet"] == other.logs["mse_pet"]
    assert not torch.isclose(step.logs["mse_mr"], other.logs["mse_mr"])
    torch.manual_seed(1)
    noised = method.process.noised(data["standard_dose"])
    alone, _ = method.network(noised.noisy, noised.time, data["low_dose"], None)
    _, head = method.network(noised.noisy, noised.time, data["low_dose"], data["mr"])
    expected = sum(0.4 * (image - noised.clean).square().mean() for image in (alone, head)) + 0.2 * (alone - head).square().mean()
    torch.testing.assert_close(step.loss, expected)


@pytest.mark.parametrize(("name", "alike"), [("m2diff-transfer", True), ("m2diff-mr60", False)])
def test_the_flag_is_one_of_a_batch_or_of_each_sample(name, alike):
    """In 40 batches of 4, of which MR is absent from four tenths."""
    method = make(name)
    torch.manual_seed(0)
    flags = torch.stack([method._known(4) for _ in range(40)])
    assert all(batch.all() or not batch.any() for batch in flags) is alike
    assert 0.4 < flags.float().mean() < 0.8


def test_a_term_of_weight_0_is_not_computed():
    """Nor is the bound of a fixed variance."""
    method, data = make("m2diff", loss={"consistency": 0.0}), batch()
    (step,) = method.losses(data, Progress(0, 1))
    assert set(step.logs) == {"mse_pet", "mse_mr"}
    (step,) = make("iddpm").losses(data, Progress(0, 1))
    assert set(step.logs) == {"mse"}


def test_a_chain_of_the_pet_head_averages_in_the_last_step_only():
    method, data = make("m2diff"), batch(1)
    sampler = replace(SAMPLER, chain="pet", clip=None)
    noisy = torch.randn(data["low_dose"].shape[1:], generator=generators(1)[0])[None]
    for time, earlier in method.process.steps(3):
        pet, mr = method.network(noisy, torch.tensor([time]), data["low_dose"], data["mr"])
        noisy = method.process.reverse(pet if earlier >= 0 else (pet + mr) / 2, noisy, time, earlier, sampler, lambda: 1 / 0)
    drawn = method.sample(data["low_dose"], data["mr"], sampler, generators(1))
    torch.testing.assert_close(drawn, method.process.decode(noisy))
    assert not torch.allclose(drawn, method.sample(data["low_dose"], data["mr"], replace(sampler, chain="mean"), generators(1)))


def test_a_method_with_one_head_has_no_chain_to_choose():
    data = batch()
    with pytest.raises(InputError, match="restore/sampler/chain: this method has one head"):
        make("iddpm").sample(data["low_dose"], data["mr"], replace(SAMPLER, chain="pet"), generators(2))


def test_features_of_both_branches_at_a_step():
    method, data = make("m2diff"), batch()
    found = method.features(data, 500, generators(2))
    assert [len(found[part][branch]) for part in ("encoder", "decoder") for branch in ("pet", "mr")] == [4, 4, 4, 4]
    assert found["encoder"]["pet"][0].shape == (2, 4, 8, 8)
    assert found["decoder"]["mr"][0].shape[2:] == (4, 4)
    again = method.features(data, 500, generators(2))["decoder"]["pet"][-1]
    assert torch.equal(again, found["decoder"]["pet"][-1])
    assert not torch.equal(again, method.features(data, 10, generators(2))["decoder"]["pet"][-1])
    assert not any(module._forward_hooks for module in method.modules())


def test_the_seed_draws_the_same_image():
    method, data = make("m2diff"), batch()
    ancestral = replace(SAMPLER, name="ancestral")
    first, again = (method.sample(data["low_dose"], data["mr"], ancestral, generators(2)) for _ in range(2))
    other = method.sample(data["low_dose"], data["mr"], ancestral, generators(4)[2:])
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)

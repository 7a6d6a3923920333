import inspect

import jsonschema
import pytest
import torch
import yaml

from petbench.errors import InputError
from petbench.methods.base import Progress
from petbench.methods.build import build
from petbench.methods.diffusion import Sampler
from petbench.networks.diffusion_unet import DiffusionUNet
from petbench.networks.modality_fusion import ModalityFusion
from petbench.networks.unet import UNet

from .entries import CONFIG, entry, merged, tiny
from .test_methods import a_batch, optimisers, train_step

LADDER = ["mfdiff-unet", "mfdiff-munet", "mfdiff-gmunet", "mfdiff-dmunet", "mfdiff-cmunet"]
DDIM = Sampler("ddim", 5, seed=0)


def make(name, **change):
    return build(entry(name)["module"], merged(tiny(name), change)).train()


def generators(count):
    return [torch.Generator().manual_seed(number) for number in range(count)]


@pytest.mark.parametrize("name", ["mfdiff", *LADDER])
def test_the_loss_falls(name):
    method, batch = make(name), a_batch(dims=2, side=8)
    optimised = optimisers(method, rate=1e-2)
    key = "mse" if name == "mfdiff" else "l1"
    history = [float(train_step(method, batch, optimised)[key]) for _ in range(40)]
    assert sum(history[-10:]) < 0.8 * sum(history[:10])


@pytest.mark.parametrize("name", LADDER)
@pytest.mark.parametrize("dims", [2, 3])
def test_a_regression_keeps_the_shape(name, dims):
    change = {"network": {"spatial_dims": dims}} | ({"fusion": {"spatial_dims": dims}} if entry(name)["train"]["fusion"] else {})
    batch = a_batch(dims=dims, side=8)
    assert make(name, **change).eval().restore(batch["low_dose"], batch["mr"]).shape == batch["low_dose"].shape


@pytest.mark.parametrize("dims", [2, 3])
def test_mfdiff_samples_in_two_or_three_dimensions(dims):
    method, batch = make("mfdiff", network={"spatial_dims": dims}, fusion={"spatial_dims": dims}).eval(), a_batch(dims=dims, side=8)
    drawn = method.sample(batch["low_dose"], batch["mr"], DDIM, generators(2))
    assert drawn.shape == batch["low_dose"].shape
    assert not drawn.requires_grad


def test_the_fusion_feature_is_computed_once_an_image():
    method, batch = make("mfdiff").eval(), a_batch(dims=2)
    calls = []
    method.fusion.register_forward_hook(lambda *_: calls.append("fusion"))
    method.network.register_forward_hook(lambda *_: calls.append("network"))
    method.sample(batch["low_dose"], batch["mr"], DDIM, generators(2))
    assert calls == ["fusion"] + ["network"] * 5


def test_fusion_and_network_are_trained_together():
    method, batch = make("mfdiff"), a_batch(dims=2)
    optimised = optimisers(method)
    for _ in range(3):  # layers that start at zero let gradients through only once they have moved
        train_step(method, batch, optimised)
    assert [name for name, p in method.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_the_network_sees_the_noisy_image_the_low_dose_and_the_feature():
    """MFdiff, section 3.2.2: 66 channels."""
    with torch.device("meta"):
        network = build("mfdiff", entry("mfdiff")["train"]).network
    assert network.branch.encoder[0].parts[0].weight.shape[1] == 66


@pytest.mark.parametrize("name", ["mfdiff", "mfdiff-dmunet", "mfdiff-cmunet"])
def test_no_channel_passes_the_detail_fusion_unchanged(name):
    """Nor moved: no channel that comes out is one that went in. One coupling node would keep half of them."""
    fusion = build(entry(name)["module"], entry(name)["train"]).fusion
    features = torch.randn(1, 64, 4, 4)
    for layer, branch in zip(fusion.fuse, entry(name)["train"]["fusion"]["branches"], strict=True):
        if branch == "detail":
            assert torch.cdist(layer(features).flatten(2), features.flatten(2)).min() > 1e-3


@pytest.mark.parametrize("name", ["mfdiff", *LADDER[1:]])
def test_without_mr_there_is_one_sentence(name):
    batch = a_batch(dims=2)
    del batch["mr"]
    with pytest.raises(InputError, match="needs mr"):
        next(iter(make(name).losses(batch, Progress(0, 1))))


def test_the_first_of_the_ladder_needs_no_mr():
    batch = a_batch(dims=2)
    method = make("mfdiff-unet").eval()
    assert torch.equal(method.restore(batch["low_dose"], None), method.restore(batch["low_dose"], batch["mr"]))


@pytest.mark.parametrize("name", ["mfdiff", "mfdiff-unet"])
def test_slices_that_cannot_be_halved_are_refused(name):
    batch = {kind: image[..., :15] for kind, image in a_batch(dims=2).items()}
    with pytest.raises(InputError, match="multiple of"):
        next(iter(make(name).losses(batch, Progress(0, 1))))


def test_the_ladder_differs_as_in_table_5():
    keys = [entry(name)["train"] for name in LADDER]
    assert [(key["modalities"], (key["fusion"] or {}).get("branches")) for key in keys] == [
        (["low_dose"], None),
        (["low_dose", "mr"], None),
        (["low_dose", "mr"], ["global", "global"]),
        (["low_dose", "mr"], ["detail", "detail"]),
        (["low_dose", "mr"], ["global", "detail"]),
    ]
    assert entry("mfdiff-cmunet")["train"]["fusion"] == entry("mfdiff")["train"]["fusion"]


def test_the_ladder_holds_about_as_many_parameters():
    with torch.device("meta"):
        sizes = [sum(p.numel() for p in build("mfdiff_regression", entry(name)["train"]).parameters()) for name in LADDER]
    assert max(sizes) / min(sizes) < 1.12


@pytest.mark.parametrize("stage", ["mfdiff-internal", "mfdiff-two_stage", "mfdiff-mixed"])
def test_stages_differ_from_mfdiff_in_their_length_alone(stage):
    train = entry(stage)["train"]
    assert train | {"steps": 50_000} == entry("mfdiff")["train"]


def test_what_the_paper_does_not_mention_is_trained_as_ddpm():
    train = entry("mfdiff")["train"]
    assert (train["schedule"], train["clip_gradient"], train["ema"]) == ({"warmup_steps": 5000}, 1.0, 0.9999)


def test_the_stages_are_those_of_the_paper():
    external = {"dataset": "mfdiff_phantom", "dose": "low", "method": "mfdiff", "fold": "0"}
    assert entry("mfdiff-two_stage")["init_from"] == entry("mfdiff-external")["weights_of"] == external
    steps = {stage: entry(f"mfdiff-{stage}")["train"]["steps"] for stage in ("internal", "two_stage", "mixed")}
    assert steps == {"internal": 20_000, "two_stage": 20_000, "mixed": 70_000}


@pytest.mark.parametrize(
    ("module", "block", "part", "given"),
    [
        ("mfdiff", "fusion", ModalityFusion, set()),
        ("mfdiff", "network", DiffusionUNet, {"in_channels", "out_channels"}),
        ("mfdiff_regression", "fusion", ModalityFusion, set()),
        ("mfdiff_regression", "network", UNet, {"in_channels"}),
    ],
)
def test_schemas_list_what_constructors_take(module, block, part, given):
    shared = yaml.safe_load((CONFIG / "schemas/method.yaml").read_text())["$defs"]
    schema = yaml.safe_load((CONFIG / f"schemas/methods/{module}.yaml").read_text())["properties"][block]
    schema = shared[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    assert set(schema["properties"]) == set(inspect.signature(part).parameters) - given == set(schema["required"])
    assert all("description" in value for value in schema["properties"].values())


@pytest.mark.parametrize(
    ("train", "inputs", "message"),
    [
        ({"modalities": ["low_dose"], "fusion": {}}, ["low_dose", "mr"], "The fusion takes"),
        ({"modalities": ["low_dose", "mr"]}, ["low_dose"], "needs both"),
        ({"modalities": ["low_dose"]}, ["mr"], "needs low_dose"),
    ],
)
def test_modalities_that_do_not_fit_are_refused(train, inputs, message):
    together = yaml.safe_load((CONFIG / "schemas/methods/mfdiff_regression.yaml").read_text())["together"]
    with pytest.raises(jsonschema.ValidationError) as caught:
        jsonschema.validate({"train": train, "restore": {"inputs": inputs}}, together, jsonschema.Draft202012Validator)
    assert message in caught.value.schema.get("description", "")


def test_an_unknown_loss_is_refused():
    with pytest.raises(InputError, match="choose one of l1, mse"):
        make("mfdiff-unet", loss="huber")

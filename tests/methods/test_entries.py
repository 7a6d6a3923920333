import inspect
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import jsonschema
import pytest
import yaml

from petbench.errors import InputError
from petbench.methods import mak_gan
from petbench.methods.build import build, modules
from petbench.networks.mak_generator import MAKGenerator
from petbench.networks.patchgan import PatchDiscriminator
from petbench.networks.unet import UNet

from .entries import CONFIG, entry, merged, tiny

NAMES = sorted(
    path.stem
    for path in (CONFIG / "methods").glob("*.yaml")
    if entry(path.stem).get("module") in ("mak_gan", "m_unet") and entry(path.stem).get("train")
)
OF_MODULES = {
    entry(path.stem)["module"]: path.stem for path in sorted((CONFIG / "methods").glob("*.yaml")) if entry(path.stem).get("train")
}
TABLE_2 = ["mak_gan-a", "mak_gan-b", "mak_gan-c", "mak_gan-d", "mak_gan"]
RATIOS = {
    "mke_ratio": {"mak_gan-mke_1_1_1": [1, 1, 1], "mak_gan-mke_1_2_1": [1, 2, 1], "mak_gan-mke_1_1_2": [1, 1, 2]},
    "aki_ratio": {
        "mak_gan-aki_1_1_0": [1, 1, 0],
        "mak_gan-aki_2_1_1": [2, 1, 1],
        "mak_gan-aki_1_2_1": [1, 2, 1],
        "mak_gan-aki_1_1_2": [1, 1, 2],
    },
}


def leaves(tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def differences(one: str, other: str) -> dict[str, Any]:
    mine, theirs = dict(leaves(entry(one))), dict(leaves(entry(other)))
    return {key: mine[key] for key in mine if mine[key] != theirs.get(key) and key != "title"}


def test_ablations_differ_as_in_table_2():
    steps = [differences(more, less) for less, more in pairwise(TABLE_2)]
    assert steps == [
        {"train.network.encoder": "mke"},
        {"train.network.interaction": "aki"},
        {"train.network.residual": True},
        {"train.loss.edge": 50.0},
    ]


@pytest.mark.parametrize(("key", "name"), [(key, name) for key, names in RATIOS.items() for name in names])
def test_ratios_of_figure_3_change_the_ratio_only(key, name):
    assert differences(name, "mak_gan") == {f"train.network.{key}": RATIOS[key][name]}


@pytest.mark.parametrize(
    ("module", "block", "part", "given"),
    [
        ("m_unet", "network", UNet, {"in_channels"}),
        ("mak_gan", "network", MAKGenerator, set()),
        ("mak_gan", "discriminator", PatchDiscriminator, {"spatial_dims", "in_channels"}),
        ("mak_gan", "loss", mak_gan.assemble, {"generator", "discriminator", "pool"}),
    ],
)
def test_schemas_list_what_constructors_take(module, block, part, given):
    schema = yaml.safe_load((CONFIG / "schemas" / "methods" / f"{module}.yaml").read_text())
    properties = schema["properties"][block]
    assert set(properties["properties"]) == set(inspect.signature(part).parameters) - given == set(properties["required"])
    assert properties["additionalProperties"] is False
    assert all("description" in value for value in properties["properties"].values())


@pytest.mark.parametrize("name", NAMES)
def test_entries_satisfy_their_schema(name):
    whole = entry(name)
    schema = yaml.safe_load((CONFIG / "schemas" / "methods" / f"{whole['module']}.yaml").read_text())
    own = {key: value for key, value in whole["train"].items() if key in schema["properties"]}
    jsonschema.validate(own, schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("name", NAMES)
def test_optimisers_are_those_of_the_method(name):
    method = build(entry(name)["module"], tiny(name))
    optimised = {key: list(parameters) for key, parameters in method.optimised().items()}
    assert set(optimised) == set(entry(name)["train"]["optimiser"])
    listed = [id(parameter) for parameters in optimised.values() for parameter in parameters]
    assert sorted(listed) == sorted(id(parameter) for parameter in method.parameters())


@pytest.mark.parametrize(("module", "name"), sorted(OF_MODULES.items()))
def test_schemas_name_the_optimisers_of_their_modules(module, name):
    """An entry that lacks a block for one is then refused before anything runs."""
    schema = yaml.safe_load((CONFIG / "schemas" / "methods" / f"{module}.yaml").read_text())
    assert set(build(module, tiny(name)).optimised()) == set(schema.get("optimisers", ["restorer"]))


@pytest.mark.parametrize(("name", "reported"), [("mak_gan", 30.08), ("m_unet", 40.50)])
def test_a_method_costs_what_mak_gans_table_1_reports(name, reported):
    """The contract holds the network to what the entry says."""
    assert entry(name)["size"]["gmac_modules"] == pytest.approx(reported, rel=0.01)


def test_unknown_modules_are_refused_with_those_that_exist():
    with pytest.raises(InputError, match="m_unet, mak_gan"):
        build("mak", {})
    assert {"m_unet", "mak_gan"} <= set(modules())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"network": {"width": 8}}, "train.network: 'width' is unknown"),
        ({"discriminator": {"depth": 3}}, "train.discriminator: 'depth' is unknown"),
        ({"loss": {"objective": "hinge"}}, "choose one of bce, lsgan"),
    ],
)
def test_keys_that_do_not_fit_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        build("mak_gan", merged(tiny("mak_gan"), change))


def test_missing_keys_are_named():
    train = tiny("mak_gan")
    del train["loss"]["edge"]
    with pytest.raises(InputError, match=r"train/loss: 'edge' is missing"):
        build("mak_gan", train)

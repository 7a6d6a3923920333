import json
import pickle
import re
import struct
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from petbench.errors import InputError
from petbench.methods.build import build
from petbench.restoration.weights import KEY, fill, load_restorer, read_description, read_tensors, save_weights
from petbench.workflow.library import check_description

CONFIG = Path(__file__).parents[2] / "config"


def test_weights_and_description_go_round(tmp_path, describe):
    description = describe(voxel_mm=[2.0863, 2.0863, 2.03125])
    method = build("m_unet", description.train)
    save_weights(tmp_path / "a.safetensors", method.weights(), description)
    assert read_description(tmp_path / "a.safetensors") == description
    restorer, found = load_restorer(tmp_path / "a.safetensors", "cpu")
    assert found == description
    assert not restorer.training
    for name, tensor in method.weights().items():
        assert torch.equal(restorer.weights()[name], tensor)
    save_weights(tmp_path / "b.safetensors", restorer.weights(), found)
    assert (tmp_path / "b.safetensors").read_bytes() == (tmp_path / "a.safetensors").read_bytes()


def test_training_leaves_no_image_in_the_weights(trained, describe):
    assert load_file(trained).keys() == build("m_unet", describe().train).state_dict().keys()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.5, 0.99])
def test_a_file_cut_short_is_named(tmp_path, untrained, share):
    content = Path(untrained).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=r"cut\.safetensors"):
        load_restorer(tmp_path / "cut.safetensors", "cpu")


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_foreign_files_are_refused_and_run_nothing(tmp_path):
    (tmp_path / "pickle.safetensors").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    torch.save({"weight": torch.ones(3), "trap": Trap(tmp_path / "sprung")}, tmp_path / "torch.safetensors")
    save_file({"weight": torch.ones(3)}, tmp_path / "other.safetensors")
    save_file({"weight": torch.ones(3)}, tmp_path / "partial.safetensors", metadata={KEY: json.dumps({"module": "m_unet"})})
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "long.safetensors").write_bytes(struct.pack("<Q", 2**60) + b"{}")
    for name in ("pickle", "torch", "other", "partial", "folder", "long", "missing"):
        with pytest.raises(InputError, match=rf"{name}\.safetensors"):
            load_restorer(tmp_path / f"{name}.safetensors", "cpu")
    for name in ("pickle", "torch"):
        with pytest.raises(InputError, match=rf"{name}\.safetensors"):
            read_tensors(tmp_path / f"{name}.safetensors")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("module", ["os", "../../evil", "base"])
def test_a_description_can_name_no_module_but_a_method(tmp_path, describe, module):
    save_weights(tmp_path / "a.safetensors", {"weight": torch.ones(1)}, describe(module=module))
    with pytest.raises(InputError, match="there is no method"):
        load_restorer(tmp_path / "a.safetensors", "cpu")


def test_weights_that_do_not_fit_are_refused_by_name(tmp_path, describe, untrained):
    train = describe().train
    wider = build("m_unet", train | {"network": train["network"] | {"channels": [6, 8]}})
    with pytest.raises(InputError, match=r"model\.safetensors: weights: network\.\S+ is \(.*where the network has"):
        fill(wider, untrained)
    tensors, description = load_file(untrained), describe()
    first = sorted(tensors)[0]
    save_weights(tmp_path / "fewer.safetensors", {name: tensor for name, tensor in tensors.items() if name != first}, description)
    with pytest.raises(InputError, match=rf"fewer\.safetensors: weights: {first} is only in the network"):
        fill(build("m_unet", train), tmp_path / "fewer.safetensors")
    save_weights(tmp_path / "more.safetensors", tensors | {"extra": torch.ones(1)}, description)
    with pytest.raises(InputError, match=r"more\.safetensors: weights: extra is only in the weights"):
        fill(build("m_unet", train), tmp_path / "more.safetensors")


@pytest.mark.parametrize("part", ["header", "tensors"])
def test_a_flipped_bit_is_noticed(tmp_path, untrained, part):
    """In a tensor 10 of 10 went unnoticed without a checksum, in the header 5 of 30."""
    content = bytearray(Path(untrained).read_bytes())
    header = 8 + struct.unpack("<Q", content[:8])[0]
    rng = np.random.default_rng(0)
    span = (8, header) if part == "header" else (header, len(content))
    restored = load_restorer(untrained, "cpu")
    for place in rng.integers(*span, 40):
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        (tmp_path / "flipped.safetensors").write_bytes(flipped)
        try:
            found = load_restorer(tmp_path / "flipped.safetensors", "cpu")
        except InputError as error:
            assert "flipped.safetensors" in str(error)  # noqa: PT017
        else:  # white space of JSON, or a letter of the checksum's own spelling that means the same
            assert part == "header"
            assert found[1] == restored[1]
            assert all(torch.equal(tensor, restored[0].weights()[name]) for name, tensor in found[0].weights().items())


def test_weights_without_a_checksum_are_refused(tmp_path, untrained, describe):
    save_file(load_file(untrained), tmp_path / "old.safetensors", metadata={KEY: json.dumps(vars(describe()))})
    with pytest.raises(InputError, match=r"old\.safetensors: has no checksum"):
        load_restorer(tmp_path / "old.safetensors", "cpu")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"voxel_mm": [-4, 4, 4]}, "voxel_mm/0: -4 is less than or equal"),
        ({"window": "16"}, "window: '16' is not of type 'array'"),
        ({"train": {"batch_size": "two"}}, "train: "),
        ({"preprocess": {"registration": {}, "grid": {"shape": [8, 8, 8]}, "scaling": {"mode": "low_dose"}}}, "preprocess: "),
        ({"domain": {"window": [16, 16]}}, "domain: window"),
        ({"inputs": "mr"}, "inputs: 'mr' is not of type 'array'"),
        ({"scans": [[1]]}, "scans/0: "),
        ({"module": "no_such"}, "module: there is no method module 'no_such'"),
        ({"dose": 4}, "dose: 4 is not of type 'string'"),
    ],
)
def test_what_weights_say_is_checked_against_the_schemas(describe, change, words):
    told = asdict(describe()) | {"train": describe().train | {"domain": "patches"}}
    check_description(told, CONFIG, "a.safetensors")
    with pytest.raises(InputError, match=f"^a.safetensors: {re.escape(words)}"):
        check_description(told | change, CONFIG, "a.safetensors")


def test_a_percentile_of_nothing_is_refused(describe):
    told = asdict(describe()) | {"train": describe().train | {"domain": "patches"}}
    told["preprocess"]["scaling"]["percentile"] = 0
    with pytest.raises(InputError, match=r"^a.safetensors: preprocess: scaling/percentile: 0 is less than or equal"):
        check_description(told, CONFIG, "a.safetensors")

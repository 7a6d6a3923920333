"""The weights that DDConv's authors publish, as a predictor of petbench's own.

Their file holds a state of PyTorch, tensors only, of `FilterPredictor`: a convolution of attenuation per cm and negative distance, residual
blocks, a pointwise convolution. Ours takes attenuation relative to water, so the weights of that channel are scaled on the way in.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from petbench.errors import InputError
from petbench.files import checksum
from petbench.physics.isotopes import isotope
from petbench.physics.materials import MATERIALS
from petbench.positron_range.predictor import Description, make_network, save_predictor

# Attenuation per cm to which the authors' operators take a map.
AUTHORS_MATERIALS = {"lung": 0.0247, "water": 0.0959, "rib_bone": 0.171}
# What the modules of theirs are called here; within the residual blocks alike.
PARTS = {"initial_conv": "stem", "residual_blocks": "blocks", "final_conv": "score"}
OF_BLOCKS = {"conv1": "first", "act": "activation", "conv2": "second"}


def import_predictor(weights: Mapping[str, Any], out: str | Path) -> None:
    """Write a predictor with the authors' weights.

    Args:
        weights: `file` (`fpred_model_11.pth` and its like), and what it was trained for, which it does not say: `isotope`, `voxel_mm`,
            `kernel_size` and `source`.
        out: The safetensors file.

    Raises:
        InputError: the file is missing, no state of tensors, or not of that network; or the isotope is unknown.
    """
    path = weights["file"]
    network = {"channels": 0, "blocks": 0}
    state = {renamed(name): tensor for name, tensor in read_state(path).items()}
    try:
        network["channels"] = state["stem.0.weight"].shape[0]
        network["blocks"] = sum(name.endswith(".first.weight") for name in state)
        state["stem.0.weight"] = state["stem.0.weight"].clone()
        state["stem.0.weight"][:, 0] *= MATERIALS["water"].mu_per_cm
        make_network({"network": network, "tail": "renormalise"}).load_state_dict(state)
    except (KeyError, IndexError, RuntimeError, InputError) as error:
        reason = str(error).splitlines()[-1].strip()
        raise InputError(f"{path}: is not the network of DDConv's authors ({reason}); give their fpred_model_*.pth.") from None
    description = Description(
        isotope=isotope(weights["isotope"]).name,
        voxel_mm=float(weights["voxel_mm"]),
        kernel_size=int(weights["kernel_size"]),
        tail="renormalise",
        source=weights["source"],
        materials=AUTHORS_MATERIALS,
        train={"network": network, "tail": "renormalise"},
        simulation={"weights": Path(path).name, "checksum": checksum(path)},
        code="",
    )
    save_predictor(out, state, description)


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a state, by name; of a checkpoint those under `model_state_dict`.

    Raises:
        InputError: the file is missing, or holds something else.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; correct weights/file of the predictor.")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    # An unpickler of tensors alone raises whatever stops it.
    except Exception as error:
        reason = type(error).__name__
        raise InputError(f"{path}: holds no weights that can be read without running code ({reason}); download it again.") from None
    state = found.get("model_state_dict", found) if isinstance(found, Mapping) else found
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise InputError(f"{path}: holds no tensors by name; give the authors' fpred_model_*.pth.")
    return {str(name): tensor.float() for name, tensor in state.items()}


def renamed(name: str) -> str:
    """Our name of a tensor of theirs, such as `blocks.2.first.weight` of `residual_blocks.2.conv1.weight`."""
    first, *rest = name.removeprefix("module.").split(".")
    if first == "residual_blocks":
        rest = [OF_BLOCKS.get(part, part) for part in rest]
    return ".".join([PARTS.get(first, first), *rest])

"""LPIPS (Zhang et al. 2018) with AlexNet: a distance between the features that a network trained on photographs sees in two slices.

The weights are not bundled and never random: two files are read, as the authors of the network and of the metric publish them, both plain
state dictionaries, without executing code.
"""

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from petbench.errors import InputError
from petbench.evaluation.settings import LPIPS_EDGE

# Channels, kernel, stride and padding of AlexNet's convolutions, whether max pooling comes before, and their position in its `features`.
_LAYERS = (
    (3, 64, 11, 4, 2, False, 0),
    (64, 192, 5, 1, 2, True, 3),
    (192, 384, 3, 1, 1, True, 6),
    (384, 256, 3, 1, 1, False, 8),
    (256, 256, 3, 1, 1, False, 10),
)
# Mean and spread that photographs in [-1, 1] are brought to zero and one by.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)


class Lpips(nn.Module):
    """Distance of batches of grey slices in [-1, 1], (B, 1, H, W) each, as (B,)."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList([nn.Conv2d(*layer[:5]) for layer in _LAYERS])
        self.weights = nn.ParameterList([torch.zeros(after) for _, after, *_ in _LAYERS])
        self.register_buffer("shift", torch.tensor(_SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(_SCALE).view(1, 3, 1, 1))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Sum over the stages of the weighted squared difference of unit-length features, averaged over their pixels."""
        one, two = (((image.expand(-1, 3, -1, -1) - self.shift) / self.scale) for image in (first, second))
        distance = first.new_zeros(len(first))
        for convolution, weight, (*_, pooled, _) in zip(self.convolutions, self.weights, _LAYERS, strict=True):
            if pooled:
                one, two = F.max_pool2d(one, 3, 2), F.max_pool2d(two, 3, 2)
            one, two = F.relu(convolution(one)), F.relu(convolution(two))
            difference = (_unit(one) - _unit(two)) ** 2
            distance = distance + torch.einsum("bchw,c->bhw", difference, weight).mean(dim=(1, 2))
        return distance


def _unit(features: Tensor) -> Tensor:
    unit: Tensor = features / (torch.linalg.vector_norm(features, dim=1, keepdim=True) + 1e-10)
    return unit


@cache
def load_lpips(alexnet: str | Path, linear: str | Path) -> Lpips:
    """Build the metric from weights on disk.

    Args:
        alexnet: State dictionary of AlexNet as torchvision publishes it (`features.0.weight` ...).
        linear: The metric's own weights, `alex.pth` of LPIPS version 0.1 (`lin0.model.1.weight` ...).

    Raises:
        InputError: a file is missing, cannot be read, or lacks a weight or its shape.
    """
    network = Lpips()
    features, weights = _state(alexnet), _state(linear)
    for number, (convolution, weight, (*_, position)) in enumerate(zip(network.convolutions, network.weights, _LAYERS, strict=True)):
        for name, parameter in convolution.named_parameters():
            _fill(parameter, features, f"features.{position}.{name}", alexnet)
        _fill(weight, weights, f"lin{number}.model.1.weight", linear)
    return network.eval().requires_grad_(False)


def _state(path: str | Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path.") from None
    except Exception as error:  # zip, pickle and torch each raise their own kinds for a broken file
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: cannot be read as weights ({reason}); download it again.") from None
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds {type(content).__name__}, not a state dictionary; download it again.")
    return content


def _fill(parameter: Tensor, state: Mapping[str, Any], name: str, path: str | Path) -> None:
    value = state.get(name)
    if not isinstance(value, Tensor) or value.numel() != parameter.numel():
        raise InputError(f"{path}: lacks {name} with {parameter.numel()} values; it is another network's file, choose AlexNet's.")
    with torch.no_grad():
        parameter.copy_(value.reshape(parameter.shape))


def frame_lpips(network: Lpips, frames: list[tuple[NDArray[Any], NDArray[Any]]]) -> float:
    """LPIPS averaged over frames, each divided by its reference's range and, as M2Diff's authors do, left in [0, 1]; NaN without a frame.

    Args:
        network: From `load_lpips`.
        frames: Restored slice and reference, (x, y) each, see `petbench.evaluation.metrics.frame_slices`.

    Raises:
        InputError: the slices are smaller than `LPIPS_EDGE` pixels.
    """
    distances = []
    with torch.inference_mode():
        for pair in frames:
            _check_edges(pair[1].shape)
            peak = float(np.ptp(pair[1]))
            distances.append(float(network(*(torch.from_numpy(np.float32(image / peak))[None, None] for image in pair))))
    return float(np.mean(distances)) if distances else math.nan


def _check_edges(edges: tuple[int, ...]) -> None:
    if min(edges) < LPIPS_EDGE:
        raise InputError(f"lpips: slices of {edges} pixels are too small for AlexNet; leave lpips out.")


def slice_lpips(
    network: Lpips,
    estimate: NDArray[Any],
    reference: NDArray[Any],
    mask: NDArray[np.bool_] | None,
    used: list[int],
    axis: int,
    data_range: float,
) -> float:
    """LPIPS averaged over slices.

    Args:
        network: From `load_lpips`.
        estimate: Restored volume (x, y, z).
        reference: Its reference.
        mask: Region; both images are zero outside.
        used: Slices along `axis`, from `petbench.evaluation.metrics.used_slices`.
        axis: Axis the slices are stacked along.
        data_range: Value that [0, data_range] is brought to [-1, 1] by; values beyond are not clipped.

    Raises:
        InputError: the slices are smaller than `LPIPS_EDGE` pixels.
    """
    _check_edges(tuple(size for other, size in enumerate(reference.shape) if other != axis % reference.ndim))
    distances = []
    with torch.inference_mode():
        for index in used:
            inside = 1.0 if mask is None else mask.take(index, axis)
            pair = [
                torch.from_numpy(np.float32(2 * image.take(index, axis) * inside / data_range - 1))[None, None]
                for image in (estimate, reference)
            ]
            distances.append(float(network(*pair)))
    return float(np.mean(distances))

"""How alike the layers of a diffusion network's branches represent the same windows: centred kernel alignment, as in M2Diff's figure 8."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from petbench.errors import InputError
from petbench.evaluation.similarity import cka_matrix
from petbench.files import atomic
from petbench.methods.diffusion import Diffusion
from petbench.preprocess.windows import spatial_shape, window_slices
from petbench.restoration.weights import load_restorer

KINDS = ("low_dose", "mr", "standard_dose")
COLUMNS = ("part", "row_branch", "row_layer", "column_branch", "column_layer", "cka", "samples", "time_step")
AT_ONCE = 4
POOLS = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def compare_layers(
    weights: str, prepared: Sequence[str], settings: Mapping[str, Any], device: str, threads: int, out: str | Path
) -> dict[str, NDArray[np.float64]]:
    """Compare each layer of one branch with each of the other, on windows of subjects that the weights have not seen.

    The network sees its conditions and the noisy image of one step of the process: the standard dose, diffused with seeded noise.

    Args:
        weights: `model.safetensors` of a diffusion method whose network has two branches.
        prepared: `prepared.json` of the subjects; windows are taken from the index beside each.
        settings: An experiment's `similarity` block: `time_step`, `samples`, `pixels` and `seed`.
        device: `cpu` or `cuda`.
        threads: CPU threads.
        out: Table to write (TSV, `COLUMNS`), a row a pair of layers.

    Returns:
        By part of the network (such as `encoder`), the alignments, (layers of the first branch, layers of the second).

    Raises:
        InputError: the method has no branches to compare, or there are fewer windows than samples asked for.
    """
    torch.set_num_threads(threads)
    restorer, description = load_restorer(weights, device)
    branches = getattr(restorer, "branches", None)
    if branches is None or not isinstance(restorer, Diffusion):
        raise InputError(f"{weights}: {description.module} has no two branches whose layers could be compared; choose another method.")
    parts: Mapping[str, Mapping[str, Sequence[nn.Module]]] = branches()
    windows = _windows(prepared, description.window, settings["samples"])
    modules = [module for layers in parts.values() for branch in layers.values() for module in branch]
    seen = iter(_activations(restorer, modules, windows, settings, device))
    matrices, rows = {}, []
    for part, layers in parts.items():
        (first, own), (second, others) = layers.items()
        one, other = ([next(seen) for _ in branch] for branch in (own, others))
        matrices[part] = cka_matrix(one, other)
        for (row, column), value in np.ndenumerate(matrices[part]):
            rows.append((part, first, row + 1, second, column + 1, f"{value:.6g}", settings["samples"], settings["time_step"]))
    with atomic(out) as temporary:
        temporary.write_text("\n".join("\t".join(map(str, row)) for row in [COLUMNS, *rows]) + "\n")
    return matrices


def _windows(prepared: Sequence[str], window: Sequence[int], samples: int) -> dict[str, Tensor]:
    """Evenly spaced windows of all subjects, (samples, 1, *spatial) of each kind of volume."""
    folders = [Path(path).parent for path in prepared]
    starts = [(folder, start) for folder in folders for start in np.load(folder / "index.npy")]
    if samples > len(starts):
        raise InputError(f"similarity/samples: {samples} are asked for, and the subjects tested have {len(starts)} windows; lower it.")
    chosen = [starts[(2 * number + 1) * len(starts) // (2 * samples)] for number in range(samples)]
    volumes = {(folder, kind): np.load(folder / f"{kind}.npy", mmap_mode="r") for folder in folders for kind in KINDS}
    shape = (1, *spatial_shape(window))
    return {
        kind: torch.from_numpy(np.stack([volumes[folder, kind][window_slices(start, window)].reshape(shape) for folder, start in chosen]))
        for kind in KINDS
    }


def _activations(
    restorer: Diffusion, modules: Sequence[nn.Module], windows: Mapping[str, Tensor], settings: Mapping[str, Any], device: str
) -> list[NDArray[np.float32]]:
    """What each module puts out for each window, (samples, features): feature maps averaged down to `pixels` a side, then flattened."""
    kept: list[list[Tensor]] = [[] for _ in modules]
    noise = torch.randn(windows["standard_dose"].shape, generator=torch.Generator().manual_seed(settings["seed"]))

    def keep(place: int) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            kept[place].append(_pooled(output, settings["pixels"]).flatten(1).float().cpu())

        return hook

    with ExitStack() as stack, torch.inference_mode():
        for place, module in enumerate(modules):
            stack.callback(module.register_forward_hook(keep(place)).remove)
        for low_dose, mr, standard_dose, drawn in _batches(*(windows[kind] for kind in KINDS), noise, device=device):
            time = torch.full((len(drawn),), settings["time_step"])
            noisy = restorer.process.diffuse(restorer.process.encode(standard_dose), time, drawn)
            restorer.predict(noisy, time.to(device), restorer.condition(low_dose, mr))
    return [torch.cat(batches).numpy() for batches in kept]


def _pooled(features: Tensor, pixels: int) -> Tensor:
    sizes = [min(size, pixels) for size in features.shape[2:]]
    return POOLS[len(sizes)](features, sizes) if sizes else features  # type: ignore[operator,arg-type]


def _batches(*tensors: Tensor, device: str) -> Iterator[list[Tensor]]:
    for first in range(0, len(tensors[0]), AT_ONCE):
        yield [tensor[first : first + AT_ONCE].to(device) for tensor in tensors]

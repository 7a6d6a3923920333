"""How alike the layers of a diffusion network's branches represent the same windows: centred kernel alignment, as in M2Diff's figure 8."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from petbench.errors import InputError
from petbench.evaluation.similarity import cka_matrix
from petbench.files import atomic
from petbench.methods.base import Batch
from petbench.preprocess.windows import spatial_shape, window_slices
from petbench.restoration.weights import load_restorer

KINDS = ("low_dose", "mr", "standard_dose")
COLUMNS = ("part", "row_branch", "row_layer", "column_branch", "column_layer", "cka", "samples", "time_step")
AT_ONCE = 4
POOLS = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
Activations = NDArray[np.float32]


Features = Callable[[Batch, int, list[torch.Generator]], dict[str, dict[str, list[Tensor]]]]
"""A method's `features`: (B, C, *grid) of each layer by part of the network and by branch, for the standard dose diffused to a step."""


def compare_layers(
    weights: str, prepared: Sequence[str], settings: Mapping[str, Any], device: str, threads: int, out: str | Path
) -> dict[str, NDArray[np.float64]]:
    """Compare each layer of one branch with each of the other, on windows of subjects that the weights have not seen.

    The network sees its conditions and the noisy image of one step of the process: the standard dose, diffused with seeded noise.

    Args:
        weights: `model.safetensors` of a method with `features`, see `Features`.
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
    features: Features | None = getattr(restorer, "features", None)
    if features is None:
        raise InputError(f"{weights}: {description.module} has no two branches whose layers could be compared; choose another method.")
    windows = windows_of(prepared, description.window, settings["samples"])
    matrices, rows = {}, []
    for part, branches in layer_activations(features, windows, settings, device).items():
        (first, own), (second, others) = branches.items()
        matrices[part] = cka_matrix(own, others)
        for (row, column), value in np.ndenumerate(matrices[part]):
            rows.append((part, first, row + 1, second, column + 1, f"{value:.6g}", settings["samples"], settings["time_step"]))
    with atomic(out) as temporary:
        temporary.write_text("\n".join("\t".join(map(str, row)) for row in [COLUMNS, *rows]) + "\n")
    return matrices


def windows_of(prepared: Sequence[str], window: Sequence[int], samples: int) -> Batch:
    """So many windows, evenly spaced over those of all subjects, (samples, 1, *spatial) of each kind of volume.

    Raises:
        InputError: there are fewer.
    """
    folders = [Path(path).parent for path in prepared]
    starts = [(folder, start) for folder in folders for start in np.load(folder / "index.npy")]
    if samples > len(starts):
        raise InputError(f"similarity/samples: {samples} are asked for, and the subjects tested have {len(starts)} windows; lower it.")
    chosen = [starts[(2 * number + 1) * len(starts) // (2 * samples)] for number in range(samples)]
    volumes = {(folder, kind): np.load(folder / f"{kind}.npy", mmap_mode="r") for folder in folders for kind in KINDS}
    shape = (1, *spatial_shape(window))
    low_dose, mr, standard_dose = (
        torch.from_numpy(np.stack([volumes[folder, kind][window_slices(start, window)].reshape(shape) for folder, start in chosen]))
        for kind in KINDS
    )
    return Batch(low_dose=low_dose, mr=mr, standard_dose=standard_dose)


def layer_activations(
    features: Features, windows: Batch, settings: Mapping[str, Any], device: str
) -> dict[str, dict[str, list[Activations]]]:
    """What each layer puts out for each window, (samples, features): feature maps averaged down to `pixels` a side, then flattened.

    A window's noise follows from the seed and its number, not from how many are computed at once.
    """
    gathered: dict[str, dict[str, list[list[Activations]]]] = {}
    for first in range(0, len(windows["standard_dose"]), AT_ONCE):
        low_dose, mr, standard_dose = (windows[kind][first : first + AT_ONCE].to(device) for kind in KINDS)  # type: ignore[literal-required]
        generators = [torch.Generator().manual_seed(settings["seed"] + first + place) for place in range(len(standard_dose))]
        found = features(Batch(low_dose=low_dose, mr=mr, standard_dose=standard_dose), settings["time_step"], generators)
        for part, branches in found.items():
            for branch, layers in branches.items():
                kept = gathered.setdefault(part, {}).setdefault(branch, [[] for _ in layers])
                for values, maps in zip(kept, layers, strict=True):
                    values.append(_pooled(maps, settings["pixels"]).flatten(1).float().cpu().numpy())
    return {part: {branch: [np.concatenate(v) for v in layers] for branch, layers in found.items()} for part, found in gathered.items()}


def _pooled(features: Tensor, pixels: int) -> Tensor:
    sizes = [min(size, pixels) for size in features.shape[2:]]
    return POOLS[len(sizes)](features, sizes) if sizes else features  # type: ignore[operator,arg-type]

"""How long a restoration may take, from what it computes, so that a scheduler does not end it before it can end by itself."""

from collections.abc import Mapping
from math import ceil, prod
from typing import Any

from petbench.preprocess.windows import half, thin_axis, window_starts

SECONDS_A_VOXEL = 1.0e-6
"""One evaluation of a network for one voxel: M2Diff's on slices of 256 x 256, the dearest, at 20 TFLOP/s as in docs/scaling.md."""
MARGIN = 2.0
"""A GPU may be half as fast as assumed."""
BEGIN_MINUTES = 60
"""Starting, reading and writing, and what small networks take without a GPU."""
SCAN_VOXELS = 2 * 256 * 256 * 128
"""Voxels of a lab's scan whose windows overlap by half: what its weights see is not known before they are read."""
SCAN_STEPS = 50
"""Sampling steps of a lab's scan when left out."""


def evaluated_slices(dataset: Mapping[str, Any]) -> dict[str, Any] | None:
    """The slices that a data set evaluates, and the axis that they are stacked along; none where it evaluates all."""
    evaluation = dataset.get("evaluation", {})
    return {"axis": evaluation.get("slice_axis", 2), "slices": evaluation["slices"]} if "slices" in evaluation else None


def restored_windows(dataset: Mapping[str, Any], domain: Mapping[str, Any], restore: Mapping[str, Any]) -> int:
    """Windows of one subject that a method restores, at most: how many slices hold no signal is seen only then.

    Args:
        dataset: Its resolved entry.
        domain: The domain of the data set that the method's weights were trained on.
        restore: The method's `restore` block.
    """
    shape, window = dataset["preprocess"]["grid"]["shape"], domain["window"]
    count = len(window_starts(shape, window, restore.get("stride", half(window))))
    axis, evaluated, wanted = thin_axis(window), evaluated_slices(dataset), None
    if axis is None or restore.get("slices") == "all":
        return count
    if evaluated is not None and evaluated["axis"] == axis:
        wanted = evaluated["slices"]
    elif isinstance(domain.get("slices"), list):
        wanted = domain["slices"]
    return count if wanted is None else min(count, count // shape[axis] * len(wanted))


def evaluations(restore: Mapping[str, Any]) -> int:
    """Evaluations of the network for one window, by a method's `restore` block, as `petbench.methods.diffusion.Sampler` counts them."""
    sampler = restore.get("sampler", {"name": "none", "steps": 1})
    return int(2 * sampler["steps"] - 1 if sampler["name"] == "heun" else sampler["steps"])


def restoring_minutes(dataset: Mapping[str, Any], domain: Mapping[str, Any], restore: Mapping[str, Any]) -> int:
    """Minutes to grant the restoration of one subject at the paper's scale: sampling steps x windows x the cost of a window.

    Args:
        dataset: Its resolved entry.
        domain: The domain of the data set that the method's weights were trained on.
        restore: The method's `restore` block.
    """
    return _minutes(evaluations(restore) * restored_windows(dataset, domain, restore) * prod(domain["window"]))


def scan_minutes(sampling_steps: int | None) -> int:
    """The same of a lab's own scan."""
    return _minutes((sampling_steps or SCAN_STEPS) * SCAN_VOXELS)


def _minutes(voxels: int) -> int:
    return BEGIN_MINUTES + ceil(MARGIN * voxels * SECONDS_A_VOXEL / 60)

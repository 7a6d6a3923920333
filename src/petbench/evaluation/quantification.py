"""What a restored image is worth to a reader of PET: regional bias and lesion recovery, against the true activity of a phantom."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.lesions import KINDS, Lesion
from petbench.errors import InputError
from petbench.evaluation.regions import lesion_shell

Array = NDArray[Any]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class LesionRule:
    """How a lesion's background is drawn and which lesions count.

    Attributes:
        gap_mm: Distance around the lesion that is no background.
        width_mm: Thickness of the background shell.
        min_contrast: Least |L/B - 1| of the true activity; the ratio of contrasts means nothing below.
        min_voxels: Least voxels of background.
        min_inside: Least share of a lesion's voxels in the part of the grid that is evaluated; what lies outside counts for nothing.
    """

    gap_mm: float = 2.0
    width_mm: float = 6.0
    min_contrast: float = 0.1
    min_voxels: int = 10
    min_inside: float = 1.0


@dataclass(frozen=True)
class LesionResult:
    """One lesion of one restored image; what does not apply to its kind, or cannot be told, is NaN.

    Attributes:
        label: Its label.
        kind: `pet_only`, `mr_only` or `shared`.
        recovery: Lesion mean over true lesion mean (lesions of the PET).
        contrast_recovery: (L/B - 1) over its true value (lesions of the PET).
        bias: Relative error of the mean where only the MR has a lesion, which PET should not show.
        false_contrast: L/B there over its true value, minus one: what is seen of a lesion that PET should not show.
    """

    label: int
    kind: str
    recovery: float = math.nan
    contrast_recovery: float = math.nan
    bias: float = math.nan
    false_contrast: float = math.nan


def regional_bias(estimate: Array, activity: Array, mask: Mask) -> float:
    """Relative error of a region's mean, (mean estimate - mean activity) / mean activity; NaN where there is no true activity.

    Raises:
        InputError: the region is empty.
    """
    if not mask.any():
        raise InputError("mask: the region holds no voxel; choose one that lies inside the image.")
    true = _mean(activity, mask)
    return _mean(estimate, mask) / true - 1 if true > 0 else math.nan


def lesion_results(
    estimate: Array,
    activity: Array,
    labels: Array,
    lesions: Sequence[Lesion],
    voxel_mm: Array,
    rule: LesionRule | None = None,
    inside: Mask | None = None,
) -> list[LesionResult]:
    """Recovery of each lesion of a phantom.

    Args:
        estimate: Restored image (x, y, z), Bq/ml.
        activity: True activity, the same units and grid.
        labels: Label map on that grid; lesion voxels hold the lesion's label.
        lesions: The phantom's lesions.
        voxel_mm: Voxel edge lengths.
        rule: Background and exclusions.
        inside: The part of the grid that is evaluated; nothing outside is read.

    Raises:
        InputError: a kind is unknown.
    """
    rule = rule or LesionRule()
    results = []
    for entry in lesions:
        label, kind = entry.label, entry.kind
        if kind not in KINDS:
            raise InputError(f"lesions: kind {kind!r} of lesion {label} is unknown; use one of {', '.join(KINDS)}.")
        whole = np.asarray(labels == label, dtype=bool)
        lesion = whole if inside is None else whole & inside
        # A small lesion may have lost all its voxels to a later one or to a coarse grid.
        if not lesion.any() or np.count_nonzero(lesion) < rule.min_inside * np.count_nonzero(whole):
            results.append(LesionResult(label, kind))
            continue
        shell = lesion_shell(labels, label, voxel_mm, rule.gap_mm, rule.width_mm)
        if inside is not None:
            shell &= inside
        measured, true = (_contrast(image, lesion, shell, rule) for image in (estimate, activity))
        bias = regional_bias(estimate, activity, lesion)
        if kind == "mr_only":
            # A ratio, as the ball may hold other tissue than lies around it, whose contrast is none of the lesion's.
            false = (1 + measured) / (1 + true) - 1 if true > -1 else math.nan
            results.append(LesionResult(label, kind, bias=bias, false_contrast=false))
        else:
            # A cold lesion without any activity has a contrast, but no recovery coefficient; one of hardly any contrast has no ratio of it.
            recovered = measured / true if abs(true) >= rule.min_contrast else math.nan
            results.append(LesionResult(label, kind, recovery=1 + bias, contrast_recovery=recovered))
    return results


def _contrast(image: Array, lesion: Mask, shell: Mask, rule: LesionRule) -> float:
    """Lesion over background minus one; NaN where there is too little background, or nothing in it."""
    if np.count_nonzero(shell) < max(rule.min_voxels, 1) or not _mean(image, shell) > 0:
        return math.nan
    return _mean(image, lesion) / _mean(image, shell) - 1


def _mean(image: Array, mask: Mask) -> float:
    return float(np.mean(image[mask], dtype=np.float64))

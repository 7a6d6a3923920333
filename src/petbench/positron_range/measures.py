"""What the experiments measure: distances of distributions, profiles, ranges, and the recovery of lesions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError

Image = NDArray[np.floating[Any]] | NDArray[np.integer[Any]]
Mask = NDArray[np.bool_]
Row = dict[str, Any]

# Share of an even distribution that is mixed into both sides of a divergence, so that voxels without counts do not make it infinite.
EPSILON = 1e-3
AXES = ("x", "y", "z")
# A part of a lesion is reported if it holds at least this share of its voxels.
LEAST_PART = 0.1


def l1_distance(reference: Image, model: Image) -> float:
    """Sum of the absolute differences of two distributions, 0 to 2; both are scaled to sum one."""
    p, q = _shares(reference, model)
    return float(np.abs(p - q).sum())


def kl_divergence(reference: Image, model: Image, epsilon: float = EPSILON) -> float:
    """KL(reference || model) in nats, sum of p ln(p / q); never negative, and 0 only where both are the same.

    Args:
        reference: Not negative; it is scaled to sum one.
        model: As `reference`, of its shape.
        epsilon: Both are mixed with an even distribution, (1 - epsilon) p + epsilon / n over n voxels: counts of a simulation hold
            zeros.

    Raises:
        InputError: epsilon is outside (0, 1), or an image is negative, empty or of another shape.
    """
    if not 0 < epsilon < 1:
        raise InputError(f"epsilon: {epsilon} is outside (0, 1); give the share of an even distribution.")
    p, q = ((1 - epsilon) * share + epsilon / share.size for share in _shares(reference, model))
    return float((p * np.log(p / q)).sum())


def _shares(reference: Image, model: Image) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if reference.shape != model.shape:
        raise InputError(f"distance: shapes {reference.shape} and {model.shape} differ; compare images of one grid.")
    shares = []
    for image in (reference, model):
        values = np.asarray(image, dtype=np.float64).ravel()
        if not (np.isfinite(values).all() and values.min() >= 0 and values.sum() > 0):
            raise InputError("distance: an image is negative, not finite or empty; compare distributions.")
        shares.append(values / values.sum())
    return shares[0], shares[1]


def kernel_distances(reference: Image, model: Image, epsilon: float = EPSILON) -> dict[str, float]:
    """`l1` and `kl` of two kernels; what lies beyond them, one less their sum, counts as one more voxel.

    Args:
        reference: Probabilities of GATE, (K, K, K).
        model: A model's.
        epsilon: As for `kl_divergence`.
    """
    p, q = (
        np.append(np.asarray(kernel, dtype=np.float64), max(0.0, 1.0 - float(np.sum(kernel, dtype=np.float64))))
        for kernel in (reference, model)
    )
    return {"l1": l1_distance(p, q), "kl": kl_divergence(p, q, epsilon)}


def distances_to_runs(runs: tuple[Image, Image], model: Image, epsilon: float = EPSILON) -> dict[str, float]:
    """How far a model is from two independent runs of GATE of the same counts, in units of how far they are from each other.

    Args:
        runs: Kernels of the runs, (K, K, K) each.
        model: A model's kernel.
        epsilon: As for `kl_divergence`.

    Returns:
        `l1` and `kl`, means over the runs; `l1_floor` and `kl_floor`, the distance between the runs (KL both ways, mean); `l1_ratio` and
        `kl_ratio`, the first over the second. A further run of GATE has a ratio of 1; an exact model without any noise has about 0.71
        (l1) and 0.5 (KL), because it adds no noise of its own, where voxels hold many counts; with fewer than one a voxel its l1 is
        that of a further run, and a wrong model may have less.
    """
    to_runs = [kernel_distances(run, model, epsilon) for run in runs]
    floors = [kernel_distances(runs[0], runs[1], epsilon), kernel_distances(runs[1], runs[0], epsilon)]
    return _with_ratios(
        {name: float(np.mean([distance[name] for distance in to_runs])) for name in ("l1", "kl")},
        {name: float(np.mean([distance[name] for distance in floors])) for name in ("l1", "kl")},
    )


def _with_ratios(distances: Mapping[str, float], floors: Mapping[str, float]) -> dict[str, float]:
    found = dict(distances)
    for name, floor in floors.items():
        found[f"{name}_floor"] = floor
        found[f"{name}_ratio"] = found[name] / floor if floor > 0 else float("nan")
    return found


def image_distances(runs: tuple[Image, Image], model: Image, region: Mask, epsilon: float = EPSILON) -> dict[str, float]:
    """How far a blurred activity is from two independent runs of GATE, within a region.

    Args:
        runs: Annihilations of the runs in the unit of the model, (x, y, z).
        model: The blurred activity.
        region: Where to compare.
        epsilon: As for `kl_divergence`.

    Returns:
        `l1`, the sum of absolute differences over the run's sum, and `kl`, of the distributions within the region, each with `_floor` and
        `_ratio` as in `distances_to_runs`; `nrmse`, the root of the mean squared error over the mean, free of the runs' noise: the
        product of the errors against two independent runs has the squared error as its expectation (its root is negative where
        noise makes the product so).
    """
    first, second, values = (np.asarray(image, dtype=np.float64)[region] for image in (*runs, model))
    l1 = [np.abs(values - run).sum() / run.sum() for run in (first, second)]
    floor = np.abs(first - second).sum() * (1 / first.sum() + 1 / second.sum()) / 2
    kl = [kl_divergence(run, values, epsilon) for run in (first, second)]
    kl_floor = [kl_divergence(first, second, epsilon), kl_divergence(second, first, epsilon)]
    found = _with_ratios({"l1": float(np.mean(l1)), "kl": float(np.mean(kl))}, {"l1": float(floor), "kl": float(np.mean(kl_floor))})
    squared = float(np.mean((first - values) * (second - values)))
    found["nrmse"] = float(np.sign(squared) * np.sqrt(abs(squared)) / np.mean((first + second) / 2))
    return found


def near_interfaces(labels: NDArray[np.integer[Any]], voxel_mm: Sequence[float], distance_mm: float) -> Mask:
    """Voxels whose centre is at most `distance_mm` from that of a voxel of another material; both of shape (x, y, z)."""
    from scipy.ndimage import distance_transform_edt

    near = np.zeros(labels.shape, dtype=bool)
    for label in np.unique(labels):
        own = labels == label
        if not own.all():
            near |= own & (distance_transform_edt(own, sampling=list(voxel_mm)) <= distance_mm)
    return near


def mean_range_mm(kernel: Image, voxel_mm: float) -> float:
    """Mean distance from a kernel's middle to the annihilations in it; (K, K, K), K odd.

    Counting in voxels of edge w blurs a distribution, which adds w^2 / (12 r) to a mean distance r; that is taken off again. In the middle
    voxel a positron is taken to stay 0.3 w away, between the mean of a cube (0.48) and of the crowd about a point source. Ranges above a
    voxel are right to some 3 %, down to half of it to some 6 %.
    """
    places = (np.arange(kernel.shape[0]) - kernel.shape[0] // 2) * voxel_mm
    distance = np.sqrt(places[:, None, None] ** 2 + places[None, :, None] ** 2 + places[None, None, :] ** 2)
    middle = distance == 0
    distance[~middle] -= voxel_mm**2 / 12 / distance[~middle]
    distance[middle] = 0.3 * voxel_mm
    values = np.asarray(kernel, dtype=np.float64)
    return float((values * distance).sum() / values.sum())


def axis_profiles(image: Image, centre: Sequence[int], voxel_mm: Sequence[float]) -> Iterator[Row]:
    """Profiles along the three axes through a voxel.

    Yields:
        `axis`, `position_mm` from the voxel, `line`, the image on the axis, and `projection`, its sum over the other two axes.
    """
    for axis, name in enumerate(AXES):
        others = tuple({0, 1, 2} - {axis})
        index: list[Any] = list(centre)
        index[axis] = slice(None)
        line, projection = np.asarray(image[tuple(index)], dtype=np.float64), image.sum(axis=others, dtype=np.float64)
        for place, (on_axis, summed) in enumerate(zip(line, projection, strict=True)):
            position = (place - centre[axis]) * float(voxel_mm[axis])
            yield {"axis": name, "position_mm": position, "line": float(on_axis), "projection": float(summed)}


def middle_voxel(mask: Mask) -> tuple[int, int, int]:
    """The voxel nearest to the mean place of a mask's voxels.

    Raises:
        InputError: the mask is empty.
    """
    if not mask.any():
        raise InputError("lesions: one has no voxels; correct the labels.")
    x, y, z = (round(float(place.mean())) for place in np.nonzero(mask))
    return x, y, z


def lesion_parts(lesion: Mask, labels: NDArray[np.integer[Any]], materials: Sequence[str]) -> dict[str, Mask]:
    """The `whole` lesion and, where it lies in several materials, its part in each (DDConv, section III-C: lesion 4 in water and lung)."""
    parts = {"whole": lesion}
    within = {name: lesion & (labels == label) for label, name in enumerate(materials)}
    held = {name: mask for name, mask in within.items() if mask.sum() >= LEAST_PART * lesion.sum()}
    return parts | held if len(held) > 1 else parts


def background_of(lesions: NDArray[np.integer[Any]], number: int, body: Mask, voxel_mm: Sequence[float], shell_mm: Sequence[float]) -> Mask:
    """The shell about a lesion between two distances from its edge, within the body, without the other lesions.

    Raises:
        InputError: the shell is empty.
    """
    from scipy.ndimage import distance_transform_edt

    inner, outer = shell_mm
    distance = distance_transform_edt(lesions != number, sampling=list(voxel_mm))
    shell: Mask = (distance > inner) & (distance <= outer) & (lesions == 0) & body
    if not shell.any():
        raise InputError(f"background_mm: the shell from {inner:g} to {outer:g} mm about lesion {number} is empty; widen it.")
    return shell


def lesion_measures(image: Image, truth: Image, regions: Mapping[tuple[str, str], Mask]) -> Iterator[Row]:
    """Recovery and bias of lesions and their backgrounds.

    Args:
        image: The estimate, (x, y, z).
        truth: True activity.
        regions: Masks by lesion and part (`whole`, a material, `background`).

    Yields:
        `lesion`, `part`, `quantity`, `value`; quantities are `recovery`, the mean over the true mean; `bias_percent`, how far that is from
        one; `nrmse`, the root of the mean squared error over the true mean; and, of the whole lesion, `recovery_error`: how far the
        recoveries of its parts by material are from one, their mean weighted by voxels. Where a model has too much activity on one side
        of an interface and too little on the other, the recovery of the whole does not tell.
    """
    recoveries: dict[str, dict[str, tuple[float, int]]] = {}
    for (lesion, part), mask in regions.items():
        values, true = (np.asarray(of, dtype=np.float64)[mask] for of in (image, truth))
        recovery = values.mean() / true.mean()
        recoveries.setdefault(lesion, {})[part] = (float(recovery), values.size)
        found = {
            "recovery": recovery,
            "bias_percent": 100 * (recovery - 1),
            "nrmse": np.sqrt(np.mean((values - true) ** 2)) / true.mean(),
        }
        for quantity, value in found.items():
            yield {"lesion": lesion, "part": part, "quantity": quantity, "value": float(value)}
    for lesion, parts in recoveries.items():
        by_material = [found for part, found in parts.items() if part not in ("whole", "background")] or [parts["whole"]]
        error = sum(abs(recovery - 1) * voxels for recovery, voxels in by_material) / sum(voxels for _, voxels in by_material)
        yield {"lesion": lesion, "part": "whole", "quantity": "recovery_error", "value": float(error)}

"""Which material a voxel holds, and where the medium is the same as far as positrons get (DDConv, appendix A)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.materials import MATERIALS

Array = NDArray[np.float32]
Labels = NDArray[np.int8]

WATER = "water"
# Half the attenuation of lung: less is air. Positrons emitted there, or beyond the image, are taken to meet water.
AIR_BELOW_PER_CM = 0.012
# A map may exceed the densest material by this share, as cortical bone exceeds rib bone.
EXCESS = 0.3
# With continuous attenuation a voxel holds a material's kernel only where it is this close to it.
NEAR = 0.01
MODES = ("nearest", "continuous")
NEAREST = ("ratio", "difference")
NO_MATERIAL = -1


def training_materials(mu: NDArray[np.floating]) -> dict[str, float]:
    """The materials of media made of table materials, by name, with their attenuation per cm.

    Raises:
        InputError: an attenuation is no material's, or water is not among them.
    """
    found = {}
    for value in np.unique(mu):
        names = [name for name, entry in MATERIALS.items() if np.isclose(entry.mu_per_cm, value, rtol=1e-4, atol=0)]
        if not names:
            raise InputError(f"mu: {value:g} per cm is no material's; simulate media of {', '.join(MATERIALS)}.")
        found[names[0]] = MATERIALS[names[0]].mu_per_cm
    if WATER not in found:
        raise InputError("mu: no medium holds water, which stands for what surrounds the body; simulate some that do.")
    return found


def check_mu(mu: Array, materials: Mapping[str, float]) -> None:
    """Check an attenuation map against the materials that kernels are known for.

    Raises:
        InputError: it is not three-dimensional, not finite, negative, denser than the densest material allows, or all air.
    """
    if mu.ndim != 3:
        raise InputError(f"mu: an image of shape {mu.shape} is not three-dimensional; give one attenuation map (x, y, z).")
    if not np.isfinite(mu).all():
        raise InputError("mu: the attenuation map has values that are not finite; mend it.")
    densest = max(materials, key=lambda name: materials[name])
    limit = (1 + EXCESS) * materials[densest]
    if mu.min() < -AIR_BELOW_PER_CM or mu.max() > limit:
        worst = mu.min() if mu.min() < -AIR_BELOW_PER_CM else mu.max()
        raise InputError(
            f"mu: {worst:.3g} per cm is outside the known materials ({densest} is {materials[densest]:g}, up to {limit:.3g} is taken"
            " for it); give the attenuation at 511 keV per cm, without metal."
        )
    if mu.max() < AIR_BELOW_PER_CM:
        raise InputError(f"mu: at most {mu.max():.3g} per cm, so all is air; give the attenuation at 511 keV per cm.")


def material_labels(mu: Array, materials: Mapping[str, float], nearest: str = "ratio", air: str = WATER) -> Labels:
    """The nearest material of each voxel, an index into `materials`.

    Range goes with the inverse of density, so nearest is meant in ratio: a skull of 0.13 per cm is nearer to bone than to water.

    Args:
        mu: Attenuation per cm at 511 keV, (x, y, z).
        materials: Attenuation per cm by name; water is among them.
        nearest: `ratio`, or `difference` as in the authors' code.
        air: The material that air counts as: water, or lung as in the authors' code.

    Raises:
        InputError: nearest or air is unknown; see also `check_mu`.
    """
    if nearest not in NEAREST:
        raise InputError(f"nearest: {nearest!r} is unknown; choose one of {', '.join(NEAREST)}.")
    if air not in materials:
        raise InputError(f"air: {air!r} is none of the materials; choose one of {', '.join(materials)}.")
    check_mu(mu, materials)
    values = np.array(list(materials.values()))
    order = np.argsort(values)
    low, high = values[order][:-1], values[order][1:]
    between = np.sqrt(low * high) if nearest == "ratio" else (low + high) / 2
    labels = order[np.searchsorted(between, mu)].astype(np.int8)
    labels[mu < AIR_BELOW_PER_CM] = list(materials).index(air)
    return labels


def medium_of(mu: Array, materials: Mapping[str, float], mode: str, nearest: str = "ratio", air: str = WATER) -> tuple[Array, Labels]:
    """The medium kernels are predicted for, and the material whose kernel a voxel may share.

    Args:
        mu: Attenuation per cm at 511 keV, (x, y, z).
        materials: Attenuation per cm by name; water is among them.
        mode: `nearest`, each voxel as its nearest material; `continuous`, the attenuation as it is within the materials' span.
        nearest: As for `material_labels`.
        air: As for `material_labels`.

    Returns:
        Attenuation per cm, (x, y, z), and labels, which in `continuous` mode are -1 where the attenuation is not a material's.

    Raises:
        InputError: the mode is unknown; see also `check_mu`.
    """
    if mode not in MODES:
        raise InputError(f"materials: {mode!r} is unknown; choose one of {', '.join(MODES)}.")
    labels = material_labels(mu, materials, nearest, air)
    values = np.array(list(materials.values()), dtype=np.float32)
    assigned = values[labels]
    if mode == "nearest":
        return assigned, labels
    medium = np.where(mu < AIR_BELOW_PER_CM, assigned, np.clip(mu, values.min(), values.max())).astype(np.float32)
    labels[np.abs(medium / assigned - 1) > NEAR] = NO_MATERIAL
    return medium, labels


def homogeneous_labels(
    labels: Labels, kernels: NDArray[np.floating], outside: int | None, threshold: float, threads: int | None = None
) -> Labels:
    """The material whose positrons all annihilate in it (DDConv, equations 13 to 15), or -1 where the medium is heterogeneous.

    The paper asks that the material's indicator, blurred by its kernel, be one. Here what falls into others may be up to `threshold`.

    Args:
        labels: Material of each voxel, -1 for none, (x, y, z).
        kernels: Each material's kernel, (L, K, K, K).
        outside: The material beyond the image, -1 for none; None for that of the outermost voxels.
        threshold: Share of a positron's annihilations.
        threads: Threads to run on, None for numba's own number.
    """
    from petbench.positron_range.convolution import correlate

    margin = kernels.shape[-1] // 2
    padded = np.pad(labels, margin, mode="edge") if outside is None else np.pad(labels, margin, constant_values=outside)
    homogeneous = np.full(labels.shape, NO_MATERIAL, dtype=np.int8)
    for material, kernel in enumerate(kernels):
        if not (labels == material).any():
            continue
        foreign = correlate((padded != material).astype(np.float32), kernel, threads)
        # Rounding of the transform is of the order of 1e-7.
        homogeneous[(labels == material) & (foreign <= threshold + 1e-6)] = material
    return homogeneous


def even_windows(labels: Labels, size: int, materials: int, threshold: float, threads: int | None = None) -> Labels:
    """The material of each voxel that all but a share `threshold` of those about it hold, too, or -1: as in the authors' code.

    Args:
        labels: Material of each voxel, -1 for none, (x, y, z); beyond the image lies none.
        size: Edge of the window in voxels.
        materials: Their number.
        threshold: Share of the window's voxels.
        threads: Threads to run on, None for numba's own number.
    """
    window = np.full((materials, size, size, size), 1 / size**3, dtype=np.float32)
    return homogeneous_labels(labels, window, NO_MATERIAL, threshold, threads)


def shares(homogeneous: Labels, materials: Mapping[str, float]) -> dict[str, Any]:
    """How many voxels share each material's kernel, and how many are heterogeneous."""
    counts: dict[str, Any] = {name: int((homogeneous == index).sum()) for index, name in enumerate(materials)}
    return counts | {"heterogeneous": int((homogeneous == NO_MATERIAL).sum())}

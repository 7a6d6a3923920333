"""Images of a head: activity, attenuation and labels on a scanner's grid, and a T1-weighted MR on its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.anatomy import LABELS, Anatomy, Array, Box
from petbench.data.deformation import smooth_field
from petbench.data.lesions import Lesion, lesion_at
from petbench.errors import InputError

Affine = NDArray[np.float64]

# Surfaces that are known exactly pass from one tissue to the next over the parts of a voxel, and over no less than this.
LEAST_EDGE_MM = 0.5


def turn(rotation_deg: float) -> Affine:
    """Rotation about the scanner's axis, 4x4, from x towards y."""
    cosine, sine = np.cos(np.deg2rad(rotation_deg)), np.sin(np.deg2rad(rotation_deg))
    affine = np.eye(4)
    affine[:2, :2] = [[cosine, -sine], [sine, cosine]]
    return affine


def turned_box(box_mm: Box, rotation: Affine) -> Box:
    """The upright box that holds a box after it was turned."""
    corners = rotation[:3, :3] @ _corners(box_mm) + rotation[:3, 3:]
    return corners.min(axis=1), corners.max(axis=1)


def turned_lesions(lesions: Sequence[Lesion], rotation: Affine) -> tuple[Lesion, ...]:
    """The lesions of a head that was turned."""
    moved = (rotation[:3, :3] @ np.array(lesion.centre_mm) + rotation[:3, 3] for lesion in lesions)
    return tuple(
        replace(lesion, centre_mm=(round(float(x), 3), round(float(y), 3), round(float(z), 3)))
        for lesion, (x, y, z) in zip(lesions, moved, strict=True)
    )


def _corners(box_mm: Box) -> NDArray[np.float64]:
    return np.stack(np.meshgrid(*np.transpose(box_mm), indexing="ij")).reshape(3, -1)


def render_pet(
    anatomy: Anatomy,
    lesions: Sequence[Lesion],
    working_mm: float,
    shape: tuple[int, int, int],
    affine: Affine,
    seen_mm: Box,
    rotation: Affine,
) -> tuple[Array, Array, NDArray[np.int16]]:
    """Paint a head on a scanner's grid.

    Args:
        anatomy: The head.
        lesions: Its lesions, where they are before it is turned.
        working_mm: Edge of the parts that each voxel is cut into.
        shape: Voxels of the grid.
        affine: Where they are in the scanner (4x4, RAS mm), its axes along the scanner's.
        seen_mm: Box in the scanner outside which nothing of the head is.
        rotation: How the head is turned in the scanner (4x4).

    Returns:
        Activity (Bq/ml), attenuation (per cm), and the label of the largest share of each voxel.

    Raises:
        InputError: the head lies outside the grid.
    """
    names = [tissue.name for tissue in anatomy.tissues]
    brain = [names.index("grey"), names.index("white")]
    activity_of = np.array([tissue.activity_bq_ml for tissue in anatomy.tissues], dtype=np.float32)
    mu_of = np.array([tissue.attenuation_per_cm for tissue in anatomy.tissues], dtype=np.float32)
    counted_as = {label: [index for index, tissue in enumerate(anatomy.tissues) if tissue.label == label] for label in LABELS}
    lesion_activity = {
        lesion.label: lesion.contrast * anatomy.tissues[brain[0 if lesion.uptake == "hot" else 1]].activity_bq_ml
        for lesion in lesions
        if lesion.on_pet
    }
    values = [*LABELS.values(), *(lesion.label for lesion in lesions)]

    def paint(points: Array) -> Array:
        fractions, regional = anatomy.tissues_at(points, max(working_mm, LEAST_EDGE_MM))
        activity = np.tensordot(activity_of, fractions, axes=1)
        activity += (regional - 1) * np.tensordot(activity_of[brain], fractions[brain], axes=1)
        lesion = lesion_at(lesions, points)
        for label, value in lesion_activity.items():
            activity[lesion == label] = value
        healthy = lesion == 0
        shares = [healthy * (1 - fractions.sum(axis=0))]
        shares += [healthy * fractions[indices].sum(axis=0) for label, indices in counted_as.items() if label != "background"]
        shares += [lesion == found.label for found in lesions]
        return np.stack([activity, np.tensordot(mu_of, fractions, axes=1), *shares]).astype(np.float32)

    first = np.clip(np.floor((seen_mm[0] - affine[:3, 3]) / np.diag(affine)[:3]), 0, shape).astype(int)
    last = np.clip(np.ceil((seen_mm[1] - affine[:3, 3]) / np.diag(affine)[:3]) + 1, 0, shape).astype(int)
    block = affine.copy()
    block[:3, 3] += np.diag(affine)[:3] * first
    size = (int(last[0] - first[0]), int(last[1] - first[1]), int(last[2] - first[2]))
    if min(size) <= 0:
        raise InputError("placement/translation_mm: the head lies outside the field of view; lower it.")
    painted = _render(paint, 2 + len(values), size, np.linalg.inv(rotation) @ block, working_mm)

    inside = tuple(slice(low, high) for low, high in zip(first, last, strict=True))
    activity, attenuation, labels = np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.int16)
    activity[inside], attenuation[inside] = painted[0], painted[1]
    labels[inside] = np.array(values, dtype=np.int16)[painted[2:].argmax(axis=0)]
    return activity, attenuation, labels


def render_t1(
    anatomy: Anatomy,
    lesions: Sequence[Lesion],
    working_mm: float,
    t1: Mapping[str, Any],
    pose_seed: np.random.SeedSequence,
    noise_seed: np.random.SeedSequence,
) -> tuple[Array, Affine, Affine]:
    """Paint the T1-weighted MR of a head, in a pose of its own, with a bias field and Rician noise.

    Args:
        anatomy: The head.
        lesions: Its lesions.
        working_mm: Edge of the parts that each voxel is cut into; no larger than the voxel.
        t1: The block `t1`, complete.
        pose_seed: What the pose follows from.
        noise_seed: What bias field and noise follow from.

    Returns:
        The image, the affine of its grid, and the transform (4x4) from its world to that of the head before it is turned.
    """
    from scipy.spatial.transform import Rotation

    pose = np.random.default_rng(pose_seed)
    rotation = Rotation.from_euler("xyz", t1["rotation_deg"] * pose.uniform(-1, 1, 3), degrees=True).as_matrix()
    to_pet = np.eye(4)
    to_pet[:3, :3] = rotation
    to_pet[:3, 3] = t1["translation_mm"] * pose.uniform(-1, 1, 3)

    corners = rotation.T @ (_corners(anatomy.box_mm) - to_pet[:3, 3:])
    voxel = float(t1["voxel_mm"])
    low = np.floor(corners.min(axis=1) / voxel) * voxel
    size = np.ceil((corners.max(axis=1) - low) / voxel).astype(int) + 1
    shape = (int(size[0]), int(size[1]), int(size[2]))
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = low

    signal = np.array([tissue.signal for tissue in anatomy.tissues], dtype=np.float32)
    shown = [lesion for lesion in lesions if lesion.on_mr]

    def paint(points: Array) -> Array:
        image = np.tensordot(signal, anatomy.tissues_at(points, max(working_mm, LEAST_EDGE_MM))[0], axes=1)
        image[lesion_at(shown, points) > 0] = t1["signal"]["lesion"]
        return image[None]

    clean = _render(paint, 1, shape, to_pet @ affine, min(working_mm, voxel))[0]
    rng = np.random.default_rng(noise_seed)
    clean *= 1 + np.float32(t1["bias_field"]) * _bias(rng, shape)
    # The magnitude of a complex signal with Gaussian noise in both channels (Rician).
    sigma = np.float32(t1["noise"] * t1["signal"]["white"])
    real = clean + sigma * rng.standard_normal(shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(shape, dtype=np.float32)
    return np.hypot(real, imaginary), affine, to_pet


def _render(
    paint: Callable[[Array], Array], channels: int, shape: tuple[int, int, int], voxel_to_world: Affine, working_mm: float
) -> Array:
    """Average what `paint` says of world points (3, ...), as (channels, ...), over each voxel of a grid; (channels, *shape).

    Each voxel is cut into equal parts of about `working_mm`: averaging them is exact area weighting, and conserves totals.
    """
    voxel = np.linalg.norm(voxel_to_world[:3, :3], axis=0)
    parts = np.maximum(np.rint(voxel / working_mm), 1).astype(int)
    image = np.empty((channels, *shape), dtype=np.float32)
    for plane in range(shape[2]):
        sizes = (shape[0] * parts[0], shape[1] * parts[1], parts[2])
        steps = [(np.arange(size) + 0.5) / part - 0.5 for size, part in zip(sizes, parts, strict=True)]
        i, j, k = np.meshgrid(steps[0], steps[1], steps[2] + plane, indexing="ij", sparse=True)
        points = np.stack([row[0] * i + row[1] * j + row[2] * k + row[3] for row in voxel_to_world[:3]]).astype(np.float32)
        fine = paint(points).reshape(channels, shape[0], parts[0], shape[1], parts[1], parts[2])
        image[..., plane] = fine.mean(axis=(2, 4, 5))
    return image


def _bias(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    """A field between -1 and 1 that varies over a third of the image."""
    from scipy.ndimage import zoom

    coarse = smooth_field(rng, (16, 16, 16), 5.0)
    coarse /= np.abs(coarse).max()
    field: Array = zoom(coarse, np.array(shape) / 16, order=1, grid_mode=True, mode="nearest")
    return field

"""Simulated subjects: activity, attenuation and labels on a scanner's grid, and a T1-weighted MR in a pose of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.anatomy import LABELS, TISSUES, Anatomy, outer_distance, random_anatomy, tissue_fractions
from petbench.data.deformation import smooth_field
from petbench.data.lesions import Lesion, lesion_at, place_lesions
from petbench.data.nifti import centred_affine
from petbench.errors import InputError

Array = NDArray[np.float32]
Affine = NDArray[np.float64]

# A head is looked for this far from the scanner's centre, in steps well below its size.
SURVEY_REACH_MM = 180.0
SURVEY_STEP_MM = 6.0
GROUPS = ("control", "patient")
REFERENCES = (
    "Fonov et al., Unbiased average age-appropriate atlases for pediatric studies, NeuroImage 54 (2011) 313-327",
    "ICBM152 2009a nonlinear symmetric, Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, "
    "Montreal Neurological Institute, McGill University",
)

# What an entry may leave out. FDG-like uptake; T1 signal after BrainWeb's normal brain (Cocosco et al. 1997), white matter 154.
DEFAULTS: dict[str, Any] = {
    "working_mm": 1.0,
    "activity_bq_ml": {"grey": 20000, "white": 5000, "csf": 1000, "skull": 1500, "scalp": 4000},
    "attenuation_per_cm": {"tissue": 0.096, "bone": 0.17, "marrow": 0.13},
    "regional_variation": 0.1,
    "regional_smoothness_mm": 20.0,
    "deformation_mm": 5.0,
    "deformation_smoothness_mm": 20.0,
    "size_variation": 0.05,
    "placement": {"rotation_deg": 4.0, "translation_mm": 4.0},
    "head": {"csf_mm": 2.5, "skull_mm": 7.0, "scalp_mm": 6.0, "table_mm": 1.8, "thickness_variation": 0.15},
    "lesions": {"pet_only": 2, "mr_only": 2, "shared": 3, "radius_mm": [4.0, 8.0], "hot": 1.5, "cold": 0.5},
    "disease": {"severity": [0.3, 1.0], "atrophy": 0.4, "hypometabolism": 0.35, "radius_mm": 14.0},
    "t1": {
        "voxel_mm": 1.0,
        "noise": 0.02,
        "bias_field": 0.2,
        "rotation_deg": 8.0,
        "translation_mm": 8.0,
        "signal": {"csf": 48, "grey": 106, "white": 154, "bone": 12, "marrow": 70, "scalp": 130, "lesion": 75},
    },
}


@dataclass(frozen=True)
class Phantom:
    """One subject. World coordinates are RAS millimetres; the centre of the scanner's image is their origin.

    `activity` (Bq/ml), `attenuation` (per cm, 511 keV) and `labels` (`anatomy.LABELS`, lesions from 101) share the scanner's grid
    `affine`; `t1` has its own grid `t1_affine`, in its own world, which `t1_to_pet` (4x4) takes to the scanner's.
    """

    activity: Array
    attenuation: Array
    labels: NDArray[np.int16]
    affine: Affine
    t1: Array
    t1_affine: Affine
    t1_to_pet: Affine
    lesions: tuple[Lesion, ...]
    seed: int
    group: str
    severity: float


def make_subject(
    parameters: Mapping[str, Any],
    scanner_shape: Sequence[int],
    scanner_voxel_mm: Sequence[float],
    seed: int,
    group: str = "control",
) -> Phantom:
    """Make the subject that follows from `seed`; the same one, bit for bit, each time.

    Every part of it (head, lesions, MR pose, MR noise) has its own stream of random numbers, so that changing the parameters of
    one leaves the others as they were.

    Args:
        parameters: A `phantom` block; what it leaves out is taken from `DEFAULTS`.
        scanner_shape: Voxels of the PET image along x, y, z.
        scanner_voxel_mm: Their edges in mm.
        seed: The subject's.
        group: "control", or "patient" for one with Alzheimer's disease of a severity drawn from `disease.severity`.

    Raises:
        InputError: an unknown group, lesions without room, a deformation that folds, or no head in the field of view.
    """
    if group not in GROUPS:
        raise InputError(f"phantom: group {group!r} is unknown; choose one of {', '.join(GROUPS)}.")
    parameters = _with_defaults(DEFAULTS, parameters)
    head_seed, lesion_seed, pose_seed, noise_seed, disease_seed = np.random.SeedSequence(seed).spawn(5)
    severity = float(np.random.default_rng(disease_seed).uniform(*parameters["disease"]["severity"])) if group == "patient" else 0.0
    anatomy = random_anatomy(parameters, head_seed, severity)
    head_box = _head_box(anatomy)

    shape = (int(scanner_shape[0]), int(scanner_shape[1]), int(scanner_shape[2]))
    voxel = np.asarray(scanner_voxel_mm, dtype=np.float64)
    affine = centred_affine(shape, voxel)
    half = np.array(shape) * voxel / 2
    seen = (np.maximum(head_box[0], -half), np.minimum(head_box[1], half))
    lesions = place_lesions(parameters, anatomy, seen, float(voxel.max()), lesion_seed)
    activity, attenuation, labels = _render_pet(parameters, anatomy, lesions, shape, affine, seen)
    t1, t1_affine, t1_to_pet = _render_t1(parameters, anatomy, lesions, head_box, pose_seed, noise_seed)
    return Phantom(activity, attenuation, labels, affine, t1, t1_affine, t1_to_pet, lesions, seed, group, severity)


def _with_defaults(defaults: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise InputError(f"phantom: unknown key {unknown[0]!r}; choose among {', '.join(defaults)}.")
    return {
        key: _with_defaults(value, given.get(key, {})) if isinstance(value, Mapping) else given.get(key, value)
        for key, value in defaults.items()
    }


def _head_box(anatomy: Anatomy) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Low and high corner of the head in world mm, with a step of the survey to spare."""
    reach = int(np.ceil(SURVEY_REACH_MM / SURVEY_STEP_MM))
    points = (np.indices([2 * reach + 1] * 3, dtype=np.float32) - reach) * np.float32(SURVEY_STEP_MM)
    inside = outer_distance(anatomy, points) < anatomy.csf_mm + anatomy.skull_mm + anatomy.scalp_mm
    found = points[:, inside]
    return found.min(axis=1).astype(np.float64) - SURVEY_STEP_MM, found.max(axis=1).astype(np.float64) + SURVEY_STEP_MM


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


def _render_pet(
    parameters: Mapping[str, Any],
    anatomy: Anatomy,
    lesions: tuple[Lesion, ...],
    shape: tuple[int, int, int],
    affine: Affine,
    seen_mm: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> tuple[Array, Array, NDArray[np.int16]]:
    uptake, mu = parameters["activity_bq_ml"], parameters["attenuation_per_cm"]
    activity_of = np.array([uptake[{"bone": "skull", "marrow": "skull"}.get(tissue, tissue)] for tissue in TISSUES], dtype=np.float32)
    mu_of = np.array([mu.get(tissue, mu["tissue"]) for tissue in TISSUES], dtype=np.float32)
    lesion_activity = {
        lesion.label: lesion.contrast * uptake["grey" if lesion.uptake == "hot" else "white"] for lesion in lesions if lesion.on_pet
    }
    values = [*LABELS.values(), *(lesion.label for lesion in lesions)]
    edge = max(parameters["working_mm"], 0.5)

    def paint(points: Array) -> Array:
        fractions, regional = tissue_fractions(anatomy, points, edge)
        brain = slice(TISSUES.index("grey"), TISSUES.index("white") + 1)
        activity = np.tensordot(activity_of, fractions, axes=1)
        activity += (regional - 1) * np.tensordot(activity_of[brain], fractions[brain], axes=1)
        lesion = lesion_at(lesions, points)
        for label, value in lesion_activity.items():
            activity[lesion == label] = value
        csf, grey, white, bone, marrow, scalp = fractions * (lesion == 0)
        shares = [(lesion == 0) * (1 - fractions.sum(axis=0)), csf, grey, white, bone + marrow, scalp]
        shares += [lesion == found.label for found in lesions]
        return np.stack([activity, np.tensordot(mu_of, fractions, axes=1), *shares]).astype(np.float32)

    first = np.clip(np.floor((seen_mm[0] - affine[:3, 3]) / np.diag(affine)[:3]), 0, shape).astype(int)
    last = np.clip(np.ceil((seen_mm[1] - affine[:3, 3]) / np.diag(affine)[:3]) + 1, 0, shape).astype(int)
    block = affine.copy()
    block[:3, 3] += np.diag(affine)[:3] * first
    size = (int(last[0] - first[0]), int(last[1] - first[1]), int(last[2] - first[2]))
    if min(size) <= 0:
        raise InputError("phantom/placement: the head lies outside the field of view; lower translation_mm.")
    painted = _render(paint, 2 + len(values), size, block, parameters["working_mm"])

    inside = tuple(slice(low, high) for low, high in zip(first, last, strict=True))
    activity, attenuation, labels = np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.zeros(shape, np.int16)
    activity[inside], attenuation[inside] = painted[0], painted[1]
    labels[inside] = np.array(values, dtype=np.int16)[painted[2:].argmax(axis=0)]
    return activity, attenuation, labels


def _render_t1(
    parameters: Mapping[str, Any],
    anatomy: Anatomy,
    lesions: tuple[Lesion, ...],
    head_mm: tuple[NDArray[np.float64], NDArray[np.float64]],
    pose_seed: np.random.SeedSequence,
    noise_seed: np.random.SeedSequence,
) -> tuple[Array, Affine, Affine]:
    from scipy.spatial.transform import Rotation

    t1 = parameters["t1"]
    pose = np.random.default_rng(pose_seed)
    rotation = Rotation.from_euler("xyz", t1["rotation_deg"] * pose.uniform(-1, 1, 3), degrees=True).as_matrix()
    to_pet = np.eye(4)
    to_pet[:3, :3] = rotation
    to_pet[:3, 3] = t1["translation_mm"] * pose.uniform(-1, 1, 3)

    corners = np.stack(np.meshgrid(*np.transpose(head_mm), indexing="ij")).reshape(3, -1)
    corners = rotation.T @ (corners - to_pet[:3, 3:])
    voxel = float(t1["voxel_mm"])
    low = np.floor(corners.min(axis=1) / voxel) * voxel
    size = np.ceil((corners.max(axis=1) - low) / voxel).astype(int) + 1
    shape = (int(size[0]), int(size[1]), int(size[2]))
    affine = np.diag([voxel, voxel, voxel, 1.0])
    affine[:3, 3] = low

    signal = np.array([t1["signal"][tissue] for tissue in TISSUES], dtype=np.float32)
    shown = [lesion for lesion in lesions if lesion.on_mr]
    edge = max(parameters["working_mm"], 0.5)

    def paint(points: Array) -> Array:
        image = np.tensordot(signal, tissue_fractions(anatomy, points, edge)[0], axes=1)
        image[lesion_at(shown, points) > 0] = t1["signal"]["lesion"]
        return image[None]

    clean = _render(paint, 1, shape, to_pet @ affine, min(parameters["working_mm"], voxel))[0]
    rng = np.random.default_rng(noise_seed)
    clean *= 1 + np.float32(t1["bias_field"]) * _bias(rng, shape)
    # The magnitude of a complex signal with Gaussian noise in both channels (Rician).
    sigma = np.float32(t1["noise"] * t1["signal"]["white"])
    real = clean + sigma * rng.standard_normal(shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(shape, dtype=np.float32)
    return np.hypot(real, imaginary), affine, to_pet


def _bias(rng: np.random.Generator, shape: tuple[int, int, int]) -> Array:
    """A field between -1 and 1 that varies over a third of the image."""
    from scipy.ndimage import zoom

    coarse = smooth_field(rng, (16, 16, 16), 5.0)
    coarse /= np.abs(coarse).max()
    field: Array = zoom(coarse, np.array(shape) / 16, order=1, grid_mode=True, mode="nearest")
    return field

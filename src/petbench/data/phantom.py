"""Simulated subjects: activity, attenuation and labels on a scanner's grid, and a T1-weighted MR in a pose of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.affines import centred_affine
from petbench.data.anatomy import Anatomy, Array, transformed
from petbench.data.brainweb import Model
from petbench.data.brainweb_head import random_brainweb_head
from petbench.data.lesions import Lesion, place_lesions
from petbench.data.mni_head import HEALTHY, LANDMARKS_MM, Severity, random_mni_head
from petbench.data.render import Affine, render_pet, render_t1, turn, turned_box, turned_lesions
from petbench.errors import InputError

GROUPS = ("control", "patient")
# What to cite, by source.
REFERENCES = {
    "phantom": (
        "Fonov et al., Unbiased average age-appropriate atlases for pediatric studies, NeuroImage 54 (2011) 313-327",
        "ICBM152 2009a nonlinear symmetric, Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre, "
        "Montreal Neurological Institute, McGill University",
    ),
    "brainweb": (
        "Aubert-Broche et al., Twenty new digital brain phantoms for creation of validation image data bases, "
        "IEEE Transactions on Medical Imaging 25 (2006) 1410-1416",
        "BrainWeb: Simulated Brain Database, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University, "
        "http://www.bic.mni.mcgill.ca/brainweb/",
    ),
}

# What a `phantom` block may leave out. FDG-like uptake; T1 signal after BrainWeb's normal brain (Cocosco et al. 1997), white matter 154.
DEFAULTS: dict[str, Any] = {
    "working_mm": 1.0,
    "activity_bq_ml": {"grey": 20000, "white": 5000, "csf": 1000, "skull": 1500, "scalp": 4000},
    "attenuation_per_cm": {"tissue": 0.096, "bone": 0.17, "marrow": 0.13},
    "uptake": "smooth",
    "regional_variation": 0.1,
    "regional_smoothness_mm": 20.0,
    "deformation_mm": 5.0,
    "deformation_smoothness_mm": 20.0,
    "size_variation": 0.05,
    "placement": {"rotation_deg": 4.0, "translation_mm": 4.0},
    "head": {"csf_mm": 2.5, "skull_mm": 7.0, "scalp_mm": 6.0, "table_mm": 1.8, "thickness_variation": 0.15},
    "lesions": {"pet_only": 2, "mr_only": 2, "shared": 3, "radius_mm": [4.0, 8.0], "hot": 1.5, "cold": 0.5},
    "disease": {
        "severity": [0.3, 1.0],
        "control_severity": [0.0, 0.0],
        "correlation": 1.0,
        "atrophy": 0.4,
        "hypometabolism": 0.35,
        "radius_mm": 14.0,
    },
    "t1": {
        "voxel_mm": 1.0,
        "noise": 0.02,
        "bias_field": 0.2,
        "rotation_deg": 8.0,
        "translation_mm": 8.0,
        "signal": {"csf": 48, "grey": 106, "white": 154, "bone": 12, "marrow": 70, "scalp": 130, "lesion": 75},
    },
}

# What a `brainweb` block may leave out. FDG uptake in relative units, attenuation and T1 signal as simulations on these models use them;
# tissues that those leave without signal look like their nearest kin: fat like marrow, muscle like skin, vessels and dura like fluid.
BRAINWEB_DEFAULTS: dict[str, Any] = {
    "working_mm": 0.5,
    "uptake": {"grey": 128, "white": 32, "skin": 16}
    | dict.fromkeys(("csf", "fat", "muscle", "skull", "vessels", "around_fat", "dura", "marrow"), 0),
    "unit_bq_ml": 156.25,
    "attenuation_per_cm": {"tissue": 0.0975, "bone": 0.13},
    **{key: DEFAULTS[key] for key in ("regional_variation", "regional_smoothness_mm", "placement", "lesions")},
    "t1": DEFAULTS["t1"]
    | {
        "signal": {"csf": 48, "grey": 106, "white": 154, "skin": 92, "muscle": 92, "skull": 48, "marrow": 180}
        | {"fat": 180, "around_fat": 180, "vessels": 48, "dura": 48, "lesion": 75}
    },
}


@dataclass(frozen=True)
class Phantom:
    """One subject. World coordinates are RAS millimetres; the centre of the scanner's image is their origin.

    `activity` (Bq/ml), `attenuation` (per cm, 511 keV) and `labels` (`anatomy.LABELS`, lesions from 101) share the scanner's grid
    `affine`; `t1` has its own grid `t1_affine`, in its own world, which `t1_to_pet` (4x4) takes to the scanner's. The head was turned by
    `rotation_deg` about the scanner's axis; `origin` says what it was made of. `landmarks` are where those of `mni_head.LANDMARKS_MM` are
    in the world of `t1`, for heads made of the template.
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
    severity: Severity
    rotation_deg: float = 0.0
    origin: Mapping[str, str] = field(default_factory=dict)
    landmarks: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)


def make_subject(
    parameters: Mapping[str, Any],
    scanner_shape: Sequence[int],
    scanner_voxel_mm: Sequence[float],
    seed: int,
    group: str = "control",
    rotation_deg: float = 0.0,
) -> Phantom:
    """Make the subject of the average brain that follows from `seed`; the same one, bit for bit, each time.

    Every part of it (head, lesions, MR pose, MR noise) has its own stream of random numbers, so that changing the parameters of
    one leaves the others as they were.

    Args:
        parameters: A `phantom` block; what it leaves out is taken from `DEFAULTS`.
        scanner_shape: Voxels of the PET image along x, y, z.
        scanner_voxel_mm: Their edges in mm.
        seed: The subject's.
        group: "control", or "patient" for one with Alzheimer's disease. The severities of its atrophy and of its hypometabolism are drawn
            from `disease.severity`, a control's from `disease.control_severity`, with the rank correlation of a Gaussian copula.
        rotation_deg: How far the head is turned about the scanner's axis, from x towards y; its lesions turn with it, its MR stays.

    Raises:
        InputError: an unknown group, lesions without room, a deformation that folds, or no head in the field of view.
    """
    if group not in GROUPS:
        raise InputError(f"phantom: group {group!r} is unknown; choose one of {', '.join(GROUPS)}.")
    parameters = _with_defaults(DEFAULTS, parameters, "phantom")
    *streams, disease_seed = np.random.SeedSequence(seed).spawn(5)
    severity = _severity(parameters["disease"], group, disease_seed)
    anatomy = random_mni_head(parameters, streams[0], severity)
    images = _scan(parameters, anatomy, scanner_shape, scanner_voxel_mm, streams[1:], rotation_deg)
    origin = {"Anatomy": "ICBM152 2009a nonlinear symmetric, deformed"}
    t1_to_head = turn(-rotation_deg) @ images[6]
    world = anatomy.from_template(np.array(list(LANDMARKS_MM.values()), dtype=np.float32).T)
    found = transformed(np.asarray(np.linalg.inv(t1_to_head), dtype=np.float64), world).T.tolist()
    landmarks = {name: (round(x, 3), round(y, 3), round(z, 3)) for name, (x, y, z) in zip(LANDMARKS_MM, found, strict=True)}
    return Phantom(*images, seed, group, severity, rotation_deg, origin, landmarks)


def _severity(disease: Mapping[str, Any], group: str, seed: np.random.SeedSequence) -> Severity:
    """Two severities, each uniform in the group's range, of normal scores with the correlation wanted."""
    from scipy.special import ndtr

    low, high = disease["severity" if group == "patient" else "control_severity"]
    first, second = np.random.default_rng(seed).standard_normal(2)
    rho = disease["correlation"]
    other = rho * first + np.sqrt(1 - rho**2) * second
    return Severity(*(float(low + (high - low) * ndtr(score)) for score in (first, other)))


def make_brainweb_subject(
    model: Model,
    parameters: Mapping[str, Any],
    scanner_shape: Sequence[int],
    scanner_voxel_mm: Sequence[float],
    seed: int,
    rotation_deg: float = 0.0,
) -> Phantom:
    """Make a subject of a BrainWeb model: the head is the model's; pose, regional uptake, lesions and MR follow from `seed`.

    Args:
        model: What `petbench.data.brainweb.read_model` read.
        parameters: A `brainweb` block without what is said of downloads; what it leaves out is taken from `BRAINWEB_DEFAULTS`.
        scanner_shape: Voxels of the PET image along x, y, z.
        scanner_voxel_mm: Their edges in mm.
        seed: The subject's.
        rotation_deg: As for `make_subject`.

    Raises:
        InputError: lesions without room, or no head in the field of view.
    """
    parameters = _with_defaults(BRAINWEB_DEFAULTS, parameters, "brainweb")
    head_seed, *streams, _ = np.random.SeedSequence(seed).spawn(5)
    anatomy = random_brainweb_head(parameters, model.labels, head_seed)
    images = _scan(parameters, anatomy, scanner_shape, scanner_voxel_mm, streams, rotation_deg)
    origin = {"Anatomy": "BrainWeb", "Model": model.number, "SHA256": model.sha256}
    return Phantom(*images, seed, "control", HEALTHY, rotation_deg, origin)


def _scan(
    parameters: Mapping[str, Any],
    anatomy: Anatomy,
    scanner_shape: Sequence[int],
    scanner_voxel_mm: Sequence[float],
    seeds: Sequence[np.random.SeedSequence],
    rotation_deg: float,
) -> tuple[Array, Array, NDArray[np.int16], Affine, Array, Affine, Affine, tuple[Lesion, ...]]:
    """Put lesions into a head and take its images: the first fields of `Phantom`.

    Lesions are placed before the head is turned, where the field of view of the unturned head shows them, so that copies of a subject
    at several rotations share them.
    """
    lesion_seed, pose_seed, noise_seed = seeds
    working_mm = parameters["working_mm"]
    shape = (int(scanner_shape[0]), int(scanner_shape[1]), int(scanner_shape[2]))
    voxel = np.asarray(scanner_voxel_mm, dtype=np.float64)
    affine = centred_affine(shape, voxel)
    half = np.array(shape) * voxel / 2
    rotation = turn(rotation_deg)

    low, high = anatomy.box_mm
    lesions = place_lesions(parameters, anatomy, (np.maximum(low, -half), np.minimum(high, half)), float(voxel.max()), lesion_seed)
    turned = turned_lesions(lesions, rotation)
    if rotation_deg and any(np.any(np.abs(lesion.centre_mm) + lesion.radius_mm > half) for lesion in turned):
        raise InputError(f"rotation_deg: turned by {rotation_deg} degrees, a lesion leaves the field of view; turn the head less.")
    low, high = turned_box(anatomy.box_mm, rotation)
    seen = np.maximum(low, -half), np.minimum(high, half)
    activity, attenuation, labels = render_pet(anatomy, lesions, working_mm, shape, affine, seen, rotation)
    t1, t1_affine, t1_to_head = render_t1(anatomy, lesions, working_mm, parameters["t1"], pose_seed, noise_seed)
    return activity, attenuation, labels, affine, t1, t1_affine, rotation @ t1_to_head, turned


def _with_defaults(defaults: Mapping[str, Any], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    unknown = sorted(set(given) - set(defaults))
    if unknown:
        raise InputError(f"{where}: unknown key {unknown[0]!r}; choose among {', '.join(defaults)}.")
    return {
        key: _with_defaults(value, given.get(key, {}), f"{where}/{key}") if isinstance(value, Mapping) else given.get(key, value)
        for key, value in defaults.items()
    }

"""The torso of experiments 1 and 2: body, lungs, liver, heart, spine and ribs, with four hot lesions (DDConv, sections III-B2 and III-C).

The paper uses the XCAT phantom, which is licensed: `torso_files` reads one that a lab supplies. The embedded torso is made of ellipsoids
and has what the experiments are about: lesions deep in lung, on the interface of lung and soft tissue, and on that of lung and liver.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.materials import material
from petbench.positron_range.homogeneity import material_labels
from petbench.positron_range.media import Labels

Array = NDArray[np.float32]
Axes = tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]
Place = tuple[float, float, float]

MATERIALS = ("lung", "water", "rib_bone")
# Tissues, which differ in activity, and what they are made of.
TISSUES = ("outside", "soft_tissue", "lung", "heart", "liver", "bone")
MADE_OF = {"soft_tissue": "water", "lung": "lung", "heart": "water", "liver": "water", "bone": "rib_bone"}

# Extent of the grid that an adult's torso fills, in mm; a smaller grid gets a smaller torso of the same proportions.
ADULT_MM = (400.0, 400.0, 200.0)

# Centre and half axes in mm of an adult, x to the right, y to the front, z to the head.
BODY = ((0.0, 0.0, 0.0), (172.0, 118.0, 330.0))
LUNGS = (((78.0, 5.0, 45.0), (62.0, 72.0, 110.0)), ((-80.0, 5.0, 45.0), (56.0, 72.0, 110.0)))
LIVER = ((62.0, 8.0, -75.0), (92.0, 88.0, 80.0))
HEART = ((-25.0, 38.0, 0.0), (46.0, 38.0, 48.0))
# Centre in the plane and half axes of the spine, which runs along z.
SPINE = ((0.0, -78.0), (20.0, 17.0))
# Ribs lie in this shell of the body, organs within its inner edge; they are 10 mm high, 24 mm apart, and slope down to the front.
WALL, RIB_SHELL = 0.86, (0.89, 0.94)
RIB_MM, RIB_PITCH_MM, RIB_SLOPE = 10.0, 24.0, 0.35

# Where the lesions lie: in the right and the left lung, where the left lung meets soft tissue (the mediastinum), on the liver's dome.
LESION_PLACES: tuple[Place, ...] = ((78.0, 20.0, 60.0), (-84.0, -12.0, 62.0), (-28.4, -15.0, 75.0), (62.0, 8.0, 5.0))
IN_LUNG, ON_INTERFACE = (0, 1), (2, 3)
# A lesion on an interface holds at least this share of lung, and of the other material.
LEAST_SHARE = 0.2


@dataclass(frozen=True)
class TorsoSettings:
    """How the embedded torso is made.

    Attributes:
        scale: Its size over that of an adult; None for the largest that the grid holds.
        activity_bq_ml: Activity of soft tissue.
        uptake: Activity of the other tissues over that of soft tissue.
        radius_mm: Radii of the four lesions, which do not scale with the torso.
        contrast: Their activity over that of soft tissue.
    """

    scale: float | None = None
    activity_bq_ml: float = 5000.0
    uptake: Mapping[str, float] = field(default_factory=lambda: {"lung": 0.3, "heart": 1.5, "liver": 2.5, "bone": 0.7})
    radius_mm: tuple[float, ...] = (8.0, 6.0, 8.0, 8.0)
    contrast: tuple[float, ...] = (8.0, 8.0, 8.0, 8.0)

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> "TorsoSettings":
        """Take an entry's keys, the rest as above; `uptake` may name some of the tissues.

        Raises:
            InputError: an unknown key or tissue, a number that is not positive, or not four lesions.
        """
        default = cls()
        unknown = sorted(set(entry) - set(cls.__dataclass_fields__)) + sorted(set(entry.get("uptake", {})) - set(default.uptake))
        if unknown:
            choice = ", ".join([*cls.__dataclass_fields__, *default.uptake])
            raise InputError(f"torso: unknown key {unknown[0]!r}; choose among {choice}.")
        values: dict[str, Any] = {key: tuple(map(float, value)) if isinstance(value, Sequence) else value for key, value in entry.items()}
        settings = cls(**{**values, "uptake": {**default.uptake, **entry.get("uptake", {})}})
        for name in ("radius_mm", "contrast"):
            given = getattr(settings, name)
            if len(given) != len(LESION_PLACES) or min(given) <= 0:
                raise InputError(f"torso/{name}: give {len(LESION_PLACES)} numbers above zero, one a lesion.")
        if settings.activity_bq_ml <= 0 or min(settings.uptake.values()) < 0 or (settings.scale is not None and settings.scale <= 0):
            raise InputError("torso: scale and activity_bq_ml must be above zero, and no uptake below; correct them.")
        return settings


@dataclass(frozen=True, eq=False)
class Torso:
    """A subject with known activity; images have the shape (x, y, z).

    Attributes:
        activity: Bq/ml.
        mu: Attenuation per cm at 511 keV, zero outside the body.
        lesions: 1, 2, ... in the lesions, 0 elsewhere.
        voxel_mm: Voxel edges.
    """

    activity: Array
    mu: Array
    lesions: Labels
    voxel_mm: tuple[float, float, float]

    @property
    def labels(self) -> Labels:
        """Nearest of `MATERIALS` of every voxel, water for what surrounds the body, as positrons and kernels are given it."""
        return material_labels(self.mu, {name: material(name).mu_per_cm for name in MATERIALS}).astype(np.uint8)

    @property
    def lesion_names(self) -> tuple[str, ...]:
        """The lesions' numbers as text, rising."""
        return tuple(str(label) for label in np.unique(self.lesions) if label)


def embedded_torso(settings: TorsoSettings, shape: Sequence[int], voxel_mm: Sequence[float]) -> Torso:
    """Make the torso on a grid about its middle; a voxel is what its centre lies in.

    Lesions leave the material as it is, so that those on an interface hold both: positrons of one lesion then travel differently far.

    Args:
        settings: Size, uptakes and lesions.
        shape: Voxels along x, y, z.
        voxel_mm: Their edges.

    Raises:
        InputError: a lesion does not lie where it should on this grid, or touches another.
    """
    extent = [n * edge for n, edge in zip(shape, voxel_mm, strict=True)]
    scale = settings.scale or min(mm / adult for mm, adult in zip(extent, ADULT_MM, strict=True))
    axes = _axes(shape, voxel_mm)
    tissue = _tissues(tuple(axis / scale for axis in axes))  # type: ignore[arg-type]
    uptake = {"outside": 0.0, "soft_tissue": 1.0, **settings.uptake}
    activity = np.array([settings.activity_bq_ml * uptake[name] for name in TISSUES], dtype=np.float32)[tissue]
    mu = np.array([0.0, *(material(MADE_OF[name]).mu_per_cm for name in TISSUES[1:])], dtype=np.float32)[tissue]
    lesions = _lesions(settings, scale, axes, tissue)
    for number, contrast in enumerate(settings.contrast, start=1):
        activity[lesions == number] = settings.activity_bq_ml * contrast
    x_mm, y_mm, z_mm = (float(edge) for edge in voxel_mm)
    return Torso(activity, mu, lesions, (x_mm, y_mm, z_mm))


def _axes(shape: Sequence[int], voxel_mm: Sequence[float]) -> Axes:
    """Voxel centres in mm from the middle, to broadcast against each other."""
    x, y, z = ((np.arange(n) - (n - 1) / 2) * edge for n, edge in zip(shape, voxel_mm, strict=True))
    return x[:, None, None], y[None, :, None], z[None, None, :]


def _level(axes: Axes, ellipsoid: tuple[Place, Place]) -> NDArray[np.float64]:
    """Distance from an ellipsoid's centre over that of its surface in the same direction."""
    centre, half = ellipsoid
    squares = [((axis - middle) / length) ** 2 for axis, middle, length in zip(axes, centre, half, strict=True)]
    return np.asarray(np.sqrt(squares[0] + squares[1] + squares[2]))


def _tissues(axes: Axes) -> Labels:
    """Index into `TISSUES` at places in mm of an adult; what is drawn later covers what was before."""
    x, y, z = axes
    depth = _level(axes, BODY)
    tissue = (depth <= 1).astype(np.uint8)
    ribs = (depth >= RIB_SHELL[0]) & (depth <= RIB_SHELL[1]) & (np.mod(z + RIB_SLOPE * y, RIB_PITCH_MM) < RIB_MM)
    tissue[ribs] = TISSUES.index("bone")
    within = depth <= WALL
    for lung in LUNGS:
        tissue[within & (_level(axes, lung) <= 1)] = TISSUES.index("lung")
    tissue[within & (_level(axes, HEART) <= 1)] = TISSUES.index("heart")
    tissue[within & (_level(axes, LIVER) <= 1)] = TISSUES.index("liver")
    (x_middle, y_middle), (x_half, y_half) = SPINE
    spine = ((x - x_middle) / x_half) ** 2 + ((y - y_middle) / y_half) ** 2 <= 1
    tissue[(depth <= 1) & spine] = TISSUES.index("bone")
    return tissue


def _lesions(settings: TorsoSettings, scale: float, axes: Axes, tissue: Labels) -> Labels:
    lesions = np.zeros(tissue.shape, dtype=np.uint8)
    for index, (place, radius) in enumerate(zip(LESION_PLACES, settings.radius_mm, strict=True)):
        ball = _level(axes, (tuple(scale * mm for mm in place), (radius,) * 3)) <= 1  # type: ignore[arg-type]
        reaches = all(abs(scale * middle) + radius <= float(axis.max()) for axis, middle in zip(axes, place, strict=True))
        name = f"torso/radius_mm: lesion {index + 1} of {radius:g} mm"
        if not reaches or not ball.any():
            raise InputError(f"{name} does not fit into the grid; give it a radius of more than a voxel, or enlarge the grid.")
        if lesions[ball].any():
            raise InputError(f"{name} touches another lesion; give them smaller radii, or enlarge the torso.")
        lung = float((tissue[ball] == TISSUES.index("lung")).mean())
        bone_or_air = np.isin(tissue[ball], (TISSUES.index("bone"), TISSUES.index("outside"))).any()
        if index in IN_LUNG and lung < 1:
            raise InputError(f"{name} reaches beyond the lung; give it a smaller radius, or enlarge the torso.")
        if index in ON_INTERFACE and (bone_or_air or not LEAST_SHARE <= lung <= 1 - LEAST_SHARE):
            raise InputError(f"{name} is not on an interface of lung alone; give it a smaller radius, or enlarge the torso.")
        lesions[ball] = index + 1
    return lesions

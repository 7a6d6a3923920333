"""What a head is to those who render it: tissues with their looks, found at points of the scanner's world."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from petbench.data.deformation import smooth_field

Array = NDArray[np.float32]
Box = tuple[NDArray[np.float64], NDArray[np.float64]]

LABELS = {"background": 0, "csf": 1, "grey": 2, "white": 3, "skull": 4, "scalp": 5}

# Heads are described in stereotaxic (MNI) space, in mm: a box that holds one with room to deform, and the middle of the brain.
BOX_LOW_MM = np.array([-120.0, -160.0, -120.0])
BOX_HIGH_MM = np.array([120.0, 124.0, 132.0])
BRAIN_CENTRE_MM = np.array([0.0, -17.0, 5.0])


@dataclass(frozen=True)
class Tissue:
    """One tissue: its activity, its attenuation at 511 keV, its T1 signal (arbitrary units), and which of `LABELS` it counts as."""

    name: str
    activity_bq_ml: float
    attenuation_per_cm: float
    signal: float
    label: str


class Anatomy(Protocol):
    """One subject's head in its world: RAS mm, the scanner's centre at 0, before the head is turned for a rotated copy.

    Its `tissues` include one named "grey" and one named "white": regional uptake and lesions belong to these.
    """

    @property
    def tissues(self) -> tuple[Tissue, ...]:
        """What the head is made of."""

    @property
    def box_mm(self) -> Box:
        """Low and high corner of a box that holds the head."""

    def tissues_at(self, points_mm: Array, edge_mm: float) -> tuple[Array, Array]:
        """What is at each world point.

        Args:
            points_mm: (3, ...), RAS mm.
            edge_mm: Width over which surfaces known exactly pass from one tissue to the next.

        Returns:
            The fraction of each of `tissues`, (tissues, ...), summing to 1 in the head and 0 in air; and the relative uptake of grey and
            white matter, (...), about 1.
        """

    def depth(self, points_mm: Array) -> Array:
        """How deep world points (3, ...) lie below the surface of the brain, in mm, not positive outside it."""


@dataclass(frozen=True)
class Grid:
    """Values on a regular grid, sampled by linear interpolation."""

    values: Array
    origin_mm: NDArray[np.float64]
    spacing_mm: float

    def __call__(self, points_mm: Array, outside: str = "nearest") -> Array:
        """Values at `points_mm` (3, ...); beyond the grid the edge value, or zero if `outside` is "constant"."""
        from scipy.ndimage import map_coordinates

        origin = as_column(self.origin_mm, points_mm)
        return np.asarray(map_coordinates(self.values, (points_mm - origin) / np.float32(self.spacing_mm), order=1, mode=outside))


def as_column(vector: NDArray[np.floating], points_mm: Array) -> Array:
    """A vector (3,) shaped to be added to points (3, ...)."""
    return vector.reshape((3,) + (1,) * (points_mm.ndim - 1)).astype(np.float32)


def transformed(affine: NDArray[np.float64], points_mm: Array) -> Array:
    """Points (3, ...) taken through a 4x4 affine, in float32."""
    linear = np.tensordot(affine[:3, :3].astype(np.float32), points_mm, axes=1)
    return np.asarray(linear + as_column(affine[:3, 3], points_mm), dtype=np.float32)


def stereotaxic_field(rng: np.random.Generator, smoothness_mm: float) -> Grid:
    """A random field of mean 0 and variance 1 over the box that heads lie in, smoothed by a Gaussian of that standard deviation."""
    spacing = smoothness_mm / 3
    shape = tuple(np.ceil((BOX_HIGH_MM - BOX_LOW_MM) / spacing).astype(int) + 1)
    return Grid(smooth_field(rng, shape, smoothness_mm / spacing), BOX_LOW_MM, spacing)


def regional_uptake(parameters: Mapping[str, Any], rng: np.random.Generator) -> Grid:
    """Relative uptake of brain tissue, log-normal: `regional_variation` wide, `regional_smoothness_mm` smooth."""
    field = stereotaxic_field(rng, parameters["regional_smoothness_mm"])
    return Grid(np.exp(parameters["regional_variation"] * field.values).astype(np.float32), field.origin_mm, field.spacing_mm)


def random_pose(parameters: Mapping[str, Any], rng: np.random.Generator, sizes: NDArray[np.float64]) -> NDArray[np.float64]:
    """World to stereotaxic space, 4x4: a head `sizes` times as large along its axes, placed as the block `placement` says."""
    from scipy.spatial.transform import Rotation

    placement = parameters["placement"]
    angles = placement["rotation_deg"] * rng.uniform(-1, 1, 3)
    shift = placement["translation_mm"] * rng.uniform(-1, 1, 3)
    linear = np.diag(1 / sizes) @ Rotation.from_euler("xyz", angles, degrees=True).as_matrix().T
    pose = np.eye(4)
    pose[:3, :3] = linear
    pose[:3, 3] = BRAIN_CENTRE_MM - linear @ shift
    return pose

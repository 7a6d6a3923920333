"""A BrainWeb model as a head: its tissues as they were segmented, placed in the scanner."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.anatomy import Array, Box, Grid, Tissue, random_pose, regional_uptake, transformed
from petbench.data.brainweb import ORIGIN_MM, TISSUES, VOXEL_MM

TISSUE_LABELS = {
    "csf": "csf",
    "grey": "grey",
    "white": "white",
    "skull": "skull",
    "marrow": "skull",
    "fat": "scalp",
    "muscle": "scalp",
    "skin": "scalp",
    "vessels": "scalp",
    "around_fat": "scalp",
    "dura": "scalp",
}
BONE = ("skull", "marrow")
# What a lesion's depth is measured through: the brain with the fluid in and around it.
BRAIN = ("csf", "grey", "white")
DEPTH_STEP = 4


@dataclass(frozen=True)
class BrainwebHead:
    """One model in its world.

    `model` holds BrainWeb's labels (x, y, z); `world_to_model` (4x4) takes world mm to its stereotaxic mm.
    """

    tissues: tuple[Tissue, ...]
    model: NDArray[np.uint8]
    world_to_model: NDArray[np.float64]
    uptake: Grid

    @cached_property
    def box_mm(self) -> Box:
        """Low and high corner of a box, upright in the world, that holds all of the model that is not air."""
        spans = []
        for axis in range(3):
            held = np.flatnonzero(self.model.any(axis=tuple(other for other in range(3) if other != axis)))
            edges = np.array([held[0] - 0.5, held[-1] + 0.5]) * VOXEL_MM + ORIGIN_MM[axis]
            spans.append(edges)
        corners = np.stack(np.meshgrid(*spans, indexing="ij")).reshape(3, -1)
        world = np.linalg.inv(self.world_to_model) @ np.vstack([corners, np.ones(8)])
        return world[:3].min(axis=1), world[:3].max(axis=1)

    def tissues_at(self, points_mm: Array, edge_mm: float) -> tuple[Array, Array]:
        """What is at each world point: see `petbench.data.anatomy.Anatomy`; a label fills its voxel, whatever `edge_mm` is."""
        placed = transformed(self.world_to_model, points_mm)
        labels = _nearest(self.model, placed)
        codes = np.array([TISSUES.index(tissue.name) for tissue in self.tissues], dtype=np.uint8)
        fractions = (labels == codes.reshape((-1,) + (1,) * labels.ndim)).astype(np.float32)
        return fractions, self.uptake(placed)

    def depth(self, points_mm: Array) -> Array:
        """Depth of world points (3, ...) below the surface of the brain, to `DEPTH_STEP` voxels, in mm."""
        return self._depth(transformed(self.world_to_model, points_mm), outside="constant")

    @cached_property
    def _depth(self) -> Grid:
        from scipy.ndimage import binary_fill_holes, distance_transform_edt

        coarse = self.model[::DEPTH_STEP, ::DEPTH_STEP, ::DEPTH_STEP]
        brain = binary_fill_holes(np.isin(coarse, [TISSUES.index(name) for name in BRAIN]))
        spacing = DEPTH_STEP * VOXEL_MM
        return Grid(distance_transform_edt(brain, sampling=spacing).astype(np.float32), ORIGIN_MM, spacing)


def random_brainweb_head(parameters: Mapping[str, Any], model: NDArray[np.uint8], seed: np.random.SeedSequence) -> BrainwebHead:
    """Place a model in the scanner and draw its regional uptake.

    Args:
        parameters: The `brainweb` block, complete.
        model: Labels (x, y, z) that `petbench.data.brainweb.read_model` reads.
        seed: What pose and uptake follow from.
    """
    pose_rng, uptake_rng = (np.random.default_rng(child) for child in seed.spawn(2))
    return BrainwebHead(
        tissues=_tissues(parameters),
        model=model,
        world_to_model=random_pose(parameters, pose_rng, np.ones(3)),
        uptake=regional_uptake(parameters, uptake_rng),
    )


def _tissues(parameters: Mapping[str, Any]) -> tuple[Tissue, ...]:
    uptake, unit, mu, signal = (
        parameters["uptake"],
        parameters["unit_bq_ml"],
        parameters["attenuation_per_cm"],
        parameters["t1"]["signal"],
    )
    return tuple(
        Tissue(name, uptake[name] * unit, mu["bone" if name in BONE else "tissue"], signal[name], label)
        for name, label in TISSUE_LABELS.items()
    )


def _nearest(model: NDArray[np.uint8], placed: Array) -> NDArray[np.uint8]:
    """Labels of the voxels that hold stereotaxic points (3, ...); background beyond the model."""
    inside = np.ones(placed.shape[1:], dtype=bool)
    flat = np.zeros(placed.shape[1:], dtype=np.int32)
    for axis, size in enumerate(model.shape):
        index = np.rint((placed[axis] - np.float32(ORIGIN_MM[axis])) * np.float32(1 / VOXEL_MM)).astype(np.int32)
        inside &= (index >= 0) & (index < size)
        flat = flat * size + index
    return np.where(inside, model.reshape(-1).take(flat, mode="clip"), np.uint8(0))

"""A random head: the ICBM152 average brain, deformed, inside a synthetic skull and scalp.

The tissue maps are the ICBM152 2009a nonlinear symmetric templates (Fonov et al., NeuroImage 54 (2011) 313) that nilearn
carries in its wheel; nothing is downloaded. Their copyright notice is in `resources/MNI-ICBM152-NOTICE.txt`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from petbench.data.anatomy import (
    BOX_HIGH_MM,
    BOX_LOW_MM,
    Array,
    Box,
    Grid,
    Tissue,
    as_column,
    random_pose,
    regional_uptake,
    stereotaxic_field,
    transformed,
)
from petbench.data.deformation import exponential, jacobian_determinant
from petbench.data.icbm152 import average_brain
from petbench.data.normative import normative_uptake
from petbench.errors import InputError

TISSUE_LABELS = {"csf": "csf", "grey": "grey", "white": "white", "bone": "skull", "marrow": "skull", "scalp": "scalp"}

# An average of 152 brains blurs its tissue borders; cubing the probabilities sharpens them.
SHARPENING = 3
SHELL_SPACING_MM = 2.0
# Sulci are bridged for the inner surface of the skull, the skull base for its outer surface.
INNER_CLOSING_MM = 6.0
OUTER_CLOSING_MM = 24.0
# A head is looked for this far from the scanner's centre, in steps well below its size.
SURVEY_REACH_MM = 180.0
SURVEY_STEP_MM = 6.0

# Where Alzheimer's disease takes grey matter (medial temporal, parietal) and glucose uptake (posterior cingulate,
# temporo-parietal); centres in MNI mm (Minoshima et al., Ann Neurol 42 (1997) 85; Frisoni et al., Nat Rev Neurol 6 (2010) 67).
ATROPHY_SITES_MM = ((-26.0, -20.0, -18.0), (26.0, -20.0, -18.0), (-40.0, -60.0, 44.0), (40.0, -60.0, 44.0))
HYPOMETABOLISM_SITES_MM = ((0.0, -50.0, 28.0), (-50.0, -58.0, 30.0), (50.0, -58.0, 30.0), (-56.0, -42.0, -8.0), (56.0, -42.0, -8.0))
# Places that a registration to the template should find, in MNI mm: the commissures that give a head its pose, and cortex on all sides.
LANDMARKS_MM = {
    "anterior_commissure": (0.0, 3.0, -5.0),
    "posterior_commissure": (0.0, -24.0, -3.0),
    "left_hippocampus": (-26.0, -20.0, -18.0),
    "right_hippocampus": (26.0, -20.0, -18.0),
    "left_parietal": (-40.0, -60.0, 44.0),
    "right_parietal": (40.0, -60.0, 44.0),
    "posterior_cingulate": (0.0, -50.0, 28.0),
    "medial_frontal": (0.0, 50.0, 20.0),
}
INVERSION_STEPS = 60


class Severity(NamedTuple):
    """How far Alzheimer's disease has gone in grey matter and in glucose uptake, each 0 (healthy) to 1."""

    atrophy: float
    hypometabolism: float


HEALTHY = Severity(0.0, 0.0)


@dataclass(frozen=True)
class Template:
    """Average anatomy: tissue probabilities, and signed distances (mm, negative inside) to the brain's two envelopes."""

    grey: Grid
    white: Grid
    inner: Grid
    outer: Grid


@cache
def load_template() -> Template:
    """Read the average brain and measure the distances its skull and scalp are built on (once a process)."""
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    t1, grey, white = average_brain()
    origin = t1.affine[:3, 3]
    brain = Grid((t1.get_fdata(dtype=np.float32) > 0).astype(np.float32), origin, 1.0)
    shape = tuple(np.ceil((BOX_HIGH_MM - BOX_LOW_MM) / SHELL_SPACING_MM).astype(int) + 1)
    points = np.indices(shape, dtype=np.float32) * np.float32(SHELL_SPACING_MM) + BOX_LOW_MM.astype(np.float32).reshape(3, 1, 1, 1)
    outside = distance_transform_edt(brain(points, outside="constant") < 0.5, sampling=SHELL_SPACING_MM)

    def envelope(closing_mm: float) -> Grid:
        # Closing is dilation, then erosion: inside the dilated brain, depth below its surface gives the distance to the closed one.
        dilated = outside <= closing_mm
        distance = np.where(dilated, closing_mm - distance_transform_edt(dilated, sampling=SHELL_SPACING_MM), outside)
        return Grid(gaussian_filter(distance.astype(np.float32), 1.0), BOX_LOW_MM, SHELL_SPACING_MM)

    grey_map, white_map = (Grid(image.get_fdata(dtype=np.float32), origin, 1.0) for image in (grey, white))
    return Template(grey_map, white_map, inner=envelope(INNER_CLOSING_MM), outer=envelope(OUTER_CLOSING_MM))


@dataclass(frozen=True)
class MniHead:
    """One subject's head: how its world maps to the template, and what is its own there.

    Uptake varies smoothly, and with `regional` by the region too, which then holds what disease takes of it.
    """

    tissues: tuple[Tissue, ...]
    world_to_template: NDArray[np.float64]
    displacement: tuple[Grid, Grid, Grid]
    uptake: Grid
    regional: Grid | None
    csf_mm: float
    skull_mm: float
    scalp_mm: float
    table_mm: float
    atrophy: float
    hypometabolism: float
    site_radius_mm: float

    def to_template(self, points_mm: Array) -> Array:
        """Where world points (3, ...) lie in the template, in mm."""
        placed = transformed(self.world_to_template, points_mm)
        return placed + self._displaced(placed)

    def from_template(self, points_mm: Array) -> Array:
        """Where points (3, ...) of the template lie in the world, in mm: the inverse of `to_template`, by iteration."""
        placed: Array = points_mm
        for _ in range(INVERSION_STEPS):
            placed = np.asarray((placed + points_mm - self._displaced(placed)) / 2, dtype=np.float32)
        return transformed(np.asarray(np.linalg.inv(self.world_to_template), dtype=np.float64), placed)

    def _displaced(self, placed: Array) -> Array:
        return np.stack([axis(placed) for axis in self.displacement])

    @cached_property
    def box_mm(self) -> Box:
        """Low and high corner of the head in world mm, with a step of the survey to spare."""
        reach = int(np.ceil(SURVEY_REACH_MM / SURVEY_STEP_MM))
        points = (np.indices([2 * reach + 1] * 3, dtype=np.float32) - reach) * np.float32(SURVEY_STEP_MM)
        found = points[:, -self.depth(points) < self.csf_mm + self.skull_mm + self.scalp_mm]
        return found.min(axis=1).astype(np.float64) - SURVEY_STEP_MM, found.max(axis=1).astype(np.float64) + SURVEY_STEP_MM

    def depth(self, points_mm: Array) -> Array:
        """Depth of world points (3, ...) below the brain's outer envelope, in template mm."""
        return -load_template().outer(self.to_template(points_mm))

    def tissues_at(self, points_mm: Array, edge_mm: float) -> tuple[Array, Array]:
        """What is at each world point: see `petbench.data.anatomy.Anatomy`; `edge_mm` is the width of the surfaces of skull and scalp."""
        template = load_template()
        placed = self.to_template(points_mm)
        inner, outer = template.inner(placed), template.outer(placed)

        def within(distance: Array) -> Array:
            return np.clip(distance / np.float32(edge_mm) + np.float32(0.5), 0, 1)

        skull_edge = self.csf_mm + self.skull_mm - outer
        head = within(skull_edge + self.scalp_mm)
        skull = np.minimum(within(skull_edge), head)
        cranium = np.minimum(within(self.csf_mm - inner), skull)
        # Marrow (diploe) lies between the two tables of hard bone, and fills the thick base.
        marrow = within(np.minimum(inner - self.csf_mm, skull_edge) - self.table_mm) * (skull - cranium)

        grey = template.grey(placed, outside="constant") * (1 - self.atrophy * self._near(ATROPHY_SITES_MM, placed))
        white = template.white(placed, outside="constant")
        probabilities = np.stack([np.clip(1 - grey - white, 0, 1), grey, white]) ** SHARPENING
        probabilities *= cranium / probabilities.sum(axis=0)
        fractions = np.concatenate([probabilities, np.stack([skull - cranium - marrow, marrow, head - skull])])
        uptake = self.uptake(placed)
        if self.regional is None:
            uptake = uptake * (1 - self.hypometabolism * self._near(HYPOMETABOLISM_SITES_MM, placed))
        else:
            uptake = uptake * self.regional(placed)
        return fractions.astype(np.float32), uptake.astype(np.float32)

    def _near(self, sites_mm: tuple[tuple[float, float, float], ...], placed: Array) -> Array | np.float32:
        """1 at the sites, falling to 0 as a Gaussian whose half maximum is at the site radius."""
        if self.atrophy == self.hypometabolism == 0:
            return np.float32(0)
        nearest = np.full(placed.shape[1:], np.inf, dtype=np.float32)
        for site in sites_mm:
            nearest = np.minimum(nearest, np.sum((placed - as_column(np.array(site), placed)) ** 2, axis=0))
        falling: Array = np.exp(np.float32(-np.log(2)) * nearest / np.float32(self.site_radius_mm**2))
        return falling


def random_mni_head(parameters: Mapping[str, Any], seed: np.random.SeedSequence, severity: Severity = HEALTHY) -> MniHead:
    """Draw a head: size, place, a diffeomorphism, skull and scalp, regional uptake.

    Args:
        parameters: The `phantom` block, complete.
        seed: What the head follows from.
        severity: Of Alzheimer's disease.

    Raises:
        InputError: the deformation folds space.
    """
    pose_rng, field_rng, uptake_rng, shell_rng, region_rng = (np.random.default_rng(child) for child in seed.spawn(5))
    head, disease = parameters["head"], parameters["disease"]
    loss = severity.hypometabolism * disease["hypometabolism"]
    sizes = 1 + parameters["size_variation"] * pose_rng.uniform(-1, 1, 3)
    thickness = 1 + head["thickness_variation"] * shell_rng.uniform(-1, 1, 3)
    return MniHead(
        tissues=_tissues(parameters),
        world_to_template=random_pose(parameters, pose_rng, sizes),
        displacement=_random_diffeomorphism(field_rng, parameters["deformation_mm"], parameters["deformation_smoothness_mm"]),
        uptake=regional_uptake(parameters, uptake_rng),
        regional=normative_uptake(region_rng, loss) if parameters["uptake"] == "normative" else None,
        csf_mm=float(head["csf_mm"] * thickness[0]),
        skull_mm=float(head["skull_mm"] * thickness[1]),
        scalp_mm=float(head["scalp_mm"] * thickness[2]),
        table_mm=head["table_mm"],
        atrophy=severity.atrophy * disease["atrophy"],
        hypometabolism=loss,
        site_radius_mm=disease["radius_mm"],
    )


def _tissues(parameters: Mapping[str, Any]) -> tuple[Tissue, ...]:
    activity, mu, signal = parameters["activity_bq_ml"], parameters["attenuation_per_cm"], parameters["t1"]["signal"]
    return tuple(Tissue(name, activity[label], mu.get(name, mu["tissue"]), signal[name], label) for name, label in TISSUE_LABELS.items())


def _random_diffeomorphism(rng: np.random.Generator, amplitude_mm: float, smoothness_mm: float) -> tuple[Grid, Grid, Grid]:
    axes = [stereotaxic_field(rng, smoothness_mm) for _ in range(3)]
    spacing = axes[0].spacing_mm
    # Three unit-variance components have a length of root mean square sqrt(3).
    velocity = np.stack([axis.values for axis in axes]) * np.float32(amplitude_mm / np.sqrt(3))
    displacement = exponential(velocity, spacing)
    smallest = jacobian_determinant(displacement, spacing).min()
    if smallest <= 0:
        raise InputError(
            f"phantom/deformation_mm: {amplitude_mm} mm over deformation_smoothness_mm {smoothness_mm} mm folds the head "
            f"(Jacobian {smallest:.2f}); lower the first or raise the second."
        )
    x, y, z = (Grid(axis, BOX_LOW_MM, spacing) for axis in displacement)
    return x, y, z

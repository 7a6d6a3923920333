"""Lesions of a phantom: balls of other uptake, other MR signal, or both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.anatomy import Anatomy, Box
from petbench.errors import InputError

KINDS = ("pet_only", "mr_only", "shared")
FIRST_LABEL = 101
GAP_MM = 3.0
LATTICE_MM = 4.0
# A lesion's ball holds at least this share of grey and white matter; the rest may be sulci.
LEAST_TISSUE = 0.8


@dataclass(frozen=True)
class Lesion:
    """One lesion: its label, its kind (one of `KINDS`), its centre in PET world (RAS mm) and what it looks like.

    `contrast` is its activity relative to grey matter if `uptake` is "hot", to white matter if "cold"; a lesion seen on MR alone
    has uptake "none" and contrast 1.
    """

    label: int
    kind: str
    centre_mm: tuple[float, float, float]
    radius_mm: float
    uptake: str
    contrast: float

    @property
    def on_pet(self) -> bool:
        """Whether PET shows it."""
        return self.kind != "mr_only"

    @property
    def on_mr(self) -> bool:
        """Whether MR shows it."""
        return self.kind != "pet_only"


def place_lesions(
    parameters: Mapping[str, Any],
    anatomy: Anatomy,
    box_mm: Box,
    largest_voxel_mm: float,
    seed: np.random.SeedSequence,
) -> tuple[Lesion, ...]:
    """Draw lesions inside brain tissue, apart from each other, whole within `box_mm` (low and high corner).

    Radii are uniform in `radius_mm`, whose lower end is raised to a voxel where its upper end allows: a lesion should span two.
    Hot and cold take turns within a kind.

    Raises:
        InputError: there is no room for one of them.
    """
    wanted = parameters["lesions"]
    kinds = [(kind, turn) for kind in KINDS for turn in range(wanted[kind])]
    if not kinds:
        return ()
    rng = np.random.default_rng(seed)
    low, high = wanted["radius_mm"]
    radii = rng.uniform(min(max(low, largest_voxel_mm), high), high, len(kinds))
    points, depth, tissue = _lattice(anatomy, box_mm, rng.uniform(0, LATTICE_MM, 3))
    placed: dict[int, tuple[NDArray[np.float64], float]] = {}
    # The largest first: they have the fewest places to go.
    for index in np.argsort(-radii, kind="stable"):
        centre = _find_room(rng, points, depth, tissue, box_mm, radii[index], list(placed.values()))
        if centre is None:
            raise InputError(
                f"lesions: no room for {len(kinds)} lesions of up to {high} mm in the brain within the field of view; "
                "ask for fewer or smaller ones."
            )
        placed[int(index)] = (centre, radii[index])
    return tuple(_lesion(wanted, index, kind, turn, *placed[index]) for index, (kind, turn) in enumerate(kinds))


def _lesion(wanted: Mapping[str, Any], index: int, kind: str, turn: int, centre: NDArray[np.float64], radius: float) -> Lesion:
    uptake = "none" if kind == "mr_only" else ("hot", "cold")[turn % 2]
    x, y, z = (round(float(value), 3) for value in centre)
    return Lesion(FIRST_LABEL + index, kind, (x, y, z), round(float(radius), 3), uptake, float(wanted.get(uptake, 1.0)))


def _lattice(
    anatomy: Anatomy, box_mm: Box, start_mm: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
    """Points of the brain on a lattice, (N, 3), their depth in mm, and their share of grey and white matter."""
    axes = [np.arange(low + start, high, LATTICE_MM) for low, high, start in zip(*box_mm, start_mm, strict=True)]
    points = np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)
    depth = anatomy.depth(points.astype(np.float32))
    points, depth = points[:, depth > 0], depth[depth > 0]
    fractions, _ = anatomy.tissues_at(points.astype(np.float32), edge_mm=LATTICE_MM)
    names = [tissue.name for tissue in anatomy.tissues]
    return points.T, depth, fractions[names.index("grey")] + fractions[names.index("white")]


def _find_room(
    rng: np.random.Generator,
    points: NDArray[np.float64],
    depth: NDArray[np.float32],
    tissue: NDArray[np.float32],
    box_mm: Box,
    radius: float,
    taken: Sequence[tuple[NDArray[np.float64], float]],
) -> NDArray[np.float64] | None:
    free = (depth > radius) & (tissue > LEAST_TISSUE)
    free &= np.all((points - radius > box_mm[0]) & (points + radius < box_mm[1]), axis=1)
    for other, other_radius in taken:
        free &= np.linalg.norm(points - other, axis=1) > radius + other_radius + GAP_MM
    for candidate in rng.permutation(np.flatnonzero(free)):
        # The edge of the ball is looked at as well as its inside, as a small ball holds few lattice points.
        ball = np.linalg.norm(points - points[candidate], axis=1) <= radius + LATTICE_MM / 2
        if tissue[ball].mean() >= LEAST_TISSUE:
            centre: NDArray[np.float64] = points[candidate]
            return centre
    return None


def lesion_at(lesions: Sequence[Lesion], points_mm: NDArray[np.float32]) -> NDArray[np.int16]:
    """The label of the lesion at each world point (3, ...), 0 where there is none."""
    labels = np.zeros(points_mm.shape[1:], dtype=np.int16)
    for lesion in lesions:
        centre = np.array(lesion.centre_mm, dtype=np.float32).reshape((3,) + (1,) * (points_mm.ndim - 1))
        labels[np.sum((points_mm - centre) ** 2, axis=0) <= lesion.radius_mm**2] = lesion.label
    return labels

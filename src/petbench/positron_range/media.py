"""Voxel media around a positron source: random lung, water and bone for training, homogeneous ones, and experiment 1's phantoms.

A medium is a cube of material labels with the source in its middle voxel. Random media follow figure 1 of the DDConv paper (Mellak et al.,
Dual-Input Dynamic Convolution for Positron Range Modeling): slabs, random shapes, single random voxels, and mixtures of the three. Official
ones are drawn as its authors' code draws them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.materials import material

Labels = NDArray[np.uint8]

KINDS = ("slabs", "shapes", "voxels", "mixture")


@dataclass(frozen=True)
class Media:
    """Media of one grid: `labels` (N, S, S, S) index `materials`; each has a `name` of its own. S is odd, the source in the middle."""

    labels: Labels
    names: tuple[str, ...]
    materials: tuple[str, ...]
    voxel_mm: float

    def attenuation(self, size: int | None = None) -> NDArray[np.float32]:
        """Attenuation per cm at 511 keV, (N, K, K, K), of the `size` voxels around the source, or of the whole grid."""
        mu = np.array([material(name).mu_per_cm for name in self.materials], dtype=np.float32)
        cut = slice(None) if size is None else around_the_middle(self.labels.shape[-1], size)
        return mu[self.labels[:, cut, cut, cut]]

    def part(self, chunk: int, chunks: int) -> "Media":
        """The `chunk`-th of `chunks` parts as equal as can be; together they hold every medium once.

        Raises:
            InputError: there are more chunks than media.
        """
        count = len(self.names)
        if not 0 <= chunk < chunks <= count:
            raise InputError(f"gate/chunks: cannot take part {chunk} of {chunks} from {count} media; lower chunks to {count} at most.")
        chosen = slice(count * chunk // chunks, count * (chunk + 1) // chunks)
        return Media(self.labels[chosen], self.names[chosen], self.materials, self.voxel_mm)


def around_the_middle(size: int, window: int) -> slice:
    """The `window` voxels about the middle of `size`, both odd.

    Raises:
        InputError: the window is larger than the grid, or one of the two is even.
    """
    if not 0 < window <= size or size % 2 == 0 or window % 2 == 0:
        raise InputError(f"media/size: {window} voxels do not fit around the middle of {size}; use odd sizes, the first one smaller.")
    return slice((size - window) // 2, (size + window) // 2)


@dataclass(frozen=True)
class RandomMedia:
    """How random media are drawn; lengths in voxels, ranges inclusive.

    Args:
        kinds: Relative frequency of slabs, shapes, voxels and mixtures.
        boundaries: Number of parallel boundaries between slabs.
        reach: A boundary lies at most this far from the source.
        oblique: Share of the slabs whose normal is no axis but a random direction.
        shapes: Number of boxes and ellipsoids on a background; they may overlap.
        shape_size: Their edges or axes.
        share: Share of single voxels that are given another material.
    """

    kinds: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    boundaries: tuple[int, int] = (1, 3)
    reach: float = 8.0
    oblique: float = 0.5
    shapes: tuple[int, int] = (20, 120)
    shape_size: tuple[int, int] = (2, 10)
    share: float = 0.1

    def __post_init__(self) -> None:
        for key in ("boundaries", "shapes", "shape_size"):
            low, high = getattr(self, key)
            if not (key == "shape_size") <= low <= high:
                raise InputError(f"media/{key}: {low} to {high} is no range of numbers; give the smaller one first.")
        if not (0 <= self.share <= 1 and 0 <= self.oblique <= 1 and self.reach >= 0):
            raise InputError("media: share and oblique must lie between 0 and 1, and reach not below 0; correct them.")

    @classmethod
    def from_entry(cls, entry: Mapping[str, Any]) -> "RandomMedia":
        """Take the keys an entry gives, the rest as published or, where the paper is silent, as above.

        Raises:
            InputError: an unknown key, or a kind that does not exist.
        """
        values: dict[str, Any] = {key: tuple(value) if isinstance(value, Sequence) else value for key, value in entry.items()}
        if "kinds" in entry:
            unknown = sorted(set(entry["kinds"]) - set(KINDS))
            if unknown or not sum(entry["kinds"].values()) > 0:
                raise InputError(
                    f"media/kinds: give at least one of {', '.join(KINDS)} a frequency above zero; found {dict(entry['kinds'])}."
                )
            values["kinds"] = tuple(float(entry["kinds"].get(kind, 0)) for kind in KINDS)
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise InputError(f"media: unknown key {unknown[0]!r}; choose among {', '.join(cls.__dataclass_fields__)}.")
        return cls(**values)


def random_medium(seed: int, index: int, size: int, materials: int, how: RandomMedia | None = None) -> Labels:
    """The `index`-th random medium of a seed, (size, size, size); it is the same, bit for bit, however many are drawn.

    Args:
        seed: The set's.
        index: Which of its media.
        size: Voxels along an edge, odd.
        materials: Number of labels to draw from, at least two.
        how: Frequencies, numbers and sizes.
    """
    how = how or RandomMedia()
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    kind = rng.choice(KINDS, p=np.array(how.kinds) / np.sum(how.kinds))
    labels = np.full((size, size, size), rng.integers(materials), dtype=np.uint8)
    if kind in ("slabs", "mixture"):
        labels = _slabs(rng, size, materials, how)
    if kind in ("shapes", "mixture"):
        _add_shapes(rng, labels, materials, how)
    if kind in ("voxels", "mixture"):
        chosen = rng.random(labels.shape) < how.share
        # one of the others: a step of 1 to materials - 1, round the circle
        labels[chosen] = (labels[chosen] + rng.integers(1, materials, np.count_nonzero(chosen))) % materials
    return labels


def _slabs(rng: np.random.Generator, size: int, materials: int, how: RandomMedia) -> Labels:
    direction = np.eye(3)[rng.integers(3)]
    if rng.random() < how.oblique:
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
    places = np.arange(size) - (size - 1) / 2
    depth = np.add.outer(np.add.outer(direction[0] * places, direction[1] * places), direction[2] * places)
    # Boundaries lie between voxels where the slabs are parallel to them.
    boundaries = np.sort(np.floor(rng.uniform(-how.reach, how.reach, rng.integers(how.boundaries[0], how.boundaries[1] + 1))) + 0.5)
    steps = rng.integers(1, materials, len(boundaries))
    fills = (rng.integers(materials) + np.concatenate([[0], np.cumsum(steps)])) % materials
    labels: Labels = fills[np.searchsorted(boundaries, depth)].astype(np.uint8)
    return labels


def _add_shapes(rng: np.random.Generator, labels: Labels, materials: int, how: RandomMedia) -> None:
    size = labels.shape[0]
    for _ in range(rng.integers(how.shapes[0], how.shapes[1] + 1)):
        extent = rng.integers(how.shape_size[0], how.shape_size[1] + 1, 3)
        # A corner may lie outside, so that the grid's edges are as full as its middle.
        corner = np.floor(rng.uniform(-extent, size)).astype(int)
        low, high = np.maximum(corner, 0), np.minimum(corner + extent, size)
        box = labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        fill, rounded = rng.integers(materials), rng.random() < 0.5
        if rounded:
            axes = [((np.arange(a, b) + 0.5 - c) / e * 2 - 1) ** 2 for a, b, c, e in zip(low, high, corner, extent, strict=True)]
            box[np.add.outer(np.add.outer(axes[0], axes[1]), axes[2]) <= 1] = fill
        else:
            box[...] = fill


# The authors' numbers, for 31 voxels of 2 mm: slabs and their thickness over the edge, shapes, how far their centres lie from the source,
# their size, and the share of single voxels.
OFFICIAL_SLABS, OFFICIAL_THICKNESS = (5, 10), (0.05, 0.30)
OFFICIAL_SHAPES, OFFICIAL_OFFSET, OFFICIAL_SIZE, OFFICIAL_SHARE = 12, 5, (2, 10), 0.1


def official_medium(seed: int, index: int, size: int, materials: int) -> Labels:
    """The `index`-th random medium of a seed as the authors' code draws them, (size, size, size); the draws are not theirs.

    Every medium has slabs along x or y, then twelve boxes, balls, pyramids, cylinders and plates about its middle, then a tenth of single
    voxels. All materials are drawn evenly, what was there before included.

    Args:
        seed: The set's.
        index: Which of its media.
        size: Voxels along an edge, odd.
        materials: Number of labels to draw from.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    labels = np.empty((size, size, size), dtype=np.uint8)
    along = labels if rng.random() < 0.5 else labels.swapaxes(0, 1)
    start = 0
    for thickness in _thicknesses(rng, size):
        along[start : start + thickness] = rng.integers(materials)
        start += thickness
    x, y, z = np.ogrid[:size, :size, :size]
    for _ in range(OFFICIAL_SHAPES):
        extent = int(rng.integers(OFFICIAL_SIZE[0], OFFICIAL_SIZE[1] + 1))
        centre = (size - 1) // 2 + rng.integers(-OFFICIAL_OFFSET, OFFICIAL_OFFSET + 1, 3)
        dx, dy, dz = (np.abs(axis - middle) for axis, middle in zip((x, y, z), centre, strict=True))
        half = extent // 2
        level = z - centre[2]
        shapes = (
            (dx <= half) & (dy <= half) & (dz <= half),
            dx**2 + dy**2 + dz**2 <= half**2,
            # boxes that shrink from level to level, each as high as it is wide
            np.logical_or.reduce([np.maximum(np.maximum(dx, dy), abs(level - i)) <= (extent - i) // 2 for i in range(extent)]),
            (dx**2 + dy**2 <= half**2) & (dz <= half),
            (dx <= half) & (dy <= half) & (dz <= half // 2),
        )
        labels[shapes[rng.integers(len(shapes))]] = rng.integers(materials)
    chosen = rng.choice(labels.size, int(labels.size * OFFICIAL_SHARE), replace=False)
    labels.reshape(-1)[chosen] = rng.integers(materials, size=chosen.size)
    return labels


def _thicknesses(rng: np.random.Generator, size: int) -> Iterator[int]:
    """Of the slabs, in voxels; the last one takes what is left, and may be thick."""
    slabs = int(rng.integers(OFFICIAL_SLABS[0], OFFICIAL_SLABS[1] + 1))
    least, most = (int(share * size) for share in OFFICIAL_THICKNESS)
    left = size
    for after in range(slabs - 1, 0, -1):
        thickness = int(rng.integers(least, min(most, left - least * after) + 1))
        left -= thickness
        yield thickness
    yield left


def homogeneous_medium(label: int, size: int) -> Labels:
    """One material throughout, (size, size, size)."""
    return np.full((size, size, size), label, dtype=np.uint8)


GEOMETRIC = ("i", "ii", "iii", "iv", "v")
# A 12 mm inclusion is six voxels, so it cannot be centred on 31: from index 12 it reaches half a voxel further below the source.
FIRST_INDEX = 12
# How far the inclusion of each phantom is moved along y, in voxels.
OFFSETS = {"ii": 0, "iii": 2, "iv": 0, "v": 1}


def geometric_phantom(name: str, labels: Mapping[str, int], first_index: int = FIRST_INDEX) -> Labels:
    """A phantom of experiment 1 of the DDConv paper (section III-B1, figure 3): (31, 31, 31) voxels of 2 mm.

    (i) 26 mm of lung along z, then 36 mm of water; (ii) lung with a water inclusion of 12 x 12 mm2 along the whole x axis; (iii) water
    with a lung inclusion moved 4 mm along y; (iv) water with a lung inclusion that holds a bone column of one voxel along x; (v) the
    same, the inclusion moved 2 mm along y and the column where it was. In (iv) and (v) the source lies in the column.

    Args:
        name: One of `GEOMETRIC`.
        labels: The label of each of lung, water and rib_bone.
        first_index: First voxel of the inclusion along y and z before it is moved.

    Raises:
        InputError: an unknown phantom, or an inclusion that leaves the grid or the source's voxel out of its reach.
    """
    if name not in GEOMETRIC:
        raise InputError(f"media/phantoms: {name!r} is unknown; choose among {', '.join(GEOMETRIC)}.")
    size, middle, inclusion = 31, 15, 6
    lung, water, bone = labels["lung"], labels["water"], labels["rib_bone"]
    phantom = homogeneous_medium(lung if name == "ii" else water, size)
    if name == "i":
        phantom[:, :, :13] = lung
        return phantom
    if not middle - inclusion < first_index <= middle:
        raise InputError(
            f"media/first_index: {first_index} leaves the source out of the inclusion; choose {middle - inclusion + 1} to {middle}."
        )
    first_y = first_index + OFFSETS[name]
    phantom[:, first_y : first_y + inclusion, first_index : first_index + inclusion] = water if name == "ii" else lung
    if name in ("iv", "v"):
        phantom[:, middle, middle] = bone
    return phantom

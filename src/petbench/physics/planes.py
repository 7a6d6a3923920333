"""The planes of a sinogram: direct planes, or oblique ones as a michelogram combines pairs of rings."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.scanner import Scanner

GEOMETRIES = ("direct", "oblique")


@dataclass(frozen=True)
class Segment:
    """Planes of one mean ring difference, evenly spaced along the axis.

    Attributes:
        first_plane: Index of its first plane in the sinogram.
        planes: Number of planes.
        first_slice: Image slice in which the middle of the first plane lies.
        stride: Slices from one plane to the next: 2 for planes of a single ring difference, otherwise 1.
        difference_mm: z of line end 2 minus z of line end 1.
    """

    first_plane: int
    planes: int
    first_slice: int
    stride: int
    difference_mm: float


@dataclass(frozen=True, eq=False)
class Planes:
    """Where the planes of a sinogram lie; every array has the shape (planes,).

    A line of a plane runs between its ends at -/+ half the transaxial chord along (-sin phi, cos phi), from z = middle - difference / 2
    to middle + difference / 2.

    Attributes:
        middle_mm: z of the middle of its lines, zero at the centre of the field of view.
        difference_mm: z of line end 2 minus z of line end 1.
        ring_pairs: Pairs of rings whose counts the plane holds; 1 in direct geometry.
        segments: The same planes by mean ring difference.
    """

    middle_mm: NDArray[np.float64]
    difference_mm: NDArray[np.float64]
    ring_pairs: NDArray[np.int64]
    segments: tuple[Segment, ...]

    @property
    def size(self) -> int:
        """Number of planes."""
        return self.middle_mm.size


def planes_of(scanner: Scanner, geometry: str) -> Planes:
    """List the planes of a scanner.

    `direct` planes are the image's slices. `oblique` are all planes up to the largest ring difference, direct ones included: segment by
    segment in the order 0, +1, -1, +2, ..., and from low to high z within each. A segment combines `span` neighbouring ring differences
    and its plane n every pair of rings whose numbers add up to n (Defrise et al., "Fully 3D reconstruction in positron emission
    tomography", in: The Theory and Practice of 3D PET, 1998). All planes of a segment are given its mean ring difference, as is the
    field's convention (STIR: Thielemans et al., Phys Med Biol 2012); the few at either end that hold less pairs have a smaller mean.

    Args:
        scanner: The geometry.
        geometry: `direct` or `oblique`.

    Raises:
        InputError: the geometry is unknown, or the scanner has no oblique planes.
    """
    if geometry not in GEOMETRIES:
        raise InputError(f"geometry: {geometry!r} is unknown; choose direct or oblique.")
    if geometry == "direct":
        return _planes(scanner, (Segment(0, scanner.planes, 0, 1, 0.0),), np.ones(scanner.planes, dtype=np.int64))
    pairs_of, rings = ring_differences(scanner, geometry), scanner.rings or 0
    segments: list[Segment] = []
    pairs: list[NDArray[np.int64]] = []
    first_plane = 0
    for lowest, highest in pairs_of:
        differences = np.arange(lowest, highest + 1)
        nearest = int(np.abs(differences).min())
        stride = 2 if differences.size == 1 else 1
        # A plane is known by the sum of its two ring numbers, which is also the slice in which its middle lies.
        sums = np.arange(nearest, 2 * rings - 1 - nearest, stride)
        low = (sums[:, None] - differences) / 2
        high = (sums[:, None] + differences) / 2
        exists = (low >= 0) & (high >= 0) & (low < rings) & (high < rings) & (low == np.floor(low))
        pairs.append(exists.sum(axis=1))
        mean_mm = float(differences.mean()) * 2 * scanner.plane_spacing_mm
        segments.append(Segment(first_plane, sums.size, nearest, stride, mean_mm))
        first_plane += sums.size
    return _planes(scanner, tuple(segments), np.concatenate(pairs))


def ring_differences(scanner: Scanner, geometry: str) -> list[tuple[int, int]]:
    """Lowest and highest ring difference of every segment, in their order; the outermost are cut off at the largest difference.

    Direct planes lie in a ring or between two neighbours.

    Raises:
        InputError: the scanner has no oblique planes.
    """
    if geometry == "direct":
        return [(-1, 1)]
    if scanner.rings is None or scanner.max_ring_difference is None or scanner.span is None:
        raise InputError(f"scanner/oblique: {scanner.name} describes no oblique planes; add rings, max_ring_difference and span.")
    largest, half = scanner.max_ring_difference, scanner.span // 2
    ranges = [(-min(half, largest), min(half, largest))]
    for lowest in range(half + 1, largest + 1, scanner.span):
        highest = min(lowest + scanner.span - 1, largest)
        ranges += [(lowest, highest), (-highest, -lowest)]
    return ranges


def _planes(scanner: Scanner, segments: tuple[Segment, ...], ring_pairs: NDArray[np.int64]) -> Planes:
    slices = np.concatenate([segment.first_slice + segment.stride * np.arange(segment.planes) for segment in segments])
    middle = (slices - (scanner.planes - 1) / 2) * scanner.plane_spacing_mm
    difference = np.concatenate([np.full(segment.planes, segment.difference_mm) for segment in segments])
    return Planes(middle, difference, ring_pairs, segments)

"""From lines in space, as other programs and scanners give events, to the bins of a scanner's sinograms."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petbench.physics.planes import planes_of, ring_differences
from petbench.physics.scanner import Scanner, radial_positions

Doubles = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bins:
    """The bins of lines; every array has the shape (lines,).

    Attributes:
        radial: Radial bin.
        view: View.
        plane: Plane of the geometry.
        turned: Whether the line runs from its second end to its first as the bin's lines run: time of flight changes sign then.
        inside: Whether the line belongs to any bin; where not, the others say nothing.
    """

    radial: NDArray[np.uint16]
    view: NDArray[np.uint16]
    plane: NDArray[np.uint32]
    turned: NDArray[np.bool_]
    inside: NDArray[np.bool_]


def bins_of_lines(scanner: Scanner, geometry: str, first: Doubles, second: Doubles) -> Bins:
    """The nearest bin of each line, by its distance from the axis, its angle, and where it crosses the ring of detectors.

    The inverse of `petbench.physics.lines.lines_of_bins`. A line has no bin where it is more than half a bin beyond the outermost ones,
    steeper than the largest ring difference by more than half a ring, or beyond the last plane.

    Args:
        scanner: The geometry; of its rings two are two plane spacings apart.
        geometry: `direct` or `oblique`, which says what `plane` counts.
        first: Ends 1 in mm from the centre of the field of view, shape (lines, 3); anywhere along the line.
        second: Ends 2, as many.

    Raises:
        InputError: the scanner has no such planes.
    """
    along = second - first
    length = np.hypot(along[:, 0], along[:, 1])
    with np.errstate(divide="ignore", invalid="ignore"):  # a line along the axis has no angle, and no bin
        unit = along / length[:, None]
        slope = along[:, 2] / length
    angle = np.arctan2(-unit[:, 0], unit[:, 1])  # a line of view phi runs along (-sin phi, cos phi)
    view = np.rint(np.nan_to_num(angle) * scanner.views / np.pi).astype(np.int64)
    turned = (view // scanner.views) % 2 == 1  # views cover half a turn
    sign = np.where(turned, -1.0, 1.0)
    distance = sign * (first[:, 0] * unit[:, 1] - first[:, 1] * unit[:, 0])
    radial, seen = _nearest(radial_positions(scanner), distance)

    closest = first[:, 2] - (first[:, 0] * unit[:, 0] + first[:, 1] * unit[:, 1]) * slope
    chord = 2 * np.sqrt(np.maximum(scanner.ring_radius_mm**2 - distance**2, 0.0))
    plane, axial = _planes(scanner, geometry, closest, sign * slope * chord)
    inside = (length > 0) & seen & axial
    return Bins(radial.astype(np.uint16), (view % scanner.views).astype(np.uint16), plane.astype(np.uint32), turned, inside)


def _planes(scanner: Scanner, geometry: str, middle: Doubles, difference: Doubles) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The plane of each line by its height in the middle and how much higher its second end is, and whether there is one."""
    segments = planes_of(scanner, geometry).segments
    ranges = np.array(ring_differences(scanner, geometry))
    order = np.argsort(ranges[:, 0])
    rings = np.nan_to_num(difference) / (2 * scanner.plane_spacing_mm)
    steep = (rings < ranges.min() - 0.5) | (rings > ranges.max() + 0.5)
    chosen = order[np.searchsorted(ranges[order[:-1], 1] + 0.5, rings)]
    first, count, low, stride = (
        np.array([getattr(segment, name) for segment in segments])[chosen] for name in ("first_plane", "planes", "first_slice", "stride")
    )
    slices = np.nan_to_num(middle) / scanner.plane_spacing_mm + (scanner.planes - 1) / 2
    place = np.rint((slices - low) / stride).astype(np.int64)
    inside = ~steep & (place >= 0) & (place < count)
    return first + np.where(inside, place, 0), inside


def _nearest(rising: Doubles, values: Doubles) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The nearest of rising positions, and whether a value is at most half their distance beyond the outermost."""
    found = np.nan_to_num(values)
    index = np.searchsorted((rising[1:] + rising[:-1]) / 2, found).astype(np.int64)
    low, high = (3 * rising[0] - rising[1]) / 2, (3 * rising[-1] - rising[-2]) / 2
    return index, np.isfinite(values) & (found >= low) & (found <= high)

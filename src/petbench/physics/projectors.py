"""The projector of a scan, by its geometry."""

from petbench.errors import InputError
from petbench.physics.oblique import ObliqueProjector
from petbench.physics.planes import GEOMETRIES
from petbench.physics.projector import DirectProjector, SinogramProjector
from petbench.physics.scanner import Scanner


def projector_of(scanner: Scanner, geometry: str = "direct", tof: bool = False, threads: int | None = None) -> SinogramProjector:
    """The projector of a scanner's sinograms.

    Args:
        scanner: The geometry.
        geometry: `direct` or `oblique`.
        tof: Whether sinograms have TOF bins.
        threads: Threads to run on, None for numba's own number.

    Raises:
        InputError: the geometry is unknown, or the scanner has no oblique planes or no time of flight.
    """
    if geometry not in GEOMETRIES:
        raise InputError(f"geometry: {geometry!r} is unknown; choose direct or oblique.")
    if geometry == "direct" and not tof:
        return DirectProjector(scanner, threads=threads)
    return ObliqueProjector(scanner, tof=tof, threads=threads, geometry=geometry)

"""A cylindrical PET scanner: where its lines of response run and the image grid it reconstructs on."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.affines import centred_affine
from petbench.errors import InputError

LIGHT_MM_PER_PS = 0.299792458

MM_PER_CM = 10.0
TOF_SIGMAS = 3.0
"""Where the Gaussian of the timing resolution is cut off; what is left is divided by its sum."""


@dataclass(frozen=True)
class TimeOfFlight:
    """Time of flight: how well, and in which bins, a scanner places an annihilation along its line.

    A photon that comes `dt` later than its partner was born c dt / 2 nearer to the other detector.

    Attributes:
        resolution_ps: Full width at half maximum of the coincidence timing, in picoseconds.
        bins: TOF bins of a line, symmetric about its middle; bins rise towards line end 2.
        bin_ps: Width of a bin as a difference of arrival times.
    """

    resolution_ps: float
    bins: int
    bin_ps: float

    @property
    def sigma_mm(self) -> float:
        """Standard deviation along the line."""
        return self.resolution_ps * LIGHT_MM_PER_PS / 2 / float(np.sqrt(8.0 * np.log(2.0)))

    @property
    def bin_mm(self) -> float:
        """Width of a bin along the line."""
        return self.bin_ps * LIGHT_MM_PER_PS / 2

    @property
    def edges_mm(self) -> NDArray[np.float64]:
        """Edges of the bins along the line from its middle, rising towards end 2, shape (bins + 1,)."""
        return np.asarray((np.arange(self.bins + 1) - self.bins / 2) * self.bin_mm, dtype=np.float64)


@dataclass(frozen=True)
class Scanner:
    """Geometry of a scanner's sinograms and image; lengths in millimetres.

    Attributes:
        name: What the sidecars call it.
        ring_radius_mm: From the axis to the mean depth of interaction.
        crystals_per_ring: Detectors round a ring, gaps counted.
        radial: `arc`, bins as the crystals lie, closer to each other towards the edge; `uniform`, bins `radial_spacing_mm` apart.
        radial_bins: Bins of a view, symmetric about the axis.
        radial_spacing_mm: Distance of two bins at the centre.
        views: Angles, spread evenly over half a turn.
        planes: Transaxial planes; each is one slice of the image.
        plane_spacing_mm: Distance of two planes, the image's voxel along z.
        image_shape: Voxels (x, y, z).
        voxel_mm: Voxel edges (x, y, z).
        fov_mm: Diameter of the circular transaxial field of view; voxels centred outside it are neither projected nor reconstructed.
        rings: Detector rings, two plane spacings apart; None if oblique planes are not described.
        max_ring_difference: Of the oblique planes measured.
        span: Ring differences that a segment of oblique planes combines, odd.
        tof: Time of flight; None for a scanner without.
    """

    name: str
    ring_radius_mm: float
    crystals_per_ring: int
    radial: str
    radial_bins: int
    radial_spacing_mm: float
    views: int
    planes: int
    plane_spacing_mm: float
    image_shape: tuple[int, int, int]
    voxel_mm: tuple[float, float, float]
    fov_mm: float
    rings: int | None = None
    max_ring_difference: int | None = None
    span: int | None = None
    tof: TimeOfFlight | None = None

    @classmethod
    def from_entry(cls, entry: dict[str, Any]) -> "Scanner":
        """Make a scanner from its configuration entry (config/schemas/scanner.yaml).

        Raises:
            InputError: the entry's numbers contradict each other.
        """
        entry = dict(entry)
        image, oblique, tof = entry.pop("image"), entry.pop("oblique", None) or {}, entry.pop("tof", None)
        # Two neighbouring lines of a view differ by half a crystal at each end: pi R / crystals apart at the centre.
        native = np.pi * entry["ring_radius_mm"] / entry["crystals_per_ring"]
        if entry["radial"] == "arc" and "radial_spacing_mm" in entry:
            raise InputError("scanner/radial_spacing_mm: arc bins lie where the crystals do; remove the key or set radial to uniform.")
        entry.setdefault("radial_spacing_mm", float(native))
        scanner = cls(
            **entry,
            image_shape=tuple(image["shape"]),
            voxel_mm=tuple(image["voxel_mm"]),
            **oblique,
            tof=None if tof is None else TimeOfFlight(**tof),
        )
        _check(scanner)
        return scanner

    @property
    def lines(self) -> dict[str, Any]:
        """All that says where its lines run and how they are timed, as JSON can hold it; neither its name nor its image grid does."""
        return {key: value for key, value in asdict(self).items() if key not in ("name", "image_shape", "voxel_mm", "fov_mm")}

    @property
    def sinogram_shape(self) -> tuple[int, int, int]:
        """Radial bins, views, direct planes."""
        return (self.radial_bins, self.views, self.planes)


def _check(scanner: Scanner) -> None:
    voxel = scanner.voxel_mm
    if scanner.radial not in ("arc", "uniform"):
        raise InputError(f"scanner/radial: {scanner.radial!r} is neither arc nor uniform.")
    if abs(voxel[0] - voxel[1]) > 1e-6:
        raise InputError(f"scanner/image/voxel_mm: {voxel[0]} and {voxel[1]} differ; the projector needs voxels square in the plane.")
    if scanner.image_shape[2] != scanner.planes or abs(voxel[2] - scanner.plane_spacing_mm) > 1e-6:
        raise InputError(
            "scanner/image: planes and slices must be the same in number and spacing; make shape[2] and voxel_mm[2] fit planes."
        )
    if scanner.radial == "arc" and scanner.radial_bins > scanner.crystals_per_ring:
        raise InputError(
            f"scanner/radial_bins: {scanner.radial_bins} arc bins go beyond the ring; use at most {scanner.crystals_per_ring}."
        )
    reach = radial_positions(scanner)[-1]
    if reach > scanner.ring_radius_mm:
        raise InputError(f"scanner/radial_bins: the outermost bin lies {reach:.0f} mm from the axis, beyond the ring; use fewer bins.")
    if scanner.fov_mm / 2 > reach + voxel[0]:
        raise InputError(f"scanner/fov_mm: {scanner.fov_mm} is wider than the bins see; use at most {2 * reach:.0f}.")
    if scanner.fov_mm / 2 + voxel[0] > scanner.ring_radius_mm:
        raise InputError(
            f"scanner/fov_mm: {scanner.fov_mm} reaches the detectors; use at most {2 * (scanner.ring_radius_mm - voxel[0]):.0f}."
        )
    if scanner.rings is not None and scanner.max_ring_difference is not None and scanner.span is not None:
        _check_oblique(scanner.planes, scanner.rings, scanner.max_ring_difference, scanner.span)
    if scanner.tof is not None:
        _check_tof(scanner.tof, scanner.fov_mm)


def _check_oblique(planes: int, rings: int, max_ring_difference: int, span: int) -> None:
    if planes != 2 * rings - 1:
        raise InputError(f"scanner/oblique/rings: {rings} rings have {2 * rings - 1} direct planes, not {planes}; change either.")
    if not 0 <= max_ring_difference < rings:
        raise InputError(
            f"scanner/oblique/max_ring_difference: {max_ring_difference} is impossible for {rings} rings; use 0 to {rings - 1}."
        )
    if span < 1 or span % 2 == 0:
        raise InputError(f"scanner/oblique/span: {span} is even or below one; a segment is symmetric, use an odd number.")


def _check_tof(tof: TimeOfFlight, fov_mm: float) -> None:
    """The bins must catch every event: list-mode reconstruction takes the sensitivity of whole lines."""
    needed_mm = fov_mm / 2 + TOF_SIGMAS * tof.sigma_mm
    if tof.edges_mm[-1] < needed_mm:
        raise InputError(
            f"scanner/tof/bins: {tof.bins} bins of {tof.bin_ps:g} ps do not cover the field of view and its blur; use at least"
            f" {int(np.ceil(2 * needed_mm / tof.bin_mm))} or a smaller fov_mm."
        )


def radial_positions(scanner: Scanner) -> NDArray[np.float64]:
    """Distance of every radial bin from the axis in mm, rising; symmetric about zero, shape (radial_bins,).

    Arc bins lie at R sin(k pi / crystals) with k half-integers for an even number of bins.
    """
    k = np.arange(scanner.radial_bins) - (scanner.radial_bins - 1) / 2
    if scanner.radial == "uniform":
        return np.asarray(k * scanner.radial_spacing_mm, dtype=np.float64)
    return np.asarray(scanner.ring_radius_mm * np.sin(k * np.pi / scanner.crystals_per_ring), dtype=np.float64)


def view_angles(scanner: Scanner) -> NDArray[np.float64]:
    """Angle of every view in radians, shape (views,); lines of view phi satisfy x cos phi + y sin phi = r, so view 0 runs along y."""
    return np.arange(scanner.views) * np.pi / scanner.views


def field_of_view(scanner: Scanner) -> NDArray[np.bool_]:
    """Whether a pixel's centre lies in the circular field of view, shape (x, y)."""
    x, y = (np.arange(n) - (n - 1) / 2 for n in scanner.image_shape[:2])
    inside: NDArray[np.bool_] = x[:, None] ** 2 + y[None, :] ** 2 <= (scanner.fov_mm / 2 / scanner.voxel_mm[0]) ** 2
    return inside


def image_affine(scanner: Scanner) -> NDArray[np.float64]:
    """Affine of the scanner's image grid, shape (4, 4): voxel indices to millimetres in RAS.

    x runs to the patient's right, y to the front, z to the head (supine, head first), and the grid's middle is the origin, the
    centre of the field of view.
    """
    return centred_affine(scanner.image_shape, scanner.voxel_mm)

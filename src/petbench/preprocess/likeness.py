"""How like the scans that weights were trained on a scan is, by what can be measured of it without a reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petbench.preprocess.intensity import head_mask
from petbench.preprocess.texture import noise, smoothness_mm

MEASURES = {
    "noise": "noise in the head, of the level that its PET is scaled to",
    "smoothness_mm": "width (FWHM, mm) that its noise and detail are as smooth as",
    "voxel_mm": "edge (mm) of its own voxels, their geometric mean",
    "pet_level": "median of the scaled PET in the head",
    "mr_level": "median of the scaled MR there",
    "head_inside": "share of the head inside the working grid",
}
"""What is measured of a scan, in words."""
BOUNDS = {"noise": 2.0, "smoothness_mm": 1.4, "voxel_mm": 2.0, "pet_level": 1.4, "mr_level": 1.5, "head_inside": 1.05}
"""The factor by which each may lie beyond the scans trained on before restoring stops: twice the noise is a quarter of the counts."""


@dataclass(frozen=True)
class Distance:
    """How far one measure of a scan is from the scans trained on.

    Attributes:
        measure: One of `MEASURES`.
        value: That of the scan.
        least: The least of the training scans.
        most: The most.
        factor: By how much it lies below the least or above the most; 1 between them.
    """

    measure: str
    value: float
    least: float
    most: float
    factor: float

    @property
    def beyond(self) -> bool:
        """Whether it is farther than the bound."""
        return self.factor > BOUNDS[self.measure]

    def __str__(self) -> str:
        trained = f"{self.least:.3g}" if self.least == self.most else f"{self.least:.3g} to {self.most:.3g}"
        return f"{MEASURES[self.measure]}: {self.value:.3g}, in training {trained}, {self.factor:.2f} times beyond"


def measure(
    low_dose: NDArray[np.floating],
    mr: NDArray[np.floating],
    voxel_mm: Sequence[float],
    own_voxel_mm: Sequence[float],
    head_inside: float,
) -> dict[str, float]:
    """Measure a scan as networks see it; see `MEASURES`.

    Args:
        low_dose: Scaled, on the working grid, (x, y, z).
        mr: The same of the MR.
        voxel_mm: Edges of the working grid's voxels (3,).
        own_voxel_mm: Those of the scan's own.
        head_inside: See `petbench.preprocess.grid.share_inside`.

    Returns:
        A value a measure; empty where no head is found.
    """
    region = head_mask(low_dose)
    if not region.any():
        return {}
    return {
        "noise": noise(low_dose, region),
        "smoothness_mm": smoothness_mm(low_dose, region, voxel_mm),
        "voxel_mm": float(np.prod(own_voxel_mm) ** (1 / 3)),
        "pet_level": float(np.median(low_dose[region])),
        "mr_level": float(np.median(mr[region])),
        "head_inside": head_inside,
    }


def distances(scan: Mapping[str, float], trained: Sequence[Mapping[str, float]]) -> list[Distance]:
    """How far a scan is from those trained on, a measure each that both have."""
    found = []
    for name, value in scan.items():
        values = [person[name] for person in trained if name in person]
        if values and name in BOUNDS:
            least, most = min(values), max(values)
            tiny = float(np.finfo(np.float32).tiny)
            factor = max(1.0, max(value, tiny) / max(most, tiny), max(least, tiny) / max(value, tiny))
            found.append(Distance(name, value, least, most, factor))
    return found

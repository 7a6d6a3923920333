"""Intensity scaling: PET divided by a robust percentile of the smoothed low dose, never by anything of the reference; MR by its own."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petbench.errors import InputError


def head_mask(data: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Mask of the head: Otsu threshold of the image blurred by one voxel, largest component, holes filled."""
    from skimage.filters import threshold_otsu

    smooth = ndimage.gaussian_filter(data.astype(np.float32), 1.0)
    mask = smooth > threshold_otsu(smooth)
    labels, count = ndimage.label(mask)
    if count == 0:
        return np.asarray(mask)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return np.asarray(ndimage.binary_fill_holes(labels == sizes.argmax()))


def intensity_scale(
    data: NDArray[np.floating], percentile: float, name: str, voxel_mm: Sequence[float] = (1.0, 1.0, 1.0), smooth_mm: float = 0.0
) -> float:
    """Percentile of an image, smoothed, inside the head mask of what was smoothed; at 100 its maximum, wherever it lies.

    The percentile of a noisy image is that of its noise, and rises as the dose falls; smoothed over more than the noise's grain, it is the
    level of the brain at any dose.

    Args:
        data: Volume (x, y, z).
        percentile: 0 to 100.
        name: The file, for the message.
        voxel_mm: Voxel edges (3,), which `smooth_mm` is measured by.
        smooth_mm: Standard deviation of the Gaussian in mm; 0 smooths nothing.

    Raises:
        InputError: the image is the same everywhere, or its percentile is not positive.
    """
    if data.min() == data.max():
        raise InputError(f"{name}: every voxel has the same value; supply the reconstructed image.")
    smooth = ndimage.gaussian_filter(data.astype(np.float32), smooth_mm / np.asarray(voxel_mm)) if smooth_mm else data
    scale = float(np.percentile(smooth if percentile == 100 else smooth[head_mask(smooth)], percentile))
    if not scale > 0:
        raise InputError(f"{name}: its {percentile} percentile inside the head is {scale:g}; an image of activity is positive there.")
    return scale


def scales(
    low_dose: NDArray[np.floating],
    mr: NDArray[np.floating],
    standard_dose: NDArray[np.floating] | None,
    scaling: Mapping[str, Any],
    names: Mapping[str, str],
    voxel_mm: Sequence[float],
) -> dict[str, float]:
    """What each volume is divided by.

    Mode `low_dose` (default) divides PET, low dose and standard dose alike, by a percentile of the smoothed low dose. Mode `own_range`
    divides each image, MR included, by its own maximum, as some papers do: it leaks the reference's scale, and the report marks it.

    Args:
        low_dose: Volume (x, y, z), as the others.
        mr: The MR.
        standard_dose: The standard dose, or none.
        scaling: The data set's `preprocess/scaling`. That of weights trained before low doses were smoothed has no `smooth_mm`: theirs
            are not.
        names: Their files, for messages.
        voxel_mm: Voxel edges (3,).

    Returns:
        Scales by `low_dose`, `mr` and, where there is one, `standard_dose`.
    """
    if scaling["mode"] == "own_range":
        images = {"low_dose": low_dose, "mr": mr} | ({} if standard_dose is None else {"standard_dose": standard_dose})
        return {kind: intensity_scale(image, 100, names[kind]) for kind, image in images.items()}
    low = intensity_scale(low_dose, scaling["percentile"], names["low_dose"], voxel_mm, scaling.get("smooth_mm", 0.0))
    found = {"low_dose": low, "mr": intensity_scale(mr, scaling["mr_percentile"], names["mr"])}
    return found if standard_dose is None else found | {"standard_dose": low}

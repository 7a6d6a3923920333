"""Intensity scaling: every volume divided by a robust percentile, never by anything of the reference."""

from collections.abc import Mapping
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


def intensity_scale(data: NDArray[np.floating], percentile: float, name: str) -> float:
    """Percentile of an image inside its head mask; at 100 the image's maximum, wherever it lies.

    Args:
        data: Volume.
        percentile: 0 to 100.
        name: The file, for the message.

    Raises:
        InputError: the image is the same everywhere, or its percentile is not positive.
    """
    if data.min() == data.max():
        raise InputError(f"{name}: every voxel has the same value; supply the reconstructed image.")
    scale = float(np.percentile(data if percentile == 100 else data[head_mask(data)], percentile))
    if not scale > 0:
        raise InputError(f"{name}: its {percentile} percentile inside the head is {scale:g}; an image of activity is positive there.")
    return scale


def scales(
    low_dose: NDArray[np.floating],
    mr: NDArray[np.floating],
    standard_dose: NDArray[np.floating] | None,
    scaling: Mapping[str, Any],
    names: Mapping[str, str],
) -> dict[str, float]:
    """What each volume is divided by.

    Mode `low_dose` (default) divides PET, low dose and standard dose alike, by a percentile of the low dose. Mode `own_range` divides each
    image, MR included, by its own maximum, as some papers do: it leaks the reference's scale, and the report marks it.

    Returns:
        Scales by `low_dose`, `mr` and, where there is one, `standard_dose`.
    """
    if scaling["mode"] == "own_range":
        images = {"low_dose": low_dose, "mr": mr} | ({} if standard_dose is None else {"standard_dose": standard_dose})
        return {kind: intensity_scale(image, 100, names[kind]) for kind, image in images.items()}
    low = intensity_scale(low_dose, scaling["percentile"], names["low_dose"])
    found = {"low_dose": low, "mr": intensity_scale(mr, scaling["mr_percentile"], names["mr"])}
    return found if standard_dose is None else found | {"standard_dose": low}

"""Where metrics look: the brain, its tissues, lesions and the background around them.

Label maps are integer arrays (x, y, z): 0 background, 1 CSF, 2 grey matter, 3 white matter, 4 skull, 5 scalp, and 101 and above the
lesions, each voxel of a lesion holding its label instead of the tissue it replaced.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.anatomy import LABELS
from petbench.data.lesions import FIRST_LABEL
from petbench.errors import InputError

TISSUES = {name: LABELS[name] for name in ("csf", "grey", "white")}

Mask = NDArray[np.bool_]


def brain_from_labels(labels: NDArray[Any]) -> Mask:
    """The brain of a label map: CSF, grey and white matter, and every lesion.

    Raises:
        InputError: the map has no brain.
    """
    brain = np.isin(labels, list(TISSUES.values())) | (labels >= FIRST_LABEL)
    if not brain.any():
        raise InputError("labels: no voxel is CSF (1), grey (2), white matter (3) or a lesion (101 and above); check the label map.")
    return np.asarray(brain, dtype=bool)


def brain_from_image(image: NDArray[Any], threshold: float = 0.2) -> Mask:
    """The brain of an image without labels: threshold, largest component, holes filled.

    Args:
        image: An image of the subject, (x, y, z), in any units; one that no method under test has touched.
        threshold: Lowest value inside, as a fraction of the 99th percentile of the image's positive values.

    Raises:
        InputError: nothing in the image is positive, or the threshold is not between 0 and 1.
    """
    from scipy import ndimage

    if not 0 < threshold < 1:
        raise InputError(f"threshold: {threshold!r} is not between 0 and 1; give a fraction of the image's 99th percentile.")
    positive = image[image > 0]
    if positive.size == 0:
        raise InputError("image: no voxel is positive, so it has no brain mask; check the image.")
    components, count = ndimage.label(image > threshold * np.percentile(positive, 99))
    if count == 0:
        raise InputError("image: no voxel exceeds the threshold; lower it.")
    largest = 1 + int(np.argmax(np.bincount(components.ravel())[1:]))
    return np.asarray(ndimage.binary_fill_holes(components == largest), dtype=bool)


def tissue_masks(labels: NDArray[Any]) -> dict[str, Mask]:
    """The tissues present in a label map, by name; lesions belong to none of them."""
    masks = {name: np.asarray(labels == value, dtype=bool) for name, value in TISSUES.items()}
    return {name: mask for name, mask in masks.items() if mask.any()}


def lesion_shell(labels: NDArray[Any], label: int, voxel_mm: NDArray[np.floating], gap_mm: float = 2.0, width_mm: float = 6.0) -> Mask:
    """Background of a lesion: the tissue that surrounds it, in a shell around it, without other lesions.

    Args:
        labels: Label map (x, y, z).
        label: The lesion's label.
        voxel_mm: Voxel edge lengths.
        gap_mm: Distance from the lesion left out, where its blurred edge would count as background.
        width_mm: Thickness of the shell beyond the gap.

    Returns:
        Mask of the most frequent of CSF, grey and white matter in the shell; empty when none of them is there.

    Raises:
        InputError: the lesion is not in the label map.
    """
    from scipy import ndimage

    lesion = labels == label
    if not lesion.any():
        raise InputError(f"labels: lesion {label} has no voxel; check that label map and lesion table belong together.")
    # The distances are needed only near the lesion.
    reach = np.ceil((gap_mm + width_mm) / np.asarray(voxel_mm)).astype(int) + 1
    window = tuple(
        slice(max(int(where.min()) - pad, 0), int(where.max()) + pad + 1) for where, pad in zip(np.nonzero(lesion), reach, strict=True)
    )
    distance = ndimage.distance_transform_edt(~lesion[window], sampling=voxel_mm)
    near = (distance > gap_mm) & (distance <= gap_mm + width_mm)
    shell = np.zeros(labels.shape, dtype=bool)
    counts = {value: int(np.count_nonzero(near & (labels[window] == value))) for value in TISSUES.values()}
    tissue = max(counts, key=lambda value: counts[value])
    shell[window] = near & (labels[window] == tissue)
    return shell

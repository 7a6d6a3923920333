"""Whether a PET image can be one of a head, so that what is wrong with it is not laid at the MR's door."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from petbench.data.nifti import Image, voxel_mm
from petbench.errors import InputError
from petbench.preprocess.grid import HEAD_MM, LEAST_HEAD_ML, head_in, isotropic
from petbench.preprocess.intensity import head_mask

LONGEST_HEAD_MM = 350.0
HOT = 20.0
"""How often the level that one voxel in a thousand exceeds a single voxel may be."""
LEAST_OF_BODY = 0.05
"""Share of the level that two voxels in a hundred exceed, above which something may belong to the body."""
AIR_SMOOTH_MM = 6.0
LEAST_EXTENT_MM, MOST_HEAD_ML = 60.0, 12_000.0
"""What an MR shows at least, and how much head (and neck) at most."""
MOST_BACKGROUND = 0.25
"""Share of the head's level that air around it may have."""
AIR_MM = 25.0


def check_pet(image: Image, path: str) -> None:
    """Check that a PET image shows one head, hot against the air around it.

    Raises:
        InputError: it is negative; one voxel outshines all; it shows more than a head, or less; or air is not near zero.
    """
    data = np.asarray(image.dataobj, dtype=np.float32)
    low, high = (float(np.percentile(data, share)) for share in (0.1, 99.9))
    if -low > high:
        raise InputError(f"{path}: its values are negative, down to {data.min():.4g}; an image of activity is positive, mend its sign.")
    hottest = float(data.max())
    if hottest > HOT * max(high, 0.0):
        place = [int(index) for index in np.unravel_index(int(data.argmax()), data.shape)]
        raise InputError(
            f"{path}: voxel {place} has {hottest:.4g}, {'' if high <= 0 else f'{hottest / high:.0f} times '}"
            f"what one voxel in a thousand exceeds ({high:.4g}); correct hot voxels."
        )
    coarse = isotropic(image, HEAD_MM)
    edges = voxel_mm(coarse)
    head = head_in(coarse)
    values = np.asarray(coarse.dataobj)
    millilitres = float(np.count_nonzero(head) * np.prod(edges) / 1000)
    if millilitres < LEAST_HEAD_ML:
        raise InputError(
            f"{path}: only {millilitres:.0f} ml of it stand out; supply PET of a whole head, its affine in millimetres, without hot spots."
        )
    level = float(np.median(values[head]))
    air = ndimage.distance_transform_edt(~head, sampling=edges) > AIR_MM
    background = float(np.median(values[air])) if air.any() else 0.0
    if abs(background) > MOST_BACKGROUND * level:
        raise InputError(
            f"{path}: air around the head has {background:.4g} where the head has {level:.4g}; an offset was added, subtract it."
        )
    if max(np.asarray(coarse.shape) * edges) > LONGEST_HEAD_MM and (extent := _longest_mm(values, edges)) > LONGEST_HEAD_MM:
        raise InputError(f"{path}: shows {extent:.0f} mm of a body, more than a head; crop it to the head.")


def check_mr(image: Image, path: str) -> None:
    """Check that an MR image is of the size of a head.

    Raises:
        InputError: it is smaller or larger, by its header.
    """
    extent = np.asarray(image.shape) * voxel_mm(image)
    millilitres = 0.0
    if extent.min() >= LEAST_EXTENT_MM:
        coarse = isotropic(image, HEAD_MM)
        millilitres = float(np.count_nonzero(head_mask(np.asarray(coarse.dataobj))) * np.prod(voxel_mm(coarse)) / 1000)
    if not LEAST_HEAD_ML < millilitres < MOST_HEAD_ML:
        raise InputError(
            f"{path}: shows no whole head, by its header: {millilitres / 1000:.3g} l in a field of view of"
            f" {' x '.join(f'{one:.3g}' for one in extent)} mm; supply one, its affine in millimetres."
        )


def _longest_mm(values: NDArray[np.floating], edges: NDArray[np.floating]) -> float:
    """How far what stands out of the air reaches along the axis where it reaches farthest: organs may outshine all the rest."""
    smooth = ndimage.gaussian_filter(values, AIR_SMOOTH_MM / edges)
    air = float(np.median(smooth))
    spread = 1.4826 * float(np.median(np.abs(smooth - air)))
    labels, _ = ndimage.label(smooth > max(air + 6 * spread, LEAST_OF_BODY * float(np.percentile(smooth, 98))))
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    body = np.nonzero(labels == sizes.argmax())
    return max(float((np.ptp(where) + 1) * edge) for where, edge in zip(body, edges, strict=True))

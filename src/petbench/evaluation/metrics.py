"""How close a restored image comes to its reference: PSNR, SSIM, NMSE and MAE, by volume and by slice.

Images are arrays in the same units, of the same shape; a `mask` is a boolean array of that shape, or None for every voxel.
`data_range` is the R of PSNR and SSIM; None takes the maximum of the reference in the region. Every function raises
InputError for arrays that do not match, values that are not finite, and a reference without positive values.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError

Array = NDArray[Any]
Mask = NDArray[np.bool_]

SSIM_SIGMA = 1.5
# scikit-image cuts its Gaussian at 3.5 sigma: a voxel's similarity depends on neighbours up to this far away.
SSIM_REACH = int(3.5 * SSIM_SIGMA + 0.5)
OBJECT_SHARE = 1000 / 256**2
"""Smallest object of a slice that M2Diff's authors keep, 1000 pixels, as a share of their 256 x 256."""


def reference_maximum(reference: Array, mask: Mask | None = None) -> float:
    """The default R: maximum of the reference inside the region, in its own units."""
    largest = float(np.max(_inside(reference, mask)))
    if not largest > 0:
        raise InputError(f"reference: its maximum in the region is {largest:g}; a reference needs positive values there.")
    return largest


def psnr(estimate: Array, reference: Array, mask: Mask | None = None, data_range: float | None = None) -> float:
    """Peak signal-to-noise ratio, 10 log10(R^2 / MSE), in dB; infinite where the images are equal."""
    estimate, reference, mask = _check(estimate, reference, mask)
    peak = _data_range(reference, mask, data_range)
    error = float(np.mean((_inside(estimate, mask) - _inside(reference, mask)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(peak**2 / error)


def ssim(estimate: Array, reference: Array, mask: Mask | None = None, data_range: float | None = None) -> float:
    """Structural similarity (Wang et al. 2004) with a Gaussian window of sigma 1.5 voxels along every axis.

    The map is computed from the images as they are and averaged over the region, so voxels within `SSIM_REACH` of the
    region's border also see what lies just outside. Arrays may be two- or three-dimensional, and thinner than the window:
    they are mirrored at their edges, as scikit-image does.
    """
    from skimage.metrics import structural_similarity

    estimate, reference, mask = _check(estimate, reference, mask)
    peak = _data_range(reference, mask, data_range)
    # Only the region and what its voxels can see need filtering; a brain fills a quarter of a scanner's field of view.
    window = _reach_of(mask, reference.shape)
    padded = [np.pad(image[window], SSIM_REACH, mode="symmetric") for image in (estimate, reference)]
    _, similarity = structural_similarity(
        *padded, data_range=peak, gaussian_weights=True, sigma=SSIM_SIGMA, use_sample_covariance=False, full=True
    )
    similarity = similarity[(slice(SSIM_REACH, -SSIM_REACH),) * reference.ndim]
    return float(np.mean(_inside(similarity, None if mask is None else mask[window])))


def nmse(estimate: Array, reference: Array, mask: Mask | None = None) -> float:
    """Normalised mean squared error, sum (e - t)^2 / sum t^2 (the same as the ratio of the two means)."""
    estimate, reference, mask = _check(estimate, reference, mask)
    true = _inside(reference, mask)
    return float(np.sum((_inside(estimate, mask) - true) ** 2) / np.sum(true**2))


def mae(estimate: Array, reference: Array, mask: Mask | None = None) -> float:
    """Mean absolute error, in the units of the images."""
    estimate, reference, mask = _check(estimate, reference, mask)
    return float(np.mean(np.abs(_inside(estimate, mask) - _inside(reference, mask))))


def used_slices(reference: Array, mask: Mask | None = None, axis: int = 2, threshold: float = 0.05) -> list[int]:
    """Indices along `axis` of the slices that are not empty.

    A slice is empty when none of its voxels in the region exceeds `threshold` times the volume's maximum in the region.
    """
    _, reference, mask = _check(reference, reference, mask)
    seen = reference if mask is None else np.where(mask, reference, -np.inf)
    others = tuple(other for other in range(reference.ndim) if other != axis % reference.ndim)
    largest = np.max(seen, axis=others)
    return [int(index) for index in np.flatnonzero(largest > threshold * reference_maximum(reference, mask))]


def slice_mean(
    metric: Callable[..., float],
    estimate: Array,
    reference: Array,
    mask: Mask | None = None,
    axis: int = 2,
    threshold: float = 0.05,
    data_range: float | str | None = None,
) -> tuple[float, int]:
    """Average of a 2D metric over the slices that are not empty.

    Args:
        metric: `psnr` or `ssim`, called with a data range, or `nmse` or `mae`, called without.
        estimate: Restored volume (x, y, z).
        reference: Its reference.
        mask: Region.
        axis: Axis the slices are stacked along.
        threshold: See `used_slices`.
        data_range: None for the maximum of the volume in the region, as of slices cut from a volume scaled to [0, 1];
            "slice" for each slice's own maximum; or a number.

    Returns:
        The mean (infinite if a slice's PSNR is) and the number of slices it is over.
    """
    estimate, reference, mask = _check(estimate, reference, mask)
    used = used_slices(reference, mask, axis, threshold)
    if data_range is None:
        data_range = reference_maximum(reference, mask)
    values = []
    for index in used:
        images = [estimate.take(index, axis), reference.take(index, axis), None if mask is None else mask.take(index, axis)]
        if metric in (psnr, ssim):
            images.append(None if data_range == "slice" else data_range)
        values.append(metric(*images))
    return float(np.mean(values)), len(used)


def slice_psnr(estimate: Array, reference: Array, mask: Mask | None = None, **options: Any) -> tuple[float, int]:
    """PSNR averaged over slices and the number of slices used; options of `slice_mean`."""
    return slice_mean(psnr, estimate, reference, mask, **options)


def slice_ssim(estimate: Array, reference: Array, mask: Mask | None = None, **options: Any) -> tuple[float, int]:
    """2D SSIM averaged over slices and the number of slices used; options of `slice_mean`."""
    return slice_mean(ssim, estimate, reference, mask, **options)


def slice_nmse(estimate: Array, reference: Array, mask: Mask | None = None, **options: Any) -> tuple[float, int]:
    """NMSE averaged over slices and the number of slices used; options of `slice_mean`."""
    return slice_mean(nmse, estimate, reference, mask, **options)


def frame_mask(reference: Array, threshold: float = 0.1, object_share: float = OBJECT_SHARE) -> Mask:
    """The head in one slice, as M2Diff's authors take it: threshold, small objects away, largest of what is left, its own holes filled.

    Args:
        reference: Slice (x, y).
        threshold: Least value inside, from the slice's least value to its largest.
        object_share: Smallest object kept, as a share of the slice's pixels. Pixels of an object touch along edges.

    Returns:
        Mask (x, y), without a voxel where no object is large enough.
    """
    from scipy import ndimage

    low, high = float(np.min(reference)), float(np.max(reference))
    objects, count = ndimage.label(reference > low + threshold * (high - low))
    sizes = np.bincount(objects.ravel(), minlength=1)[1:]
    if count == 0 or sizes.max() < object_share * reference.size:
        return np.zeros(reference.shape, dtype=bool)
    return np.asarray(ndimage.binary_fill_holes(objects == 1 + int(np.argmax(sizes))), dtype=bool)


def frame_slices(
    estimate: Array, reference: Array, axis: int = 2, threshold: float = 0.1, object_share: float = OBJECT_SHARE
) -> list[tuple[Array, Array]]:
    """Both images of each slice that holds a head, zero outside it: the frames that M2Diff's authors measure.

    Args:
        estimate: Restored volume (x, y, z).
        reference: Its reference, which alone decides where the head is.
        axis: Axis the slices are stacked along.
        threshold: See `frame_mask`.
        object_share: See `frame_mask`.
    """
    estimate, reference, _ = _check(estimate, reference, None)
    frames = []
    for index in range(reference.shape[axis]):
        true = reference.take(index, axis)
        head = frame_mask(true, threshold, object_share)
        if np.any(true[head] > 0):  # negative values alone, of noise below a filtered back-projection, are no head
            frames.append((np.where(head, estimate.take(index, axis), 0.0), np.where(head, true, 0.0)))
    return frames


def frame_metrics(frames: list[tuple[Array, Array]]) -> dict[str, float]:
    """PSNR, SSIM and NMSE over whole frames, averaged over slices, and the number of slices; NaN where there is none.

    R is a frame's own range, largest minus least. Averaging over a frame that is zero around the head makes PSNR larger by 10 log10 of
    the frame's pixels over the head's than inside the head, and SSIM too, NMSE not at all.

    Args:
        frames: Restored slice and reference, (x, y) each, see `frame_slices`.
    """
    values: dict[str, list[float]] = {"frame_psnr": [], "frame_ssim": [], "frame_nmse": []}
    for estimate, reference in frames:
        peak = float(np.ptp(reference))
        values["frame_psnr"].append(psnr(estimate, reference, data_range=peak))
        values["frame_ssim"].append(ssim(estimate, reference, data_range=peak))
        values["frame_nmse"].append(nmse(estimate, reference))
    return {name: float(np.mean(found)) if found else math.nan for name, found in values.items()} | {"frame_slices": len(frames)}


def _check(estimate: Array, reference: Array, mask: Mask | None) -> tuple[Array, Array, Mask | None]:
    # float64: SSIM subtracts squared means of values near 1e4, which costs float32 all its digits.
    estimate, reference = np.asarray(estimate, np.float64), np.asarray(reference, np.float64)
    if estimate.shape != reference.shape:
        raise InputError(f"estimate: shape {estimate.shape} differs from the reference's {reference.shape}; put both on one grid.")
    for name, image in (("estimate", estimate), ("reference", reference)):
        if not np.isfinite(image).all():
            raise InputError(f"{name}: holds values that are NaN or infinite; replace them first.")
    if mask is not None:
        mask = np.asarray(mask, bool)
        if mask.shape != reference.shape:
            raise InputError(f"mask: shape {mask.shape} differs from the images' {reference.shape}; put it on their grid.")
        if not mask.any():
            raise InputError("mask: holds no voxel; choose a region that lies inside the image.")
    reference_maximum(reference, mask)
    return estimate, reference, mask


def _inside(image: Array, mask: Mask | None) -> Array:
    return image.ravel() if mask is None else image[mask]


def _data_range(reference: Array, mask: Mask | None, data_range: float | None) -> float:
    if data_range is None:
        return reference_maximum(reference, mask)
    if not (math.isfinite(data_range) and data_range > 0):
        raise InputError(f"data_range: {data_range!r} is not a positive number; leave it out for the reference's maximum.")
    return float(data_range)


def _reach_of(mask: Mask | None, shape: tuple[int, ...]) -> tuple[slice, ...]:
    if mask is None:
        return (slice(None),) * len(shape)
    return tuple(slice(max(int(where.min()) - SSIM_REACH, 0), int(where.max()) + SSIM_REACH + 1) for where in np.nonzero(mask))

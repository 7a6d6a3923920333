"""Maximum-likelihood reconstruction by expectation maximisation, whole or over ordered subsets."""

from collections.abc import Callable
from math import gcd

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.operators import ForwardModel, GaussianBlur
from petbench.physics.scanner import Scanner, field_of_view

Array = NDArray[np.float32]
Callback = Callable[[int, Array], None]


def mlem(
    model: ForwardModel, counts: NDArray[np.generic], iterations: int, initial: Array | None = None, callback: Callback | None = None
) -> Array:
    """MLEM (Shepp and Vardi, IEEE TMI 1982): `osem` with one subset."""
    return osem(model, counts, iterations, 1, initial, callback)


def osem(
    model: ForwardModel,
    counts: NDArray[np.generic],
    iterations: int,
    subsets: int,
    initial: Array | None = None,
    callback: Callback | None = None,
) -> Array:
    """OSEM (Hudson and Larkin, IEEE TMI 1994) with an additive background.

    The sensitivity of every subset is computed once and kept: one image a subset.

    Args:
        model: The forward model, whose scale and background are those of `counts`.
        counts: Prompts, shape (radial bins, views, planes).
        iterations: Passes through all subsets.
        subsets: Subsets of interleaved views; one is MLEM.
        initial: Image to start from; None for the uniform one that has the measured number of trues.
        callback: Called with the iteration (from 1) and the estimate after each pass.

    Returns:
        Activity in Bq/ml, shape (x, y, z), zero where the sensitivity is.

    Raises:
        InputError: there are fewer views than subsets, or a number is below one.
    """
    views = counts.shape[1]
    if iterations < 1 or subsets < 1:
        raise InputError(f"reconstruction: {iterations} iterations of {subsets} subsets; both must be at least 1.")
    if subsets > views:
        raise InputError(f"reconstruction/subsets: {subsets} subsets of {views} views leave some empty; use at most {views}.")
    shares = [counts[:, index::subsets].astype(np.float32) for index in range(subsets)]
    models = [model.subset(index, subsets) for index in range(subsets)]
    sensitivities = [part.sensitivity(share.shape) for part, share in zip(models, shares, strict=True)]
    image = _uniform(counts, model.background, sensitivities) if initial is None else initial.astype(np.float32)
    for iteration in range(1, iterations + 1):
        for index in subset_order(subsets):
            expected = models[index].expected(image)
            ratio = np.divide(shares[index], expected, out=np.zeros_like(expected), where=expected > 0)
            sensitivity = sensitivities[index]
            update = models[index].adjoint(ratio)
            image = image * np.divide(update, sensitivity, out=np.zeros_like(update), where=sensitivity > 0)
        if callback is not None:
            callback(iteration, image)
    return image


def _uniform(counts: NDArray[np.generic], background: Array | None, sensitivities: list[Array]) -> Array:
    total = sum(float(part.sum(dtype=np.float64)) for part in sensitivities)
    prompts = float(counts.sum(dtype=np.float64))
    # Very few counts can fall below their background; a start of zero would stay zero, so some are always taken for trues.
    trues = max(prompts - (0.0 if background is None else float(background.sum(dtype=np.float64))), 0.01 * prompts)
    seen = np.any([part > 0 for part in sensitivities], axis=0)
    return np.asarray(seen * (trues / total), dtype=np.float32)


def subset_order(subsets: int) -> list[int]:
    """Order in which subsets are visited: each about two fifths of the way round from the last, so that neighbours are far apart."""
    step = next(s for s in range(max(1, round(0.382 * subsets)), subsets + 1) if gcd(s, subsets) == 1)
    return [index * step % subsets for index in range(subsets)]


def post_filter(image: Array, fwhm_mm: float, scanner: Scanner) -> Array:
    """Gaussian filter of an image of shape (x, y, z) inside the field of view.

    Normalised at the edges: a constant stays constant up to the first and last slice.
    """
    if fwhm_mm <= 0:
        return image
    blur = GaussianBlur(fwhm_mm, scanner.voxel_mm)
    inside = np.broadcast_to(field_of_view(scanner)[:, :, None], image.shape).astype(np.float32)
    weight = blur(inside)
    return np.divide(blur(image * inside), weight, out=np.zeros_like(image), where=(weight > 0) & (inside > 0))

"""Maximum-likelihood reconstruction by expectation maximisation, of sinograms and of list-mode data, whole or over ordered subsets."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from math import gcd
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.operators import ForwardModel, GaussianBlur, subset_of
from petbench.physics.scanner import Scanner, field_of_view

Array = NDArray[np.float32]
Callback = Callable[[int, Any, float], None]

LEAST_TRUES = 0.01  # of the prompts, that are taken for trues where a reconstruction starts


def mlem(
    model: ForwardModel,
    counts: Any,
    iterations: int,
    initial: Any = None,
    callback: Callback | None = None,
    at: Sequence[int] | None = None,
    progress: bool | None = False,
    sensitivities: Sequence[Any] | None = None,
) -> Any:
    """MLEM (Shepp and Vardi, IEEE TMI 1982): `osem` with one subset."""
    return osem(model, counts, iterations, 1, initial, callback, at, progress, sensitivities)


def osem(
    model: ForwardModel,
    counts: Any,
    iterations: int,
    subsets: int,
    initial: Any = None,
    callback: Callback | None = None,
    at: Sequence[int] | None = None,
    progress: bool | None = False,
    sensitivities: Sequence[Any] | None = None,
) -> Any:
    """OSEM (Hudson and Larkin, IEEE TMI 1994) of a sinogram, with an additive background.

    Runs on NumPy or, for a model moved there, on a torch device; no gradients are recorded.

    Args:
        model: The forward model, whose scale and background are those of `counts`.
        counts: Prompts, shape (radial bins, views, planes[, TOF bins]).
        iterations: Passes through all subsets.
        subsets: Subsets of interleaved views; one is MLEM.
        initial: Image to start from, shape (x, y, z) in Bq/ml; None for the uniform one that has the measured number of trues.
        callback: Called with the iteration (from 1), the estimate and its Poisson log-likelihood, the latter up to terms that no
            estimate changes.
        at: Iterations after which the callback is called; None for all.
        progress: Whether to show a progress bar on stderr; None shows it on a terminal only.
        sensitivities: `subset_sensitivities` of the model, to share between the doses of a subject; None works them out.

    Returns:
        Activity in Bq/ml, shape (x, y, z), zero where the sensitivity is, of the model's kind (NumPy or tensor).

    Raises:
        InputError: there are fewer views than subsets, a number is below one, or counts, background or the initial image are negative
            or of the wrong shape.
    """
    _check_numbers(iterations, subsets, int(model.projector.sinogram_shape[1]), "views")
    _check_data(model, counts)
    if sensitivities is not None and len(sensitivities) != subsets:
        raise InputError(f"reconstruction/subsets: {len(sensitivities)} sensitivities were given for {subsets} subsets; give one each.")
    with _without_gradients(model):
        known = subset_sensitivities(model, subsets) if sensitivities is None else sensitivities
        parts = [
            _Part(model.subset(index, subsets), model.array(subset_of(counts, index, subsets)), known[index], model.scale)
            for index in range(subsets)
        ]
        start = _start(model, initial, parts, 0.0 if model.background is None else _sum(model.background))
        return _expectation_maximisation(parts, start, iterations, callback, at, progress)


def listmode_osem(
    model: ForwardModel,
    sensitivity: Any,
    iterations: int,
    subsets: int,
    initial: Any = None,
    callback: Callback | None = None,
    at: Sequence[int] | None = None,
    progress: bool | None = False,
) -> Any:
    """OSEM of list-mode data (Parra and Barrett, IEEE TMI 1998): every event is a bin of its own that holds one count.

    Args:
        model: The forward model of the events: its projector is a list-mode one, factors and background have shape (events,).
        sensitivity: Expected counts per Bq/ml of every voxel over all lines, measured or not, shape (x, y, z): the `sensitivity` of
            the sinogram model (without TOF) of the same factors, scale and image operators.
        iterations: Passes through all events.
        subsets: Subsets of every so many-th event; one is MLEM.
        initial: Image to start from, shape (x, y, z) in Bq/ml; None for the uniform one that has as many trues as there are events.
        callback: As for `osem`.
        at: As for `osem`.
        progress: As for `osem`.

    Returns:
        Activity in Bq/ml, shape (x, y, z), zero where the sensitivity is, of the model's kind (NumPy or tensor).

    Raises:
        InputError: there are fewer events than subsets, a number is below one, or sensitivity, background or the initial image are
            negative or of the wrong shape.
    """
    events = int(model.projector.sinogram_shape[0])
    _check_numbers(iterations, subsets, events, "events")
    _check_data(model, np.broadcast_to(np.float32(1), (events,)))
    _check_image(model, sensitivity, "reconstruction/sensitivity")
    with _without_gradients(model):
        sensitivity = model.array(sensitivity)
        ones = model.array(np.ones(events, dtype=np.float32))
        parts = [
            _Part(model.subset(index, subsets), subset_of(ones, index, subsets), sensitivity, 1.0 / subsets) for index in range(subsets)
        ]
        # The background of bins without events is not known; a start with too many trues does no harm.
        start = _start(model, initial, parts, background=0.0)
        return _expectation_maximisation(parts, start, iterations, callback, at, progress)


def subset_sensitivities(model: ForwardModel, subsets: int) -> list[Any]:
    """Sensitivity of every subset at a count scale of one: shared by the doses of a subject, whose models differ in scale and background.

    Returns:
        One image of shape (x, y, z) a subset, of the model's kind.
    """
    with _without_gradients(model):
        unscaled = replace(model, scale=1.0)
        return [unscaled.subset(index, subsets).sensitivity() for index in range(subsets)]


@dataclass(frozen=True, eq=False)
class _Part:
    """One subset: its model and counts; its sensitivity is `share * sensitivity`."""

    model: ForwardModel
    counts: Any
    sensitivity: Any
    share: float


def _expectation_maximisation(
    parts: list[_Part], image: Any, iterations: int, callback: Callback | None, at: Sequence[int] | None, progress: bool | None
) -> Any:
    """x <- x / s_i * A_i^T (y_i / (A_i x + b_i)) over the subsets i, `iterations` times."""
    for iteration in _counted(iterations, progress):
        for index in subset_order(len(parts)):
            part = parts[index]
            image = em_step(part.model, part.counts, part.sensitivity, image, part.share)
        if callback is not None and (at is None or iteration in at):
            callback(iteration, image, _log_likelihood(parts, image))
    return image


def em_step(model: ForwardModel, counts: Any, sensitivity: Any, image: Any, share: float = 1.0) -> Any:
    """One step of expectation maximisation: x / s * A^T (y / (A x + b)), differentiable in x where that is a tensor.

    What the model does not see stays as it is; let it be zero where nothing ever sees it.

    Args:
        model: The forward model of some views or events.
        counts: What they counted.
        sensitivity: Expected counts of each voxel, over `share`.
        image: The estimate x.
        share: What the sensitivity is multiplied by.
    """
    update = model.adjoint(_quotient(counts, model.expected(image), otherwise=0.0))
    image = image * _quotient(update, sensitivity, otherwise=share)
    image /= share
    return image


def _quotient(numerator: Any, denominator: Any, otherwise: float) -> Any:
    """Element-wise quotient, another value where the denominator is not positive; its gradient is finite there, too."""
    xp = array_namespace(numerator)
    positive = denominator > 0
    return xp.where(positive, numerator / xp.where(positive, denominator, 1.0), otherwise)


def _log_likelihood(parts: list[_Part], image: Any) -> float:
    """Sum of y log(ybar) - ybar over all lines, seen by an event or not, without the background's part of ybar."""
    total = 0.0
    for part in parts:
        expected = part.model.expected(image)
        xp = array_namespace(expected)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = xp.where(part.counts > 0, part.counts * xp.log(expected), 0.0)
        total += _sum(terms) - part.share * _sum(part.sensitivity * image)
    return total


def _start(model: ForwardModel, initial: Any, parts: list[_Part], background: float) -> Any:
    """The initial image, confined to what the scanner sees, or the uniform one of as many trues as counts beyond the background."""
    seen = parts[0].sensitivity > 0
    for part in parts[1:]:
        seen = seen | (part.sensitivity > 0)
    if initial is not None:
        _check_image(model, initial, "reconstruction/initial")
        return model.array(initial) * seen
    prompts = sum(_sum(part.counts) for part in parts)
    # Very few counts can fall below their background; a start of zero would stay zero, so some are always taken for trues.
    trues = max(prompts - background, LEAST_TRUES * prompts)
    total = sum(part.share * _sum(part.sensitivity) for part in parts)
    return model.array(seen) * (trues / total if total > 0 else 0.0)


def _sum(array: Any) -> float:
    xp = array_namespace(array)
    return float(xp.sum(array, dtype=xp.float64))


def _without_gradients(model: ForwardModel) -> AbstractContextManager[None]:
    if model.device is None:
        return nullcontext()
    import torch

    return torch.no_grad()


def _counted(iterations: int, progress: bool | None) -> Iterable[int]:
    counted = range(1, iterations + 1)
    if progress is False:
        return counted
    from tqdm import tqdm

    return tqdm(counted, desc="reconstruction", unit="iteration", disable=None if progress is None else False)


def _check_numbers(iterations: int, subsets: int, available: int, what: str) -> None:
    if iterations < 1 or subsets < 1:
        raise InputError(f"reconstruction: {iterations} iterations of {subsets} subsets; both must be at least 1.")
    if subsets > available:
        raise InputError(f"reconstruction/subsets: {subsets} subsets of {available} {what} leave some empty; use at most {available}.")


def _check_data(model: ForwardModel, counts: Any) -> None:
    shape = tuple(model.projector.sinogram_shape)
    for name, data in (("counts", counts), ("background", model.background)):
        if data is None:
            continue
        if tuple(data.shape) != shape:
            raise InputError(f"reconstruction/{name}: shape {tuple(data.shape)} is not that of the data, {shape}; give one value a bin.")
        if not _is_usable(data):
            raise InputError(f"reconstruction/{name}: holds values that are negative or not finite; give counts, not corrected data.")
    if not (model.scale > 0 and np.isfinite(model.scale)):
        raise InputError(f"reconstruction/scale: {model.scale} is not positive; give the counts per Bq/ml cm.")
    if model.factors is None:
        return
    found = tuple(model.factors.shape)
    if found not in (shape, shape[:3]):
        raise InputError(f"reconstruction/factors: shape {found} is not that of the data, {shape[:3]}; give one a line.")
    if not _is_usable(model.factors):
        raise InputError("reconstruction/factors: hold values that are negative or not finite; give attenuation factors, not mu.")


def _check_image(model: ForwardModel, image: Any, name: str) -> None:
    shape = tuple(model.projector.scanner.image_shape)
    if tuple(image.shape) != shape:
        raise InputError(f"{name}: shape {tuple(image.shape)} is not that of the image, {shape}; resample it.")
    if not _is_usable(image):
        raise InputError(f"{name}: holds values that are negative or not finite; set them to zero first.")


def _is_usable(array: Any) -> bool:
    return bool((array >= 0).all() and array_namespace(array).isfinite(array).all())


def subset_order(subsets: int) -> list[int]:
    """Order in which subsets are visited: each about two fifths of the way round from the last, so that neighbours are far apart."""
    step = next(s for s in range(max(1, round(0.382 * subsets)), subsets + 1) if gcd(s, subsets) == 1)
    return [index * step % subsets for index in range(subsets)]


def post_filter(image: Array, fwhm_mm: float, scanner: Scanner, threads: int | None = None) -> Array:
    """Gaussian filter of an image of shape (x, y, z) inside the field of view.

    Normalised at the edges: a constant stays constant up to the first and last slice.
    """
    if fwhm_mm <= 0:
        return image
    blur = GaussianBlur(fwhm_mm, scanner.voxel_mm, threads)
    inside = np.broadcast_to(field_of_view(scanner)[:, :, None], image.shape).astype(np.float32)
    weight = blur(inside)
    return np.asarray(_quotient(blur(image * inside), weight * inside, otherwise=0.0), dtype=np.float32)

"""Penalised-likelihood reconstruction, of sinograms and of list-mode data: BSREM and preconditioned SVRG.

Both climb Phi(x) = log-likelihood(x) - beta R(x) by steps of one subset, x <- max(x + alpha D g, 0), g an estimate of the gradient and
D the diagonal preconditioner of expectation maximisation with the penalty's curvature. In BSREM (De Pierro and Yamagishi, IEEE TMI 20
(2001) 280; Ahn and Fessler, IEEE TMI 22 (2003) 613) g is the subset's gradient times their number, and alpha falls towards zero. In SVRG
(Johnson and Zhang, NIPS 2013; Twyman et al., IEEE TMI 42 (2023) 29) g is that less the same at an anchor image, plus the whole gradient
there: its noise goes with the distance to the anchor, so that steps need not fall.
"""

from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace

from petbench.errors import InputError
from petbench.physics.operators import ForwardModel
from petbench.physics.penalties import RelativeDifference
from petbench.physics.reconstruction import (
    Callback,
    Part,
    check_numbers,
    counted,
    expectation_maximisation,
    listmode_parts,
    log_likelihood,
    quotient,
    sinogram_parts,
    subset_order,
    without_gradients,
)

ALGORITHMS = ("bsrem", "svrg")
# Below this share of the start's mean a voxel's step is as if it held that much: one at zero could not leave it.
LEAST = 1e-3


@dataclass(frozen=True)
class Penalised:
    """How a penalised reconstruction is done.

    Attributes:
        strength: beta over the activity of the uniform image with as many trues as there are. As kappa grows with the data, it is a
            strength beside them, whatever dose and unit.
        algorithm: `bsrem` or `svrg`.
        relaxation: alpha is 1 / (1 + relaxation (iteration - 1)), iterations counted in passes through the data.
        refresh: Iterations from one anchor of `svrg` to the next; each anchor takes a pass through the data of its own.
        warm: Iterations of expectation maximisation before, over the same subsets.
        kappa: Whether voxels weigh as much as the data tell of them, kappa^2 = A' diag(y / ybar^2) A 1 after `warm`; else all weigh its
            root mean square.
        epsilon: Of the penalty, over the activity of the uniform image.

    Raises:
        InputError: the algorithm is unknown, or a number is out of range.
    """

    strength: float = 0.1
    algorithm: str = "svrg"
    relaxation: float = 0.02
    refresh: int = 2
    warm: int = 1
    kappa: bool = True
    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise InputError(f"penalty/algorithm: {self.algorithm!r} is unknown; choose one of {', '.join(ALGORITHMS)}.")
        if min(self.strength, self.relaxation, self.warm) < 0 or self.refresh < 1 or self.epsilon <= 0:
            raise InputError("penalty: strength, relaxation and warm must not be negative, refresh 1 or more, epsilon above zero.")


def penalised(
    model: ForwardModel,
    counts: Any,
    penalty: RelativeDifference,
    settings: Penalised,
    iterations: int,
    subsets: int,
    initial: Any = None,
    callback: Callback | None = None,
    at: Any = None,
    progress: bool | None = False,
) -> Any:
    """Reconstruct a sinogram; arguments and result as for `reconstruction.osem`, the callback's number being the objective.

    Args:
        model: The forward model, positron range and resolution among its image operators.
        counts: Prompts.
        penalty: Its epsilon and kappa are replaced as the settings say.
        settings: Strength and algorithm.
        iterations: Passes through all subsets, those of `settings.warm` not counted.
        subsets: Of interleaved views.
        initial: As for `osem`.
        callback: As for `osem`.
        at: As for `osem`.
        progress: As for `osem`.

    Raises:
        InputError: as `osem`.
    """
    check_numbers(iterations, subsets, int(model.projector.sinogram_shape[1]), "views")
    with without_gradients(model):
        parts, start = sinogram_parts(model, counts, subsets, initial)
        return _climb(model, parts, start, penalty, settings, iterations, callback, at, progress)


def listmode_penalised(
    model: ForwardModel,
    sensitivity: Any,
    penalty: RelativeDifference,
    settings: Penalised,
    iterations: int,
    subsets: int,
    initial: Any = None,
    callback: Callback | None = None,
    at: Any = None,
    progress: bool | None = False,
) -> Any:
    """Reconstruct list-mode data; arguments and result as for `reconstruction.listmode_osem` and `penalised`.

    Raises:
        InputError: as `listmode_osem`.
    """
    check_numbers(iterations, subsets, int(model.projector.sinogram_shape[0]), "events")
    with without_gradients(model):
        parts, start = listmode_parts(model, sensitivity, subsets, initial)
        return _climb(model, parts, start, penalty, settings, iterations, callback, at, progress)


def _climb(
    model: ForwardModel,
    parts: list[Part],
    start: Any,
    penalty: RelativeDifference,
    settings: Penalised,
    iterations: int,
    callback: Callback | None,
    at: Any,
    progress: bool | None,
) -> Any:
    xp = array_namespace(start)
    seen = start > 0
    reference = float(xp.sum(start, dtype=xp.float64)) / max(1, int(xp.sum(seen)))
    least = LEAST * reference
    sensitivity = sum(part.share * part.sensitivity for part in parts)
    image = expectation_maximisation(parts, start, settings.warm, None, None, False) if settings.warm else start
    told = information(parts, image)
    if not settings.kappa:
        told = seen * (float(xp.sum(told**2, dtype=xp.float64)) / max(1, int(xp.sum(seen)))) ** 0.5
    rough = penalty.of(settings.epsilon * reference, model.array(told))
    beta, number = settings.strength * reference, len(parts)

    def gradient(part: Part, place: Any) -> Any:
        """A subset's, its share of the penalty left out."""
        return part.model.adjoint(quotient(part.counts, part.model.expected(place), 0.0)) - part.share * part.sensitivity

    anchor, whole, own = image, None, list[Any]()
    for iteration in counted(iterations, progress):
        alpha = 1 / (1 + settings.relaxation * (iteration - 1))
        if settings.algorithm == "svrg" and (iteration - 1) % settings.refresh == 0:
            anchor = image
            own = [gradient(part, anchor) for part in parts]
            whole = sum(own)
        for index in subset_order(number):
            _, slope, curvature = rough(image)
            place = image if whole is None else anchor
            held = xp.where(place > least, place, least) * seen
            climb = number * gradient(parts[index], image)
            if whole is not None:
                climb = climb - number * own[index] + whole
            step = quotient(held, sensitivity + beta * held * curvature, 0.0)
            image = image + alpha * step * (climb - beta * slope)
            image = xp.where(image > 0, image, 0.0)
        if callback is not None and (at is None or iteration in at):
            callback(iteration, image, log_likelihood(parts, image) - beta * rough(image)[0])
    return image


def information(parts: list[Part], image: Any) -> Any:
    """What the data tell of each voxel, kappa = sqrt(A' diag(y / ybar^2) A 1), zero where the image is.

    Args:
        parts: The subsets.
        image: Where ybar is taken, (x, y, z).
    """
    xp = array_namespace(image)
    ones, squared = xp.ones_like(image), xp.zeros_like(image)
    for part in parts:
        expected = part.model.expected(image)
        squared = squared + part.model.adjoint(quotient(part.counts * part.model(ones), expected**2, 0.0))
    return xp.where(image > 0, squared, 0.0) ** 0.5

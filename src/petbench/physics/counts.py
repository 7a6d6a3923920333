"""Counting statistics: how many events a scan is expected to record, and the noise of recording them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.doses import check_fraction
from petbench.physics.operators import FWHM_PER_SIGMA
from petbench.physics.planes import Planes, planes_of
from petbench.physics.scanner import Scanner

Array = NDArray[np.float32]

MOST_A_BIN = 4.29e9  # expected counts that 32 bits hold, many standard deviations below their end
FAINTEST_PLANE = 0.05  # of the fullest plane's activity: planes that see less are not scaled up to it any further


@dataclass(frozen=True, eq=False)
class Expectation:
    """Expected counts of a scan; arrays have the shape (radial bins, views, planes) and with time of flight a fourth axis of its bins.

    Attributes:
        scale: Counts per Bq/ml cm that turn attenuated line integrals into trues.
        trues: Expected trues.
        background: Expected randoms and scatter.
        total: Expected `trues`, `scatter` and `randoms` of the whole scan.
    """

    scale: float
    trues: Array
    background: Array
    total: dict[str, float]

    @property
    def prompts(self) -> Array:
        """Expected prompts: trues, randoms and scatter."""
        return self.trues + self.background


def expectation(
    line_integrals: Array,
    scanner: Scanner,
    counts: float,
    randoms_fraction: float,
    scatter_fraction: float,
    scatter_fwhm_mm: float = 150.0,
    geometry: str = "direct",
    scope: str = "volume",
    fraction: float = 1.0,
    randoms_ratio: float = 1.0,
) -> Expectation:
    """Scale attenuated line integrals to a scan of `counts` prompts with its randoms and scatter.

    Randoms are the same in every bin, in proportion to the ring pairs of its plane in oblique geometry, and in every time-of-flight
    bin. Scatter is no Monte Carlo: it is the trues smoothed heavily along radial bins and along the planes of a segment, which has the
    breadth and the absence of detail of real scatter, not its exact shape.

    The counts and both fractions describe the standard dose; `fraction` and `randoms_ratio` say how far a dose is from it.

    Args:
        line_integrals: Attenuated line integrals in Bq/ml cm, shape (radial bins, views, planes) or with time-of-flight bins as fourth.
        scanner: Their geometry.
        counts: Expected prompts of the standard dose.
        randoms_fraction: Randoms as a fraction of the prompts.
        scatter_fraction: Scatter as a fraction of the trues.
        scatter_fwhm_mm: Width of the smoothing.
        geometry: `direct` or `oblique`, which says what the planes are.
        scope: `volume`: `counts` and the scatter fraction are those of the whole scan; `slice`: those of each plane, whose line
            integrals `plane_weights` has brought to one level.
        fraction: Trues and scatter over those of the standard dose.
        randoms_ratio: Randoms over those of the standard dose.

    Raises:
        InputError: a number is out of range, or no activity is seen.
    """
    if not 0 < counts < np.inf:
        raise InputError(f"simulation/counts: {counts} is not positive; give the prompts of the standard dose.")
    if not 0 <= randoms_fraction < 1:
        raise InputError(f"simulation/randoms_fraction: {randoms_fraction} is outside [0, 1); it is a fraction of the prompts.")
    if not 0 <= scatter_fraction < np.inf:
        raise InputError(f"simulation/scatter_fraction: {scatter_fraction} is negative or not finite; it is a fraction of the trues.")
    planes, seen = planes_of(scanner, geometry), _seen(line_integrals)
    scans, level = (planes.size, seen.max()) if scope == "slice" else (1, seen.sum())
    scale = fraction * counts * (1.0 - randoms_fraction) / (1.0 + scatter_fraction) / level
    trues = line_integrals * np.float32(scale)
    background = np.zeros_like(trues)
    if scatter_fraction > 0:
        for view in range(trues.shape[1]):
            background[:, view] = _smoothed(trues[:, view], scanner, scatter_fwhm_mm, planes)
        smoothed, wanted = _by_plane(background), scatter_fraction * scale * seen
        if scope == "volume":
            smoothed, wanted = smoothed.sum(keepdims=True), wanted.sum(keepdims=True)
        ratio = np.divide(wanted, smoothed, out=np.zeros_like(smoothed), where=smoothed > 0)
        background *= _along_planes(ratio, background)
    randoms = _randoms_a_bin(trues.shape, planes) * scans * counts * randoms_fraction * randoms_ratio
    scatter_total = float(background.sum(dtype=np.float64))
    background += _along_planes(randoms, background)
    total = {"trues": float(scale * seen.sum()), "scatter": scatter_total, "randoms": float(randoms.sum() * trues[:, :, :1].size)}
    return Expectation(float(scale), trues, background, total)


def plane_weights(line_integrals: Array) -> NDArray[np.float64]:
    """Factors a plane that bring the planes' line integrals to the level of the fullest, shape (planes,).

    A plane that sees less than `FAINTEST_PLANE` of the fullest keeps the factor of one that sees just that much: the few counts of
    a blurred edge or of an empty plane would be all noise.

    Raises:
        InputError: no activity is seen.
    """
    seen = _seen(line_integrals)
    return np.asarray(seen.max() / np.maximum(seen, FAINTEST_PLANE * seen.max()))


def _seen(line_integrals: Array) -> NDArray[np.float64]:
    """Activity seen by every plane, which must not be none at all."""
    seen = _by_plane(line_integrals)
    if not seen.sum() > 0:
        raise InputError("activity: the scanner sees none of it; check that it lies inside the field of view.")
    return seen


def _by_plane(sinogram: Array) -> NDArray[np.float64]:
    """Sum of every plane, over its time-of-flight bins too."""
    axes = (0, 1) if sinogram.ndim == 3 else (0, 1, 3)
    return np.asarray(sinogram.sum(axis=axes, dtype=np.float64))


def _along_planes(values: NDArray[np.float64], like: Array) -> Array:
    """Values of each plane, or one for all, as they broadcast against a sinogram."""
    single = values.astype(np.float32)
    return single if like.ndim == 3 else single[:, None]


def _randoms_a_bin(shape: tuple[int, ...], planes: Planes) -> NDArray[np.float64]:
    """Share of all randoms in one bin of each plane, shape (planes,)."""
    pairs = planes.ring_pairs.astype(np.float64)
    return np.asarray(pairs / pairs.mean() / np.prod(shape))


def _smoothed(view: Array, scanner: Scanner, fwhm_mm: float, planes: Planes) -> Array:
    """Smooth one view, (radial bins, planes) or with time-of-flight bins as third, along radial bins and along each segment's planes."""
    smooth = _running_means(view, fwhm_mm / scanner.radial_spacing_mm, axis=0)
    for segment in planes.segments:
        own = slice(segment.first_plane, segment.first_plane + segment.planes)
        smooth[:, own] = _running_means(smooth[:, own], fwhm_mm / (segment.stride * scanner.plane_spacing_mm), axis=1)
    return np.maximum(smooth, 0.0)  # the running sum leaves rounding errors below zero where there is nothing


def _running_means(array: Array, fwhm: float, axis: int) -> Array:
    """Three running means, near enough a Gaussian of `fwhm` samples and as fast for any width."""
    from scipy import ndimage

    variance = (fwhm / FWHM_PER_SIGMA) ** 2
    width = 2 * round((np.sqrt(4.0 * variance + 1.0) - 1.0) / 2.0) + 1  # odd; three of them have the variance of the Gaussian
    for _ in range(3):
        array = ndimage.uniform_filter1d(array, width, axis=axis, mode="constant", cval=0.0)
    return array


def poisson(expected: NDArray[np.floating], seed: int, background: NDArray[np.floating] | None = None) -> NDArray[np.uint32]:
    """Draw Poisson counts around an expectation, to which `background` is added where it is given.

    Sinograms are drawn a view at a time, so that no array of them is made but the result.

    Raises:
        InputError: a bin expects more counts than it holds.
    """
    rng = np.random.default_rng(seed)
    counts = np.empty_like(expected, dtype=np.uint32)
    for part in _views(expected):
        mean = expected[part] if background is None else expected[part] + background[part]
        if not mean.max(initial=0.0) <= MOST_A_BIN:
            raise InputError(
                f"simulation/counts: a bin expects {mean.max():.3g} counts and holds {MOST_A_BIN:g} at most; lower the counts."
            )
        counts[part] = rng.poisson(mean)
    return counts


def thin(counts: NDArray[np.integer], fraction: float, seed: int) -> NDArray[np.uint32]:
    """Keep every count with probability `fraction`: exact for a shorter scan or resampled list-mode data.

    Raises:
        InputError: the fraction is outside (0, 1].
    """
    check_fraction(fraction)
    rng = np.random.default_rng(seed)
    kept = np.empty_like(counts, dtype=np.uint32)
    for part in _views(counts):
        kept[part] = rng.binomial(counts[part], fraction)
    return kept


def _views(array: NDArray[np.generic]) -> Iterator[Any]:
    """Index of each view of a sinogram, or of all of another array."""
    if array.ndim < 3:
        yield ...
        return
    for view in range(array.shape[1]):
        yield slice(None), view

"""Counting statistics: how many events a scan is expected to record, and the noise of recording them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.operators import FWHM_PER_SIGMA
from petbench.physics.scanner import Scanner

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Expectation:
    """Expected counts of the standard dose.

    Attributes:
        scale: Counts per Bq/ml cm that turn attenuated line integrals into trues.
        trues: Expected trues, shape (radial bins, views, planes).
        background: Expected randoms and scatter, same shape.
    """

    scale: float
    trues: Array
    background: Array

    @property
    def prompts(self) -> Array:
        """Expected prompts: trues, randoms and scatter."""
        return self.trues + self.background


def expectation(
    line_integrals: Array, scanner: Scanner, counts: float, randoms_fraction: float, scatter_fraction: float, scatter_fwhm_mm: float = 150.0
) -> Expectation:
    """Scale attenuated line integrals to a scan of `counts` prompts with its randoms and scatter.

    Randoms are the same in every bin. Scatter is no Monte Carlo: it is the trues smoothed heavily along the radial and axial
    directions, which has the breadth and the absence of detail of real scatter, not its exact shape.

    Args:
        line_integrals: Attenuated line integrals in Bq/ml cm, shape (radial bins, views, planes).
        scanner: Their geometry.
        counts: Expected prompts of the whole scan.
        randoms_fraction: Randoms as a fraction of the prompts.
        scatter_fraction: Scatter as a fraction of the trues.
        scatter_fwhm_mm: Width of the smoothing.

    Raises:
        InputError: a number is out of range, or no activity is seen.
    """
    if counts <= 0:
        raise InputError(f"simulation/counts: {counts} is not positive; give the prompts of the standard dose.")
    if not 0 <= randoms_fraction < 1:
        raise InputError(f"simulation/randoms_fraction: {randoms_fraction} is outside [0, 1); it is a fraction of the prompts.")
    if scatter_fraction < 0:
        raise InputError(f"simulation/scatter_fraction: {scatter_fraction} is negative; it is a fraction of the trues.")
    seen = float(line_integrals.sum(dtype=np.float64))
    if seen <= 0:
        raise InputError("activity: the scanner sees none of it; check that it lies inside the field of view.")
    scale = counts * (1.0 - randoms_fraction) / (1.0 + scatter_fraction) / seen
    trues = line_integrals * np.float32(scale)
    background = np.full_like(trues, counts * randoms_fraction / trues.size)
    if scatter_fraction > 0:
        scatter = _smoothed(trues, scanner, scatter_fwhm_mm)
        background += scatter * np.float32(scatter_fraction * scale * seen / scatter.sum(dtype=np.float64))
    return Expectation(scale, trues, background)


def _smoothed(sinogram: Array, scanner: Scanner, fwhm_mm: float) -> Array:
    """Smooth along radial bins and planes by three running means, near enough a Gaussian and as fast for any width."""
    from scipy import ndimage

    for axis, spacing in ((0, scanner.radial_spacing_mm), (2, scanner.plane_spacing_mm)):
        sigma = fwhm_mm / FWHM_PER_SIGMA / spacing
        width = 2 * round((np.sqrt(4.0 * sigma**2 + 1.0) - 1.0) / 2.0) + 1  # odd; three of them have the variance of the Gaussian
        for _ in range(3):
            sinogram = ndimage.uniform_filter1d(sinogram, width, axis=axis, mode="constant", cval=0.0)
    return np.maximum(sinogram, 0.0)  # the running sum leaves rounding errors below zero where there is nothing


def poisson(expected: NDArray[np.floating], seed: int) -> NDArray[np.uint32]:
    """Draw Poisson counts around an expectation."""
    return np.random.default_rng(seed).poisson(expected).astype(np.uint32)


def thin(counts: NDArray[np.integer], fraction: float, seed: int) -> NDArray[np.uint32]:
    """Keep every count with probability `fraction`: exact for a shorter scan or resampled list-mode data.

    Raises:
        InputError: the fraction is outside (0, 1].
    """
    check_fraction(fraction)
    return np.random.default_rng(seed).binomial(counts, fraction).astype(np.uint32)


def check_fraction(fraction: float) -> None:
    """Check the share of the standard dose's counts.

    Raises:
        InputError: it is outside (0, 1].
    """
    if not 0 < fraction <= 1:
        raise InputError(f"dose/fraction: {fraction} is outside (0, 1]; give the share of the standard dose's counts.")


def log_likelihood(counts: NDArray[np.integer], expected: NDArray[np.floating]) -> float:
    """Poisson log-likelihood of counts, without the term that depends on the counts alone."""
    seen = counts > 0
    with np.errstate(divide="ignore"):
        logs = np.log(expected[seen], dtype=np.float64)
    return float((counts[seen] * logs).sum() - expected.sum(dtype=np.float64))

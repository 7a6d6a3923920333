"""How alike two layers represent the same inputs: linear centred kernel alignment (Kornblith et al. 2019), as in M2Diff's figure 8."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError

MIN_SAMPLES = 4
"""The unbiased estimator divides by n (n - 3)."""


def unbiased_hsic(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Unbiased Hilbert-Schmidt independence criterion of two kernel matrices (Song et al. 2012, eq. 5).

    Args:
        first: Kernel matrix (n, n) of n samples.
        second: Another of the same samples.

    Raises:
        InputError: the matrices are not square and equal in shape, or n < 4.
    """
    n = len(first)
    if first.shape != (n, n) or second.shape != (n, n) or n < MIN_SAMPLES:
        raise InputError(
            f"similarity: kernels {first.shape} and {second.shape} are not of the same {MIN_SAMPLES} or more samples; take more."
        )
    k, m = first - np.diag(np.diag(first)), second - np.diag(np.diag(second))
    rows = k.sum(axis=0) @ m.sum(axis=1)
    return float((np.sum(k * m.T) + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * rows / (n - 2)) / (n * (n - 3)))


def linear_cka(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Linear CKA of two layers with the unbiased estimator: 1 for equal up to rotation and scale, about 0 for independent.

    Args:
        first: Activations (samples, features), one row a sample, features flattened.
        second: Activations of another layer for the same samples; its number of features may differ.

    Returns:
        The alignment; NaN if a layer does not vary over the samples. The biased estimator would come near 1 for any two layers with
        more features than samples.

    Raises:
        InputError: the samples differ in number or are fewer than 4.
    """
    kernels = []
    for activations in (first, second):
        rows = np.asarray(activations, dtype=np.float64).reshape(len(activations), -1)
        rows = rows - rows.mean(axis=0)
        kernels.append(rows @ rows.T)
    own = [unbiased_hsic(kernel, kernel) for kernel in kernels]
    if min(own) <= 0:
        return math.nan
    return unbiased_hsic(*kernels) / float(np.sqrt(own[0] * own[1]))


def cka_matrix(first: Sequence[NDArray[Any]], second: Sequence[NDArray[Any]]) -> NDArray[np.float64]:
    """CKA of every layer of one branch (rows) with every layer of another (columns)."""
    return np.array([[linear_cka(one, other) for other in second] for one in first])

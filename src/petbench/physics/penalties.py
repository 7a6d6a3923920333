"""Penalties of roughness for penalised-likelihood reconstruction: relative differences, all alike or where an anatomical image has no edge.

R(x) = sum over pairs of neighbours of w kappa_j kappa_k (x_j - x_k)^2 / (x_j + x_k + gamma |x_j - x_k| + epsilon)
(Nuyts et al., IEEE TNS 49 (2002) 56, smoothed by epsilon as in PETRIC), over the 26 neighbours of a voxel, w the voxel's edge over
their distance. Bowsher's weights (IEEE NSS 2004) keep of each voxel's neighbours the most similar ones in an anatomical image.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError

Array = NDArray[np.float32]

# Half of a voxel's 26 neighbours; the others are those whose neighbour it is.
OFFSETS = np.array([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) > (0, 0, 0)], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class RelativeDifference:
    """Relative differences of neighbours; made by `relative_difference` or `bowsher`.

    Attributes:
        strengths: Weight w of each of `OFFSETS`, (13,).
        share: Halves of it that a voxel and its neighbour take, (13, x, y, z) uint8; None where all take both.
        gamma: Edge preservation; 0 for none, 2 is usual.
        epsilon: In the units of the image.
        kappa: Weight of each voxel, (x, y, z), of the image's kind; None for ones.
        threads: Threads to run on, None for numba's own number.
    """

    strengths: Array
    share: NDArray[np.uint8] | None
    gamma: float
    epsilon: float
    kappa: Any = None
    threads: int | None = None

    def __call__(self, image: Any) -> tuple[float, Any, Any]:
        """Value, gradient and diagonal of the second derivative at an image (x, y, z) that is not negative; NumPy or torch."""
        if isinstance(image, np.ndarray):
            return self._of_array(image)
        return self._of_tensor(image)

    def of(self, epsilon: float, kappa: Any) -> "RelativeDifference":
        """The same penalty with another epsilon and other weights of voxels."""
        return replace(self, epsilon=epsilon, kappa=kappa)

    def _of_array(self, image: Array) -> tuple[float, Array, Array]:
        from petbench.physics.kernels_penalty import relative_difference as compiled
        from petbench.physics.projector import numba_threads

        image = np.ascontiguousarray(image, dtype=np.float32)
        kappa = np.ones_like(image) if self.kappa is None else np.ascontiguousarray(self.kappa, dtype=np.float32)
        gradient, curvature = np.empty_like(image), np.empty_like(image)
        share = np.zeros((len(OFFSETS), 0, 0, 0), dtype=np.uint8) if self.share is None else self.share
        with numba_threads(self.threads):
            value = compiled(
                image, kappa, OFFSETS, self.strengths, share, np.float32(self.gamma), np.float32(self.epsilon), gradient, curvature
            )
        return float(value), gradient, curvature

    def _of_tensor(self, image: Any) -> tuple[float, Any, Any]:
        import torch

        kappa = torch.ones_like(image) if self.kappa is None else self.kappa
        gradient, curvature, value = torch.zeros_like(image), torch.zeros_like(image), 0.0
        for number, offset in enumerate(OFFSETS.tolist()):
            here = tuple(slice(max(0, -step), size - max(0, step)) for step, size in zip(offset, image.shape, strict=True))
            there = tuple(slice(max(0, step), size - max(0, -step)) for step, size in zip(offset, image.shape, strict=True))
            weight = float(self.strengths[number]) * kappa[here] * kappa[there]
            if self.share is not None:
                weight = weight * (0.5 * torch.from_numpy(self.share[number][here]).to(image.device))
            a, b = image[here], image[there]
            difference = a - b
            distance = difference.abs()
            over = 1 / (a + b + self.gamma * distance + self.epsilon)
            slope = weight * difference * over
            value += float((slope * difference).sum(dtype=torch.float64))
            steep = self.gamma * distance + 2 * self.epsilon
            gradient[here] += slope * over * (a + 3 * b + steep)
            gradient[there] -= slope * over * (b + 3 * a + steep)
            curvature[here] += 2 * weight * over**3 * (2 * b + self.epsilon) ** 2
            curvature[there] += 2 * weight * over**3 * (2 * a + self.epsilon) ** 2
        return value, gradient, curvature


def check_numbers(gamma: float, epsilon: float, similar: int = 1) -> None:
    """Check what `relative_difference` and `bowsher` are given.

    Raises:
        InputError: a number is out of range.
    """
    if gamma < 0 or epsilon <= 0:
        raise InputError(f"penalty: gamma {gamma:g} and epsilon {epsilon:g}; gamma must not be negative and epsilon above zero.")
    if not 1 <= similar <= 2 * len(OFFSETS):
        raise InputError(f"penalty/similar: {similar} of {2 * len(OFFSETS)} neighbours; choose 1 to {2 * len(OFFSETS)}.")


def relative_difference(
    voxel_mm: tuple[float, float, float], gamma: float = 2.0, epsilon: float = 1e-3, threads: int | None = None
) -> RelativeDifference:
    """The penalty of all pairs of neighbours.

    Args:
        voxel_mm: Voxel edges; a pair weighs the first of them over its distance.
        gamma: Edge preservation, not negative.
        epsilon: In the units of the image, above zero.
        threads: Threads to run on, None for numba's own number.

    Raises:
        InputError: gamma or epsilon is out of range.
    """
    check_numbers(gamma, epsilon)
    distances = np.linalg.norm(OFFSETS * np.asarray(voxel_mm), axis=1)
    return RelativeDifference((voxel_mm[0] / distances).astype(np.float32), None, gamma, epsilon, threads=threads)


def bowsher(
    anatomy: NDArray[np.floating],
    voxel_mm: tuple[float, float, float],
    similar: int = 9,
    gamma: float = 2.0,
    epsilon: float = 1e-3,
    threads: int | None = None,
) -> RelativeDifference:
    """The penalty of pairs that are alike in an anatomical image.

    Args:
        anatomy: An image of the same grid, such as a registered MR, (x, y, z).
        voxel_mm: As for `relative_difference`.
        similar: Neighbours of 26 that a voxel keeps; a pair that one of the two keeps counts half.
        gamma: As for `relative_difference`.
        epsilon: As for `relative_difference`.
        threads: Threads to run on, None for numba's own number.

    Raises:
        InputError: a number is out of range, or the anatomical image is not finite.
    """
    from petbench.physics.kernels_penalty import most_similar
    from petbench.physics.projector import numba_threads

    check_numbers(gamma, epsilon, similar)
    if anatomy.ndim != 3 or not np.isfinite(anatomy).all():
        raise InputError("penalty: the anatomical image is not three-dimensional or holds values that are not finite; mend it.")
    plain = relative_difference(voxel_mm, gamma, epsilon, threads)
    # Of equally similar neighbours the nearer ones are kept.
    both = np.concatenate([OFFSETS, -OFFSETS])
    order = np.argsort(np.linalg.norm(both * np.asarray(voxel_mm), axis=1), kind="stable")
    with numba_threads(threads):
        chosen = most_similar(np.ascontiguousarray(anatomy, dtype=np.float32), both[order], similar)
    chosen = chosen[np.argsort(order)]
    share = chosen[: len(OFFSETS)].astype(np.uint8)
    for number, offset in enumerate(OFFSETS.tolist()):
        here = tuple(slice(max(0, -step), size - max(0, step)) for step, size in zip(offset, anatomy.shape, strict=True))
        there = tuple(slice(max(0, step), size - max(0, -step)) for step, size in zip(offset, anatomy.shape, strict=True))
        share[number][here] += chosen[len(OFFSETS) + number][there]
    return replace(plain, share=share)

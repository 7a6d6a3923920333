"""Multi-scale structural similarity as a loss (Wang, Simoncelli and Bovik, Asilomar 2003; PCSA-GAN, equations 9 to 11)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from petbench.networks.blocks import full_precision

SIGMA = 1.5
RADIUS = 5
K1, K2 = 0.01, 0.03
# The first three of the five weights of Wang et al., which sum to one; these sum to .6305.
WEIGHTS = (0.0448, 0.2856, 0.3001)


def ms_ssim(first: Tensor, second: Tensor, weights: Sequence[float] = WEIGHTS, normalise: bool = False, data_range: float = 1.0) -> Tensor:
    """Similarity of each pair of images: 1 where they are equal.

    At each scale contrast and structure are compared in Gaussian windows (sigma 1.5 voxels, cut after 5, edges replicated) and averaged,
    luminance at the last scale only; each mean is clamped at 0 and raised to its weight. Between scales images are averaged in blocks of
    two voxels a side. In 32-bit floats whatever the autocast.

    Args:
        first: Images (B, 1, *grid).
        second: Images of the same shape.
        weights: Exponent of each scale, fine to coarse.
        normalise: Divide the exponents by their sum.
        data_range: Range of the images.

    Returns:
        (B,), 0 to 1.
    """
    with full_precision(first.device):
        first, second = first.float(), second.float()
        total = sum(weights) if normalise else 1.0
        similarity = first.new_ones(len(first))
        pool = nn.functional.avg_pool3d
        for scale, weight in enumerate(weights):
            if scale:
                first, second = pool(first, 2), pool(second, 2)
            luminance, structure = compare(first, second, data_range)
            compared = luminance * structure if scale == len(weights) - 1 else structure
            # Clamped just above zero, where a root has no gradient that is finite.
            similarity = similarity * compared.flatten(1).mean(dim=1).clamp(min=1e-6) ** (weight / total)
    return similarity


def ssim(first: Tensor, second: Tensor, data_range: float = 1.0) -> Tensor:
    """Structural similarity at one scale, averaged over each pair of images (B, 1, *grid); (B,)."""
    return ms_ssim(first, second, (1.0,), data_range=data_range)


def slice_ssim(first: Tensor, second: Tensor, data_range: float = 1.0) -> Tensor:
    """Structural similarity of axial slices at one scale, in windows that lie wholly inside, averaged over each pair of images.

    On a side shorter than a window the middle voxels count. In 32-bit floats whatever the autocast.

    Args:
        first: Images (B, 1, *grid).
        second: Images of the same shape.
        data_range: Range of the images.

    Returns:
        (B,).
    """
    with full_precision(first.device):
        luminance, structure = compare(first.float(), second.float(), data_range, axes=(2, 3))
        similar = luminance * structure
        for axis in (2, 3):
            margin = min(RADIUS, (similar.shape[axis] - 1) // 2)
            similar = similar.narrow(axis, margin, similar.shape[axis] - 2 * margin)
    return similar.flatten(1).mean(dim=1)


def compare(first: Tensor, second: Tensor, data_range: float, axes: Sequence[int] = (2, 3, 4)) -> tuple[Tensor, Tensor]:
    """Luminance, and contrast times structure, at each voxel of images (B, 1, *grid), in windows along some axes."""

    def blur(images: Tensor) -> Tensor:
        return _blur(images, axes)

    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    mean_first, mean_second = blur(first), blur(second)
    variances = blur(first * first) - mean_first**2 + blur(second * second) - mean_second**2
    covariance = blur(first * second) - mean_first * mean_second
    luminance = (2 * mean_first * mean_second + c1) / (mean_first**2 + mean_second**2 + c1)
    return luminance, (2 * covariance + c2) / (variances + c2)


def _blur(images: Tensor, axes: Sequence[int] = (2, 3, 4)) -> Tensor:
    for axis in axes:
        images = (images.movedim(axis, -1) @ _blurring(images.shape[axis], images.device).T).movedim(-1, axis)
    return images


def _blurring(size: int, device: torch.device) -> Tensor:
    """The window along an axis as a matrix, (size, size): products of matrices are fast, convolutions of one channel are not."""
    shifts = torch.arange(-RADIUS, RADIUS + 1, device=device)
    taps = torch.exp(-(shifts**2) / (2 * SIGMA**2))
    places = torch.arange(size, device=device)
    matrix = torch.zeros(size, size, device=device)
    for shift, tap in zip(shifts, taps / taps.sum(), strict=True):
        matrix[places, (places + shift).clamp(0, size - 1)] += tap
    return matrix

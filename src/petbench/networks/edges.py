"""Edge strength of images by the Sobel operator (MAK-GAN, eq. 12; Ea-GAN)."""

import torch
from torch import Tensor, nn


def sobel_magnitude(images: Tensor) -> Tensor:
    """Length of the Sobel gradient of each voxel, in image units per voxel.

    The operator is separable: a central difference along one axis, (1, 2, 1) smoothing along the others. Kernels are scaled so that a
    ramp of slope s has strength |s|; borders are replicated. Computed in 32-bit floats whatever the autocast.

    Args:
        images: (B, C, *spatial), two or three spatial axes.

    Returns:
        Edge strength, the same shape. Its gradient is 0, not NaN, where the image is flat.
    """
    axes = range(2, images.ndim)
    padded = nn.functional.pad(images.float(), (1, 1) * len(axes), mode="replicate")
    gradients = []
    for derived in axes:
        gradient = padded
        for axis in axes:
            size = gradient.shape[axis] - 2
            before, here, after = (gradient.narrow(axis, start, size) for start in range(3))
            gradient = (after - before) / 2 if axis == derived else (before + 2 * here + after) / 4
        gradients.append(gradient)
    magnitude: Tensor = torch.linalg.vector_norm(torch.stack(gradients), dim=0)
    return magnitude

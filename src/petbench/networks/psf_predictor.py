"""The network that predicts a positron's point spread function from the attenuation around its source (DDConv, section II-B2)."""

import torch
from torch import Tensor, nn

from petbench.errors import InputError


class ResidualBlock(nn.Module):
    """Two 3-wide convolutions added to what came in; one PReLU stands between them and after the sum (DDConv, figure 2, authors' code)."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.activation = nn.PReLU()
        self.second = nn.Conv3d(channels, channels, 3, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, channels, K, K, K) in and out."""
        changed: Tensor = self.second(self.activation(self.first(features)))
        activated: Tensor = self.activation(features + changed)
        return activated


class PSFPredictor(nn.Module):
    """G: where positrons from the middle of a cube of K^3 voxels annihilate (DDConv, equation 9 and figure 2).

    The attenuation and the distance to the middle make two channels; a convolution, residual blocks and a pointwise convolution give each
    voxel a score; a softmax over the voxels makes the kernel non-negative with sum one. It is fully convolutional, so any odd K will do.
    56,198 parameters as published, of which the bias of the scores changes nothing unless kernels lose what leaves the cube.
    Where kernels lose what leaves the cube, leaving is one more outcome of the softmax, scored from the mean feature.

    Args:
        channels: Features (16 as published).
        blocks: Residual blocks (4 as published).
        loses: Whether kernels sum to less than one, by what leaves the cube.
    """

    def __init__(self, channels: int = 16, blocks: int = 4, loses: bool = False):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv3d(2, channels, 3, padding=1), nn.PReLU())
        self.blocks = nn.Sequential(*(ResidualBlock(channels) for _ in range(blocks)))
        self.score = nn.Conv3d(channels, 1, 1)
        self.leaving = nn.Linear(channels, 1) if loses else None

    def log_kernels(self, mu: Tensor) -> Tensor:
        """Logarithms of the kernels of media `mu` (B, K, K, K), relative to water; the same shape, float32.

        Raises:
            InputError: the media are not cubes of an odd number of voxels.
        """
        size = mu.shape[-1]
        if mu.shape[1:] != (size,) * 3 or size % 2 == 0:
            raise InputError(f"kernel_size: media of {tuple(mu.shape[1:])} voxels have no middle voxel; use cubes of odd size.")
        distance = distance_to_middle(size, mu.device).expand(mu.shape)
        inputs = torch.stack([mu, distance], dim=1).contiguous(memory_format=torch.channels_last_3d)
        features = self.blocks(self.stem(inputs))
        scores = self.score(features).flatten(1).float()
        if self.leaving is not None:
            scores = torch.cat([scores, self.leaving(features.mean(dim=(2, 3, 4))).float()], dim=1)
        inside: Tensor = scores.log_softmax(dim=1)[:, : size**3]
        return inside.reshape(mu.shape)

    def forward(self, mu: Tensor) -> Tensor:
        """Kernels of media `mu` (B, K, K, K), attenuation relative to water; the same shape, float32, non-negative.

        Raises:
            InputError: the media are not cubes of an odd number of voxels.
        """
        return self.log_kernels(mu).exp()


def distance_to_middle(size: int, device: torch.device | None = None) -> Tensor:
    """Minus the distance of each voxel of a cube to its middle, from -1 in the corners to 0; (size, size, size)."""
    places = torch.linspace(-1, 1, size, device=device)
    squares = sum(places.reshape(shape) ** 2 for shape in ((-1, 1, 1), (1, -1, 1), (1, 1, -1)))
    assert isinstance(squares, Tensor)
    return -(squares / 3).sqrt()

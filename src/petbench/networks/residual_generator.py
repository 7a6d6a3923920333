"""The generator of CycleGAN (Zhu et al. 2017) in three dimensions, at the sizes of HGAN (Pan et al., MICCAI 2018)."""

from itertools import pairwise

from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.blocks import full_precision, require_divisible
from petbench.networks.pcsa_generator import OUTPUTS


def _normalised(layer: nn.Module, channels: int) -> list[nn.Module]:
    return [layer, nn.InstanceNorm3d(channels, affine=True)]


class _ResidualBlock(nn.Module):
    """Two 3-wide convolutions on reflected edges, each normalised, added to what came in; ReLU after the first and after the sum."""

    def __init__(self, channels: int):
        super().__init__()
        first, second = (_normalised(nn.Conv3d(channels, channels, 3, padding=1, padding_mode="reflect"), channels) for _ in range(2))
        self.layers = nn.Sequential(*first, nn.ReLU(), *second)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, channels, *grid) in and out."""
        changed: Tensor = self.layers(features)
        return (features + changed).relu()


class ResidualGenerator(nn.Module):
    """Encodes by a 7-wide and two strided convolutions, transfers by residual blocks, decodes by two transposed and a 7-wide convolution.

    Inside, images fill [-1, 1], as HGAN's do; here they come and go as [0, 1].

    Args:
        channels: Features of the first layer; the two strided ones double them.
        residual_blocks: Residual blocks on the coarsest grid.
        output: What follows the last convolution, see `petbench.networks.pcsa_generator`.

    Raises:
        InputError: `output` is unknown.
    """

    def __init__(self, channels: int, residual_blocks: int, output: str):
        super().__init__()
        if output not in OUTPUTS:
            raise InputError(f"network/output: {output!r} is unknown; choose one of {', '.join(OUTPUTS)}.")
        widths = (channels, 2 * channels, 4 * channels)
        layers = [*_normalised(nn.Conv3d(1, channels, 7, padding=3, padding_mode="reflect"), channels), nn.ReLU()]
        for above, below in pairwise(widths):
            layers += [*_normalised(nn.Conv3d(above, below, 3, stride=2, padding=1), below), nn.ReLU()]
        layers += [_ResidualBlock(widths[-1]) for _ in range(residual_blocks)]
        for below, above in pairwise(reversed(widths)):
            layers += [*_normalised(nn.ConvTranspose3d(below, above, 3, stride=2, padding=1, output_padding=1), above), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Conv3d(channels, 1, 7, padding=3, padding_mode="reflect")
        self.output = OUTPUTS[output]

    def forward(self, images: Tensor) -> Tensor:
        """Images of the other kind (B, 1, *grid) of images (B, 1, *grid), both about [0, 1].

        Raises:
            InputError: a side is not divisible by 4.
        """
        require_divisible(images, 4)
        features = self.layers(2 * images - 1)
        with full_precision(features.device):  # else rounding would decide which dark voxels are below zero
            return self.output(self.head(features.float()) / 4 + 0.5, self.training)

"""The generator of CycleGAN (Zhu et al. 2017) and pix2pixHD (Wang et al. 2018), with residual blocks of Johnson et al. (2016)."""

from itertools import pairwise

from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.blocks import CONVOLUTION, NORMALISATIONS, UP_CONVOLUTION, full_precision, keep_scale, require_divisible


class ResidualGenerator(nn.Module):
    """A 7-wide convolution, layers that halve the grid and double the channels, residual blocks on the coarsest grid, and the way back.

    Convolutions of stride 1 see reflected edges. Nothing follows the last one, which is computed in 32-bit floats.

    Args:
        spatial_dims: 2 or 3.
        width: Features at full resolution.
        halvings: Layers of stride 2.
        blocks: Residual blocks on the coarsest grid.
        normalisation: `batch`, `instance` or `none`; the last layer has none.
        affine: Whether instance normalisation has a learnt scale and offset.
        rectified: Whether a residual block ends in a ReLU of the sum.

    Raises:
        InputError: the normalisation is unknown.
    """

    def __init__(self, spatial_dims: int, width: int, halvings: int, blocks: int, normalisation: str, affine: bool, rectified: bool):
        super().__init__()
        if normalisation not in NORMALISATIONS:
            raise InputError(f"network/normalisation: {normalisation!r} is unknown; choose one of {', '.join(NORMALISATIONS)}.")
        plain, up, norm = CONVOLUTION[spatial_dims], UP_CONVOLUTION[spatial_dims], NORMALISATIONS[normalisation][spatial_dims]

        def normalised(layer: nn.Module, channels: int) -> list[nn.Module]:
            return [layer, norm(channels, affine=affine or normalisation != "instance")]

        def reflected(before: int, after: int, side: int) -> nn.Conv2d | nn.Conv3d:
            return plain(before, after, side, padding=side // 2, padding_mode="reflect")

        def block(channels: int) -> nn.Module:
            first, second = (normalised(reflected(channels, channels, 3), channels) for _ in range(2))
            return _ResidualBlock(nn.Sequential(*first, nn.ReLU(), *second), rectified)

        widths = [width * 2**level for level in range(halvings + 1)]
        layers = [*normalised(reflected(1, width, 7), width), nn.ReLU()]
        for fine, coarse in pairwise(widths):
            layers += [*normalised(plain(fine, coarse, 3, stride=2, padding=1), coarse), nn.ReLU()]
        layers += [block(widths[-1]) for _ in range(blocks)]
        for coarse, fine in pairwise(reversed(widths)):
            layers += [*normalised(up(coarse, fine, 3, stride=2, padding=1, output_padding=1), fine), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.head = reflected(width, 1, 7)
        self.factor = 2**halvings

    def start_unnormalised(self) -> None:
        """Draw the weights anew so that features and the image keep their scale without normalisation; blocks start as the identity."""
        keep_scale(self.layers, slope=0.0)
        keep_scale(self.head)
        for layer in self.layers:
            if isinstance(layer, _ResidualBlock):
                *_, last = (part for part in layer.modules() if isinstance(part, nn.modules.conv._ConvNd))
                nn.init.zeros_(last.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, 1, *spatial) to others of the same shape.

        Raises:
            InputError: a side cannot be halved as often as the network asks.
        """
        require_divisible(images, self.factor)
        features = self.layers(images)
        with full_precision(features.device):  # else rounding would decide which dark voxels are below zero
            made: Tensor = self.head(features.float())
        return made


class _ResidualBlock(nn.Module):
    """Features with what layers make of them added, behind a ReLU where it is `rectified`."""

    def __init__(self, layers: nn.Module, rectified: bool):
        super().__init__()
        self.layers, self.rectified = layers, rectified

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, C, *grid) in and out."""
        added: Tensor = features + self.layers(features)
        return added.relu() if self.rectified else added

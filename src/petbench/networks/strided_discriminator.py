"""A discriminator of strided convolutions alone, whose last features a convolution judges place by place."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from petbench.networks.blocks import CONVOLUTION, normalisation_layer


class StridedDiscriminator(nn.Module):
    """Convolutions of stride 2, each with LeakyReLU .2 and all but the first normalised, and one as wide to a logit a place.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the judged images, concatenated.
        channels: Features of each layer; each halves the grid.
        kernel_size: Width of every convolution, 3 or 4.
        normalisation: `batch`, `instance` or `none`.
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: Sequence[int], kernel_size: int, normalisation: str):
        super().__init__()
        layer = CONVOLUTION[spatial_dims]
        blocks: list[nn.Module] = []
        for number, (above, width) in enumerate(pairwise([in_channels, *channels])):
            blocks.append(layer(above, width, kernel_size, stride=2, padding=1))
            if number:
                blocks.append(normalisation_layer(normalisation, spatial_dims, width))
            blocks.append(nn.LeakyReLU(0.2, inplace=True))
        before, behind = kernel_size // 2, (kernel_size - 1) // 2
        blocks.append(nn.ConstantPad2d((before, behind) * 2, 0.0) if spatial_dims == 2 else nn.ConstantPad3d((before, behind) * 3, 0.0))
        blocks.append(layer(channels[-1], 1, kernel_size))
        self.layers = nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 1, *grid) of images (B, in_channels, *spatial), on the coarsest grid; positive means real."""
        logits: Tensor = self.layers(images)
        return logits

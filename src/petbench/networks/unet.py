"""The U-Net (Ronneberger et al. 2015) as a regression network for one or several concatenated modalities."""

from collections.abc import Sequence

from torch import Tensor, nn

from petbench.networks.blocks import Decoder, conv_block, convolution, require_divisible


class UNet(nn.Module):
    """Convolution blocks joined by max pooling, a decoder with skips, a pointwise convolution to the output.

    The output is unbounded. With batch normalisation or none the activity scale of a window survives; instance normalisation would
    remove it.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the input.
        channels: Features of each level, fine to coarse; each level but the first halves the grid.
        normalisation: `batch`, `instance` or `none`.
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: Sequence[int], normalisation: str):
        super().__init__()
        above = [in_channels, *channels[:-1]]
        self.encoders = nn.ModuleList(conv_block(spatial_dims, a, c, normalisation) for a, c in zip(above, channels, strict=True))
        self.pool = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[spatial_dims](2)
        upwards = list(reversed(channels[:-1]))
        self.decoder = Decoder(spatial_dims, channels[-1], skips=upwards, widths=upwards, normalisation=normalisation)
        self.head = convolution(spatial_dims, channels[0], 1, kernel_size=1)
        self.factor = 2 ** (len(channels) - 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, in_channels, *spatial) to (B, 1, *spatial).

        Raises:
            InputError: a side is not divisible by 2 ** (levels - 1).
        """
        require_divisible(images, self.factor)
        features = [self.encoders[0](images)]
        for encoder in self.encoders[1:]:
            features.append(encoder(self.pool(features[-1])))
        *skips, bottom = features
        decoded = self.decoder(bottom, list(reversed(skips)))
        output: Tensor = self.head(decoded)
        return output

"""The PatchGAN discriminator (Isola et al. 2017) in two or three dimensions."""

from itertools import pairwise

from torch import Tensor, nn

from petbench.networks.blocks import CONVOLUTION, normalisation_layer


class PatchDiscriminator(nn.Module):
    """Judges overlapping regions of an image pair as real or not.

    Width 4 convolutions: `layers` of stride 2 that double the channels up to 8 x `channels`, one of stride 1, one to a single logit.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the judged images, concatenated.
        channels: Features of the first layer.
        layers: Convolutions of stride 2.
        normalisation: `batch`, `instance` or `none`; the first and last layer have none.
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int, layers: int, normalisation: str):
        super().__init__()
        widths = [channels * min(2**i, 8) for i in range(layers + 1)]
        layer = CONVOLUTION[spatial_dims]
        blocks: list[nn.Module] = [layer(in_channels, widths[0], 4, stride=2, padding=1), nn.LeakyReLU(0.2, inplace=True)]
        for i, (above, width) in enumerate(pairwise(widths), start=1):
            blocks.append(layer(above, width, 4, stride=2 if i < layers else 1, padding=1))
            blocks.append(normalisation_layer(normalisation, spatial_dims, width))
            blocks.append(nn.LeakyReLU(0.2, inplace=True))
        blocks.append(layer(widths[-1], 1, 4, stride=1, padding=1))
        self.layers = nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 1, *regions) of images (B, in_channels, *spatial); positive means real."""
        logits: Tensor = self.layers(images)
        return logits

"""The PatchGAN discriminator (Isola et al. 2017) in two or three dimensions."""

from itertools import pairwise

from monai.networks.blocks import Convolution
from torch import Tensor, nn

from petbench.networks.blocks import norm_name


class PatchDiscriminator(nn.Module):
    """Judges overlapping regions of an image pair as real or not.

    Width 4 convolutions: `layers` of stride 2 that double the channels up to 8 x `channels`, one of stride 1, one to a single logit.

    Args:
        spatial_dims: 2 or 3.
        in_channels: channels of the judged images, concatenated.
        channels: features of the first layer.
        layers: convolutions of stride 2.
        normalisation: `batch`, `instance` or `none`; the first and last layer have none.
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int, layers: int, normalisation: str):
        super().__init__()
        widths = [channels * min(2**i, 8) for i in range(layers + 1)]
        act = ("LeakyReLU", {"negative_slope": 0.2, "inplace": True})
        blocks = [Convolution(spatial_dims, in_channels, widths[0], strides=2, kernel_size=4, padding=1, act=act, norm=None)]
        for i, (above, width) in enumerate(pairwise(widths), start=1):
            stride = 2 if i < layers else 1
            norm = norm_name(normalisation)
            blocks.append(Convolution(spatial_dims, above, width, strides=stride, kernel_size=4, padding=1, act=act, norm=norm))
        blocks.append(Convolution(spatial_dims, widths[-1], 1, strides=1, kernel_size=4, padding=1, conv_only=True))
        self.layers = nn.Sequential(*blocks)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 1, *regions) of images (B, in_channels, *spatial); positive means real."""
        logits: Tensor = self.layers(images)
        return logits

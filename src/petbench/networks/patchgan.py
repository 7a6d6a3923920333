"""The PatchGAN discriminator (Isola et al. 2017) in two or three dimensions."""

from collections.abc import Iterable
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

    def features(self, images: Tensor) -> list[Tensor]:
        """What each layer makes of images (B, in_channels, *spatial), after its activation; the logits last."""
        found = []
        for layer in self.layers:
            images = layer(images)
            if isinstance(layer, nn.LeakyReLU):
                found.append(images)
        return [*found, images]


class MultiScaleDiscriminator(nn.Module):
    """PatchGANs that see the same images at several resolutions, each half of the one before (Wang et al. 2018, section 3.2).

    Args:
        scales: How many.
        spatial_dims: See `PatchDiscriminator`, as the others.
        in_channels: Channels of the judged images.
        channels: Features of the first layer.
        layers: Convolutions of stride 2.
        normalisation: Normalisation between the first and the last layer.
    """

    def __init__(self, scales: int, spatial_dims: int, in_channels: int, channels: int, layers: int, normalisation: str):
        super().__init__()
        judges = (PatchDiscriminator(spatial_dims, in_channels, channels, layers, normalisation) for _ in range(scales))
        self.judges: Iterable[PatchDiscriminator] = nn.ModuleList(judges)  # type: ignore[assignment]
        self.halve = {2: nn.AvgPool2d, 3: nn.AvgPool3d}[spatial_dims](3, stride=2, padding=1, count_include_pad=False)

    def forward(self, images: Tensor) -> list[list[Tensor]]:
        """Features and logits of images (B, in_channels, *spatial) at each scale, fine to coarse; see `PatchDiscriminator.features`."""
        found = []
        for number, judge in enumerate(self.judges):
            images = self.halve(images) if number else images
            found.append(judge.features(images))
        return found

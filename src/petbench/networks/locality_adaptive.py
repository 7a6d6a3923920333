"""The networks of LA-GAN: modalities fused by weights of their own in each region, a U-Net, a discriminator (Wang et al., TMI 2019)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from petbench.networks.blocks import convolution, full_precision, normalisation_layer, require_divisible

INTERPOLATION = {"nearest": {2: "nearest", 3: "nearest"}, "linear": {2: "bilinear", 3: "trilinear"}}
SLOPE = 0.2


class LocalityAdaptiveFusion(nn.Module):
    """The weighted sum of modalities, a weight a modality and region of the window: a 1x1x1 kernel that goes with the place.

    Args:
        spatial_dims: 2 or 3.
        modalities: Images that are fused; all start with the weight 1 / `modalities`.
        regions: Regions along each side of a window, as equal as its voxels allow.
    """

    def __init__(self, spatial_dims: int, modalities: int, regions: int):
        super().__init__()
        self.weight = nn.Parameter(torch.full((modalities, *[regions] * spatial_dims), 1 / modalities))

    def forward(self, images: Tensor) -> Tensor:
        """Fuse images (B, modalities, *spatial) into one, (B, 1, *spatial)."""
        weight = nn.functional.interpolate(self.weight[None], size=images.shape[2:], mode="nearest")
        return (images * weight).sum(dim=1, keepdim=True)


class LocalityAdaptiveUNet(nn.Module):
    """Fusion, convolutions of stride 2 down and upsampling with a convolution up, joined by skips; the output is unbounded.

    Args:
        spatial_dims: 2 or 3.
        modalities: Images that are fused.
        regions: See `LocalityAdaptiveFusion`.
        channels: Features of each level, fine to coarse; each level but the first halves the grid.
        normalisation: `batch`, `instance` or `none`.
        upsampling: `nearest` or `linear`.
        residual: Add the first image, the low dose, to the output.
    """

    def __init__(
        self,
        spatial_dims: int,
        modalities: int,
        regions: int,
        channels: Sequence[int],
        normalisation: str,
        upsampling: str,
        residual: bool,
    ):
        super().__init__()

        def block(before: int, after: int, stride: int = 1) -> nn.Module:
            norm = normalisation_layer(normalisation, spatial_dims, after)
            return nn.Sequential(convolution(spatial_dims, before, after, 3, stride), norm, nn.LeakyReLU(SLOPE))

        self.fusion = LocalityAdaptiveFusion(spatial_dims, modalities, regions)
        self.encoders = nn.ModuleList([block(1, channels[0]), *(block(above, below, stride=2) for above, below in pairwise(channels))])
        skips = list(reversed(channels[:-1]))
        joined = [channels[-1], *(2 * skip for skip in skips)]
        self.decoders = nn.ModuleList(block(below, skip) for below, skip in zip(joined[:-1], skips, strict=True))
        self.up = nn.Upsample(scale_factor=2, mode=INTERPOLATION[upsampling][spatial_dims])
        self.head = convolution(spatial_dims, joined[-1], 1, 3)
        self.modalities, self.factor, self.residual = modalities, 2 ** (len(channels) - 1), residual

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, modalities, *spatial), the low dose first, to (B, 1, *spatial).

        Raises:
            InputError: a side is not divisible by 2 ** (levels - 1).
        """
        require_divisible(images, self.factor)
        levels = [self.encoders[0](self.fusion(images))]
        for encoder in self.encoders[1:]:
            levels.append(encoder(levels[-1]))
        features = levels.pop()
        for decoder in self.decoders:
            features = torch.cat([decoder(self.up(features)), levels.pop()], dim=1)
        with full_precision(features.device):  # eight bits of an image are too few for its judge
            output: Tensor = self.head(features.float())
        return images[:, :1] + output if self.residual else output


class ConvolutionDiscriminator(nn.Module):
    """Convolutions of stride 2 and one fully connected layer: one logit a window.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Images judged together.
        channels: Features of each convolution.
        normalisation: Between all but the first: `batch`, `instance` or `none`.
        size: Side of the grid that the fully connected layer sees, to which features are averaged.
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: Sequence[int], normalisation: str, size: int):
        super().__init__()
        layers: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise((in_channels, *channels))):
            norm = normalisation_layer(normalisation if number else "none", spatial_dims, after)
            layers += [convolution(spatial_dims, before, after, 3, stride=2), norm, nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers)
        self.pool = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}[spatial_dims](size)
        self.head = nn.Linear(channels[-1] * size**spatial_dims, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, 1) of images (B, in_channels, *spatial); positive means real."""
        logits: Tensor = self.head(torch.flatten(self.pool(self.layers(images)), 1))
        return logits

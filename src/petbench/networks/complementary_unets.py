"""The predictors of content and of noise that CNCL fuses (Geng et al. 2022), as U-Nets."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from petbench.networks.blocks import convolution, full_precision, normalisation_layer, require_divisible


def _pair(spatial_dims: int, in_channels: int, between: int, out_channels: int, normalisation: str) -> nn.Module:
    """Two convolutions 3 wide, each with normalisation and ReLU."""
    layers: list[nn.Module] = []
    for above, width in ((in_channels, between), (between, out_channels)):
        layers.append(convolution(spatial_dims, above, width, kernel_size=3))
        layers.append(normalisation_layer(normalisation, spatial_dims, width))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class PredictorUNet(nn.Module):
    """A U-Net that enlarges coarser features linearly, their number brought down by the convolution before; two plain convolutions end it.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the input.
        channels: Features of each level, fine to coarse; each level but the first halves the grid.
        normalisation: `batch`, `instance` or `none`.
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: Sequence[int], normalisation: str):
        super().__init__()
        *levels, deepest = channels
        above = [in_channels, *levels[:-1]]
        self.downs = nn.ModuleList(_pair(spatial_dims, a, c, c, normalisation) for a, c in zip(above, levels, strict=True))
        self.pool = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[spatial_dims](2)
        self.bottom = _pair(spatial_dims, levels[-1], deepest, levels[-1], normalisation)
        self.ups = nn.ModuleList(
            _pair(spatial_dims, 2 * c, c, finer, normalisation) for c, finer in zip(levels[:0:-1], levels[-2::-1], strict=True)
        )
        self.enlarge = nn.Upsample(scale_factor=2, mode={2: "bilinear", 3: "trilinear"}[spatial_dims], align_corners=True)
        half = max(levels[0] // 2, 1)
        self.head = nn.Sequential(convolution(spatial_dims, 2 * levels[0], half, 3), convolution(spatial_dims, half, 1, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Map images (B, in_channels, *spatial) to one (B, 1, *spatial), unbounded."""
        features = [self.downs[0](images)]
        for down in self.downs[1:]:
            features.append(down(self.pool(features[-1])))
        decoded = self.bottom(self.pool(features[-1]))
        for layers in [*self.ups, self.head]:
            decoded = layers(torch.cat([self.enlarge(decoded), features.pop()], dim=1))
        return decoded  # type: ignore[no-any-return]


class ComplementaryUNets(nn.Module):
    """One U-Net predicts an image's content, another its noise; a pointwise convolution fuses the content and the image less the noise.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the input, the noisy image the first of them.
        channels: Features of each level of either U-Net, fine to coarse; each level but the first halves the grid.
        normalisation: `batch`, `instance` or `none`; `instance` removes the activity scale of a window.
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: Sequence[int], normalisation: str):
        super().__init__()
        self.content = PredictorUNet(spatial_dims, in_channels, channels, normalisation)
        self.noise = PredictorUNet(spatial_dims, in_channels, channels, normalisation)
        self.fusion = convolution(spatial_dims, 2, 1, kernel_size=1)
        self.factor = 2 ** (len(channels) - 1)

    def forward(self, images: Tensor) -> Tensor:
        """The content and the noise (B, 2, *spatial), in 32-bit floats, of images (B, in_channels, *spatial), of which the first is noisy.

        Raises:
            InputError: a side is not divisible by 2 ** (levels - 1).
        """
        require_divisible(images, self.factor)
        content, noise = self.content(images).float(), self.noise(images).float()
        with full_precision(images.device):
            fused = self.fusion(torch.cat([content, images[:, :1].float() - noise], dim=1))
        return torch.cat([fused, noise], dim=1)

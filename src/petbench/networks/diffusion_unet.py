"""The U-Net of improved diffusion (Nichol & Dhariwal, ICML 2021) in parts, so that methods with several branches build on it too.

Tensors are (B, C, *spatial) in two or three dimensions; `embedding` is (B, 4 * width), that of each sample's time step.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.blocks import convolution, require_divisible

HEADS = ("plain", "normalised")


def group_norm(channels: int) -> nn.GroupNorm:
    """Normalisation in 32 groups, or in as many as divide the channels."""
    return nn.GroupNorm(math.gcd(32, channels), channels)


def _silent(layer: nn.Module) -> nn.Module:
    """The layer with all parameters at zero, so that its residual block starts as the identity."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class TimeEmbedding(nn.Module):
    """Sines and cosines of the time step, then two linear layers.

    Args:
        width: Width of the network; the embedding has 4 times as many features.
    """

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, 4 * width))

    def forward(self, time: Tensor) -> Tensor:
        """Embed time steps (B,) as (B, 4 * width)."""
        half = self.width // 2
        rates = torch.exp(-math.log(10_000) * torch.arange(half, device=time.device) / half)
        angles = time.float()[:, None] * rates
        embedded: Tensor = self.layers(nn.functional.pad(torch.cat([angles.cos(), angles.sin()], dim=1), (0, self.width % 2)))
        return embedded


class ResidualBlock(nn.Module):
    """Two normalised convolutions; the time step scales and shifts between them."""

    def __init__(self, spatial_dims: int, in_channels: int, out_channels: int, embedded: int, dropout: float):
        super().__init__()
        self.first = nn.Sequential(group_norm(in_channels), nn.SiLU(), convolution(spatial_dims, in_channels, out_channels, kernel_size=3))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(embedded, 2 * out_channels))
        self.normalise = group_norm(out_channels)
        self.second = nn.Sequential(
            nn.SiLU(), nn.Dropout(dropout), _silent(convolution(spatial_dims, out_channels, out_channels, kernel_size=3))
        )
        same = in_channels == out_channels
        self.skip = nn.Identity() if same else convolution(spatial_dims, in_channels, out_channels, kernel_size=1)

    def forward(self, features: Tensor, embedding: Tensor) -> Tensor:
        """Transform features on their own grid."""
        hidden = self.normalise(self.first(features))
        modulation = self.modulation(embedding)
        scale, shift = modulation.reshape(*modulation.shape, *[1] * (features.ndim - 2)).chunk(2, dim=1)
        output: Tensor = self.skip(features) + self.second(hidden * (1 + scale) + shift)
        return output


class SelfAttention(nn.Module):
    """Attention of all positions to all others, as a residual block.

    Raises:
        InputError: the channels do not divide by the heads.
    """

    def __init__(self, channels: int, heads: int):
        super().__init__()
        if channels % heads:
            raise InputError(f"network/heads: {heads} heads do not divide {channels} channels; choose a divisor.")
        self.heads = heads
        self.normalise = group_norm(channels)
        self.project = nn.Linear(channels, 3 * channels)
        self.out = _silent(nn.Linear(channels, channels))

    def forward(self, features: Tensor) -> Tensor:
        """Attend over the grid; PyTorch picks the fused kernel that the device has."""
        # fused kernels want a head's features next to each other in memory
        flat = self.normalise(features).flatten(2).transpose(1, 2)
        batch, positions, channels = flat.shape
        projected = self.project(flat).reshape(batch, positions, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(*projected)
        change: Tensor = self.out(attended.transpose(1, 2).reshape(batch, positions, channels))
        return features + change.transpose(1, 2).reshape(features.shape)


class Resample(nn.Module):
    """Halve the grid with a strided convolution, or double it by repeating voxels before one."""

    def __init__(self, spatial_dims: int, channels: int, up: bool):
        super().__init__()
        self.up = up
        self.convolution = convolution(spatial_dims, channels, channels, kernel_size=3, stride=1 if up else 2)

    def forward(self, features: Tensor) -> Tensor:
        """Resample features (B, C, *spatial)."""
        if self.up:
            features = nn.functional.interpolate(features, scale_factor=2.0, mode="nearest")
        resampled: Tensor = self.convolution(features)
        return resampled


class Layer(nn.Module):
    """Modules in a row, of which residual blocks also take the embedding: what makes one skip, or takes one."""

    def __init__(self, *parts: nn.Module):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, features: Tensor, embedding: Tensor) -> Tensor:
        """Apply the parts in turn."""
        for part in self.parts:
            features = part(features, embedding) if isinstance(part, ResidualBlock) else part(features)
        return features


def image_head(spatial_dims: int, channels: int, out_channels: int, head: str) -> nn.Module:
    """What makes images (B, out_channels, *spatial) of a decoder's features: one convolution, 3 wide.

    Args:
        spatial_dims: 2 or 3.
        channels: Channels of the features.
        out_channels: Channels of the images.
        head: `plain`, the convolution alone from PyTorch's own start; or `normalised`, improved diffusion's: the features are normalised
            over the whole image, go through a SiLU, and the convolution starts at zero. Normalised features do not carry the level of
            an image: where the clean image is predicted, its level then has to come through the shape of the features.

    Raises:
        InputError: the head is unknown.
    """
    if head not in HEADS:
        raise InputError(f"network/head: {head!r} is unknown; choose one of {', '.join(HEADS)}.")
    last = convolution(spatial_dims, channels, out_channels, kernel_size=3)
    return last if head == "plain" else nn.Sequential(group_norm(channels), nn.SiLU(), _silent(last))


class Branch(nn.Module):
    """Encoder, middle and decoder, to be run one after another by whoever joins branches.

    `encoder` and `decoder` are lists of as many layers: each encoder layer puts out one skip, and decoder layer i takes that of
    encoder layer n - 1 - i. Hooks on them see the branch's features.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the input.
        out_channels: Channels of the head; 0 leaves middle, decoder and head out.
        width: Features of the finest level.
        multipliers: Features of each level, as multiples of the width; each level but the first halves the grid.
        blocks: Residual blocks a level of the encoder; the decoder has one more.
        attention: Factors by which the grid is reduced where there is attention, such as [16, 32].
        heads: Attention heads.
        head: `plain` or `normalised`; see `image_head`.
        dropout: Probability of dropping a feature in residual blocks of the encoder and the middle.
        decoder_dropout: The same in the decoder.
        skips: Features that a decoder layer joins beside its input, as multiples of its skip: 2 where another branch's come too.
        middle: Two residual blocks around attention (True) or one residual block (False).

    Raises:
        InputError: a level has attention but its channels do not divide by the heads, no level has a factor of `attention`, or the head
            is unknown.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        width: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        heads: int,
        head: str,
        dropout: float,
        decoder_dropout: float,
        skips: int = 1,
        middle: bool = True,
    ):
        super().__init__()
        factors = [2**level for level in range(len(multipliers))]
        if strays := sorted(set(attention) - set(factors)):
            raise InputError(f"network/attention: no level is reduced {strays[0]}-fold; the levels are {', '.join(map(str, factors))}.")
        self.factor = factors[-1]
        embedded = 4 * width

        def layer(above: int, channels: int, factor: int, rate: float, *more: nn.Module) -> Layer:
            attend = [SelfAttention(channels, heads)] if factor in attention else []
            return Layer(ResidualBlock(spatial_dims, above, channels, embedded, rate), *attend, *more)

        self.encoder = nn.ModuleList([Layer(convolution(spatial_dims, in_channels, width, kernel_size=3))])
        widths = [width]
        for factor, multiplier in zip(factors, multipliers, strict=True):
            for _ in range(blocks):
                self.encoder.append(layer(widths[-1], multiplier * width, factor, dropout))
                widths.append(multiplier * width)
            if factor != factors[-1]:
                self.encoder.append(Layer(Resample(spatial_dims, widths[-1], up=False)))
                widths.append(widths[-1])
        self.skip_channels = tuple(widths)
        if not out_channels:
            return

        above = widths[-1]
        self.middle = Layer(ResidualBlock(spatial_dims, above, above, embedded, dropout))
        if middle:
            self.middle.parts.extend([SelfAttention(above, heads), ResidualBlock(spatial_dims, above, above, embedded, dropout)])
        self.decoder = nn.ModuleList()
        for factor, multiplier in zip(reversed(factors), reversed(multipliers), strict=True):
            for block in range(blocks + 1):
                more = [Resample(spatial_dims, multiplier * width, up=True)] if block == blocks and factor > 1 else []
                self.decoder.append(layer(above + skips * widths.pop(), multiplier * width, factor, decoder_dropout, *more))
                above = multiplier * width
        self.head = image_head(spatial_dims, above, out_channels, head)

    def encode(self, images: Tensor, embedding: Tensor) -> list[Tensor]:
        """Features of every encoder layer, fine to coarse, from images (B, in_channels, *spatial).

        Raises:
            InputError: a side is not divisible by 2 ** (levels - 1).
        """
        require_divisible(images, self.factor)
        features = [self.encoder[0](images, embedding)]
        for layer in self.encoder[1:]:
            features.append(layer(features[-1], embedding))
        return features

    def bottom(self, skips: Sequence[Tensor], embedding: Tensor) -> Tensor:
        """Features of the middle."""
        features: Tensor = self.middle(skips[-1], embedding)
        return features

    def decode(self, bottom: Tensor, skips: Sequence[Sequence[Tensor]], embedding: Tensor) -> Tensor:
        """Images (B, out_channels, *spatial) from the middle's features and what joins each decoder layer, fine to coarse."""
        features = bottom
        for layer, joined in zip(self.decoder, reversed(skips), strict=True):
            features = layer(torch.cat([features, *joined], dim=1), embedding)
        images: Tensor = self.head(features)
        return images


class DiffusionUNet(nn.Module):
    """One branch with its own time embedding: the network of IDDPM. For the parameters see `Branch`."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        width: int,
        multipliers: Sequence[int],
        blocks: int,
        attention: Sequence[int],
        heads: int,
        head: str,
        dropout: float,
    ):
        super().__init__()
        self.embed = TimeEmbedding(width)
        self.branch = Branch(
            spatial_dims, in_channels, out_channels, width, multipliers, blocks, attention, heads, head, dropout, decoder_dropout=dropout
        )

    def forward(self, images: Tensor, time: Tensor) -> Tensor:
        """Map images (B, in_channels, *spatial) at time steps (B,) to (B, out_channels, *spatial).

        Raises:
            InputError: a side is not divisible by 2 ** (levels - 1).
        """
        embedding = self.embed(time)
        skips = self.branch.encode(images, embedding)
        return self.branch.decode(self.branch.bottom(skips, embedding), [(skip,) for skip in skips], embedding)

"""The networks of CDM: a U-Net that features of other images guide, and the small networks that make them (Han et al., MICCAI 2023).

They are those of SR3 (Saharia et al. 2022), on slices. Features are (B, C, *grid).
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from petbench.networks.attention import attend
from petbench.networks.blocks import convolution, require_divisible
from petbench.networks.diffusion_unet import Resample, group_norm, image_head

GUIDE_START = 8
"""Features of a guide's first convolution."""
GUIDE_GROUPS = 8
"""Groups that a guide's features are normalised in; those of the U-Nets in 32."""


def start_orthogonal(network: nn.Module) -> None:
    """Draw the weights of convolutions and linear layers as orthogonal matrices, and zero their biases."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


class LevelEmbedding(nn.Module):
    """Sines and cosines of the noise level, then two linear layers.

    Args:
        width: Features of the embedding.
    """

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))

    def forward(self, level: Tensor) -> Tensor:
        """Embed levels (B,) as (B, width)."""
        half = self.width // 2
        rates = torch.exp(-math.log(10_000) * torch.arange(half, device=level.device) / half)
        angles = level.float()[:, None] * rates
        embedded: Tensor = self.layers(nn.functional.pad(torch.cat([angles.sin(), angles.cos()], dim=1), (0, self.width % 2)))
        return embedded


def _normalised(in_channels: int, out_channels: int, groups: int) -> nn.Module:
    normalise = nn.GroupNorm(math.gcd(groups, in_channels), in_channels)
    return nn.Sequential(normalise, nn.SiLU(), convolution(2, in_channels, out_channels, kernel_size=3))


class GuidedBlock(nn.Module):
    """Two normalised convolutions, between which the noise level's embedding is added; before each, guides may be joined.

    Args:
        in_channels: Features before.
        out_channels: Features after.
        embedded: Features of the embedding; 0 for none.
        guide: Features of each of two guides; 0 for none, whatever it is given.
        groups: Groups that features are normalised in, or as many of them as divide the channels.
    """

    def __init__(self, in_channels: int, out_channels: int, embedded: int = 0, guide: int = 0, groups: int = 32):
        super().__init__()
        self.first, self.second = _normalised(in_channels, out_channels, groups), _normalised(out_channels, out_channels, groups)
        self.shift = nn.Linear(embedded, out_channels) if embedded else None
        self.joins = nn.ModuleList([_Join(channels, guide) for channels in (in_channels, out_channels)] if guide else [])
        self.skip = nn.Identity() if in_channels == out_channels else convolution(2, in_channels, out_channels, kernel_size=1)

    def forward(self, features: Tensor, embedding: Tensor | None = None, guides: Sequence[Tensor] = ()) -> Tensor:
        """Transform features on their own grid, which is that of the guides."""
        hidden = self.first(self.joins[0](features, guides) if self.joins else features)
        if self.shift is not None:
            hidden = hidden + self.shift(embedding)[:, :, None, None]
        output: Tensor = self.skip(features) + self.second(self.joins[1](hidden, guides) if self.joins else hidden)
        return output


class _Join(nn.Module):
    """Features and two guides, which one pointwise convolution brings to as many channels, joined by another."""

    def __init__(self, channels: int, guide: int):
        super().__init__()
        self.bring = convolution(2, guide, channels, kernel_size=1)
        self.join = convolution(2, 3 * channels, channels, kernel_size=1)

    def forward(self, features: Tensor, guides: Sequence[Tensor]) -> Tensor:
        joined: Tensor = self.join(torch.cat([features, *(self.bring(guide) for guide in guides)], dim=1))
        return joined


class _Attention(nn.Module):
    """Attention of all positions to all others with one head, as a residual block."""

    def __init__(self, channels: int):
        super().__init__()
        self.normalise = group_norm(channels)
        self.project = nn.Linear(channels, 3 * channels, bias=False)
        self.out = nn.Linear(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        query, key, value = self.project(self.normalise(features).flatten(2).transpose(1, 2)).chunk(3, dim=2)
        change: Tensor = self.out(attend(query, key, value, heads=1))
        return features + change.transpose(1, 2).reshape(features.shape)


class Guide(nn.Module):
    """What it sees of an image on a coarser grid, learnt by making the better image's from the worse one's.

    Args:
        in_channels: Channels of the images.
        halvings: Strided convolutions that take them to the coarser grid, 1 or more.
        width: Features, of which each of its blocks makes a multiple.
        multipliers: Those multiples, one a block; the last features are the guide.
    """

    def __init__(self, in_channels: int, halvings: int, width: int, multipliers: Sequence[int]):
        super().__init__()
        self.halve = nn.Sequential(*[Resample(2, in_channels, up=False) for _ in range(halvings)])
        widths = [GUIDE_START, *(multiplier * width for multiplier in multipliers)]
        self.blocks = nn.Sequential(
            convolution(2, in_channels, GUIDE_START, kernel_size=3),
            *[GuidedBlock(before, after, groups=GUIDE_GROUPS) for before, after in pairwise(widths)],
        )
        self.head = convolution(2, widths[-1], in_channels, kernel_size=3)

    def forward(self, images: Tensor) -> Tensor:
        """Features (B, C, *grid) of images (B, in_channels, *spatial)."""
        features: Tensor = self.blocks(self.halve(images))
        return features

    def error(self, features: Tensor, better: Tensor) -> Tensor:
        """Mean absolute error of what it makes of its features, in 32-bit floats.

        It is held against the `better` images (B, in_channels, *spatial), taken to the coarser grid by its own convolutions.
        """
        return nn.functional.l1_loss(self.head(features).float(), self.halve(better).float())


class GuidedUNet(nn.Module):
    """A U-Net of SR3 whose encoder and middle see guides: levels between the finest and the coarsest, and the middle, two each.

    Args:
        in_channels: Channels of the images.
        width: Features of the finest level; also of the noise level's embedding.
        multipliers: Features of each level, fine to coarse, as multiples of the width; each level but the first halves the grid.
        blocks: Residual blocks a level of the encoder; the decoder has one more.
        guide: Features of a guide.
        head: `normalised`, as published, or `plain`; see `petbench.networks.diffusion_unet.image_head`.
        levelled: Whether it is told a noise level.
    """

    def __init__(self, in_channels: int, width: int, multipliers: Sequence[int], blocks: int, guide: int, head: str, levelled: bool):
        super().__init__()
        self.embed = LevelEmbedding(width) if levelled else None
        embedded = width if levelled else 0
        coarsest = len(multipliers) - 1
        self.factor = 2**coarsest
        self.start = convolution(2, in_channels, width, kernel_size=3)
        self.encoder, self.levels, skips = nn.ModuleList(), list[int](), [width]
        for level, multiplier in enumerate(multipliers):
            for _ in range(blocks):
                self.encoder.append(GuidedBlock(skips[-1], multiplier * width, embedded, guide if 0 < level < coarsest else 0))
                skips.append(multiplier * width)
            if level < coarsest:
                self.encoder.append(Resample(2, skips[-1], up=False))
                skips.append(skips[-1])
            self.levels += [level] * (len(self.encoder) - len(self.levels))
        above = skips[-1]
        self.before, self.after = (GuidedBlock(above, above, embedded, guide) for _ in range(2))
        self.attention = _Attention(above)
        self.decoder = nn.ModuleList()
        for level, multiplier in reversed(list(enumerate(multipliers))):
            for _ in range(blocks + 1):
                self.decoder.append(GuidedBlock(above + skips.pop(), multiplier * width, embedded))
                above = multiplier * width
            if level:
                self.decoder.append(Resample(2, above, up=True))
        self.head = image_head(2, above, 1, head)

    def forward(self, images: Tensor, guides: Sequence[Sequence[Tensor]], level: Tensor | None = None) -> Tensor:
        """Map images (B, in_channels, *spatial) to one (B, 1, *spatial).

        Args:
            images: What it sees at full resolution.
            guides: Two for each halving of the grid, fine to coarse.
            level: Noise levels (B,), where it is told any.

        Raises:
            InputError: a side is not divisible by 2 ** (levels - 1).
        """
        require_divisible(images, self.factor)
        embedding = None if self.embed is None else self.embed(level)
        skips = [self.start(images)]
        for part, depth in zip(self.encoder, self.levels, strict=True):
            features = skips[-1]
            skips.append(part(features) if isinstance(part, Resample) else part(features, embedding, guides[depth - 1]))
        features = self.before(skips[-1], embedding, guides[-1])
        features = self.after(self.attention(features), embedding, guides[-1])
        for part in self.decoder:
            features = part(features) if isinstance(part, Resample) else part(torch.cat([features, skips.pop()], dim=1), embedding)
        output: Tensor = self.head(features)
        return output

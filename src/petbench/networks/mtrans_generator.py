"""The generator of MTrans-GAN: two convolutional encoders, a fusion that weighs them place by place, a transformer over the coarsest grid.

Source: Wang et al., Medical Image Analysis 2024; what its public abstract leaves open is settled in docs/deviations.md.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.attention import attend
from petbench.networks.blocks import (
    CONVOLUTION,
    UP_CONVOLUTION,
    convolution,
    full_precision,
    initialise,
    keep_scale,
    normalisation_layer,
    require_divisible,
)
from petbench.networks.span import Span

SKIPS = ("pet", "fused")
SLOPE = 0.01
"""Of the leaky rectifiers: PyTorch's own."""
PET_FIRST = 1.0
"""Score that PET starts ahead of MR by: a share of 0.73, so that the level of an image, which PET alone knows, is learnt first."""
INTERPOLATION = {2: "bilinear", 3: "trilinear"}


class FeatureIntegration(nn.Module):
    """Fuses PET and MR features, each place and channel by a weight of its own; what is not PET's is MR's.

    A weight has two parts, from both modalities' features: one of the place, the same for all channels, and one of the channel, from
    averages over the window.

    Args:
        spatial_dims: 2 or 3.
        channels: Of PET, of MR and of what comes out.
    """

    def __init__(self, spatial_dims: int, channels: int):
        super().__init__()

        def gate(outputs: int) -> nn.Module:
            hidden = max(1, channels // 2)
            return nn.Sequential(
                convolution(spatial_dims, 2 * channels, hidden, 1), nn.LeakyReLU(), convolution(spatial_dims, hidden, outputs, 1)
            )

        self.pet, self.mr, self.output = (keep_scale(convolution(spatial_dims, channels, channels, 1)) for _ in range(3))
        self.place, self.channel = gate(1), gate(channels)

    def weights(self, pet: Tensor, mr: Tensor) -> Tensor:
        """PET's share (B, C, *grid), between 0 and 1, of projected features, both (B, C, *grid)."""
        joined = torch.cat([pet, mr], dim=1)
        average = joined.mean(dim=tuple(range(2, joined.ndim)), keepdim=True)
        weights: Tensor = (self.place(joined) + self.channel(average) + PET_FIRST).sigmoid()
        return weights

    def forward(self, pet: Tensor, mr: Tensor) -> Tensor:
        """Fuse features, both (B, C, *grid), into (B, C, *grid)."""
        pet, mr = self.pet(pet), self.mr(mr)
        fused: Tensor = self.output(torch.lerp(mr, pet, self.weights(pet, mr)))
        return fused


class TokenLayer(nn.Module):
    """Pre-normalised attention over tokens, then a pre-normalised feed-forward network, each added to what it got.

    Args:
        width: Features of a token.
        heads: Attention heads.
        hidden: Width of the feed-forward network.
        dropout: Share of scores and of outputs that training leaves out.

    Raises:
        InputError: the width is not divisible by the heads.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float):
        super().__init__()
        if width % heads:
            raise InputError(f"network/heads: {heads} heads cannot share {width} features of a token; choose a divisor.")
        self.heads, self.dropout = heads, dropout
        self.norm = nn.LayerNorm(width)
        self.project, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.drop = nn.Dropout(dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width), nn.Dropout(dropout)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Refine tokens (B, N, width)."""
        query, key, value = self.project(self.norm(tokens)).chunk(3, dim=2)
        attended = attend(query, key, value, self.heads, dropout=self.dropout if self.training else 0.0)
        tokens = tokens + self.drop(self.output(attended))
        refined: Tensor = tokens + self.feed_forward(tokens)
        return refined


class TokenTransformer(nn.Module):
    """Lets every voxel of a coarse grid see all others: a token each, with a position that is learnt.

    Args:
        spatial_dims: 2 or 3.
        channels: Features in and out.
        width: Features of a token.
        layers: Transformer layers.
        heads: Attention heads.
        hidden: Width of the layers' feed-forward networks.
        dropout: Share that training leaves out; see `TokenLayer`.
        positions: Grid that positions are learnt on; those of another grid are interpolated between them.
        normalisation: Of the convolutions before and behind: `batch`, `instance` or `none`.

    Raises:
        InputError: the grid of positions has not `spatial_dims` sides, or the width is not divisible by the heads.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: int,
        width: int,
        layers: int,
        heads: int,
        hidden: int,
        dropout: float,
        positions: Sequence[int],
        normalisation: str,
    ):
        super().__init__()
        if len(positions) != spatial_dims:
            raise InputError(f"network/positions: {len(positions)} sides for {spatial_dims} dimensions; give one a dimension.")
        self.mode = INTERPOLATION[spatial_dims]
        self.embed = keep_scale(
            nn.Sequential(
                normalisation_layer(normalisation, spatial_dims, channels), nn.LeakyReLU(), convolution(spatial_dims, channels, width, 3)
            )
        )
        self.positions = nn.Parameter(torch.zeros(1, width, *positions))
        self.embed_norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)
        self.layers = nn.Sequential(*(TokenLayer(width, heads, hidden, dropout) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)
        reduce: list[nn.Module] = []
        for before in (width, channels):
            reduce.append(convolution(spatial_dims, before, channels, 3))
            reduce.append(normalisation_layer(normalisation, spatial_dims, channels))
            reduce.append(nn.LeakyReLU(inplace=True))
        self.reduce = keep_scale(nn.Sequential(*reduce), slope=SLOPE)

    def positions_on(self, grid: Sequence[int]) -> Tensor:
        """The position of each voxel of a grid, (1, width, *grid)."""
        if tuple(grid) == self.positions.shape[2:]:
            return self.positions
        return nn.functional.interpolate(self.positions, size=tuple(grid), mode=self.mode, align_corners=False)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, channels, *grid) in and out."""
        embedded = self.embed(features)
        positions = self.positions_on(embedded.shape[2:]).flatten(2).transpose(1, 2)
        tokens = self.drop(self.embed_norm(embedded.flatten(2).transpose(1, 2)) + positions)
        seen = self.norm(self.layers(tokens)).transpose(1, 2).reshape(embedded.shape)
        reduced: Tensor = self.reduce(seen)
        return reduced


class MTransGenerator(nn.Module):
    """Estimates standard-dose PET from low-dose PET and MR.

    PET and MR have an encoder each; at every grid their features are fused, and the fused ones go on in PET's. The coarsest go through a
    transformer, and a decoder adds to what comes from below what the encoder had at each grid.

    Args:
        spatial_dims: 2 or 3.
        channels: Features at each grid, fine to coarse, each half as wide as the last.
        convolutions: Convolutions at each grid, in the encoders and, but for the coarsest, in the decoder.
        normalisation: Of all but the finest grid of the encoders: `batch`, `instance` or `none`.
        skips: What the decoder adds: `pet` features as they were before the fusion, or `fused` ones.
        tokens: Features of a token.
        layers: Transformer layers.
        heads: Attention heads.
        hidden: Width of the layers' feed-forward networks.
        dropout: Share that training leaves out in the transformer.
        positions: Grid that positions are learnt on; those of another grid are interpolated.
        range: Scaled PET, low and high, that the output's tanh is mapped to; it cannot be left.

    Raises:
        InputError: a value is not one of those listed, the range does not ascend, or the widths do not fit each other.
    """

    def __init__(
        self,
        spatial_dims: int,
        channels: Sequence[int],
        convolutions: Sequence[int],
        normalisation: str,
        skips: str,
        tokens: int,
        layers: int,
        heads: int,
        hidden: int,
        dropout: float,
        positions: Sequence[int],
        range: Sequence[float],
    ):
        super().__init__()
        if skips not in SKIPS:
            raise InputError(f"network/skips: {skips!r} is unknown; choose one of {', '.join(SKIPS)}.")
        if len(convolutions) != len(channels):
            raise InputError(
                f"network/convolutions: {len(convolutions)} counts for {len(channels)} grids; give one a grid, fine to coarse."
            )
        self.span = Span(range, "network/range")
        self.skips = skips

        def stack(before: int, width: int, count: int, normalisation: str) -> list[nn.Module]:
            layers: list[nn.Module] = []
            for inputs in [before, *[width] * (count - 1)]:
                layers.append(convolution(spatial_dims, inputs, width, 3))
                layers.append(normalisation_layer(normalisation, spatial_dims, width))
                layers.append(nn.LeakyReLU(inplace=True))
            return layers

        def encoder() -> nn.ModuleList:
            stages = [nn.Sequential(*stack(1, channels[0], convolutions[0], "none"))]
            for number, ((before, width), count) in enumerate(zip(pairwise(channels), convolutions[1:], strict=True)):
                kind = normalisation if number else "none"
                halve = [CONVOLUTION[spatial_dims](before, width, 2, stride=2), normalisation_layer(kind, spatial_dims, width)]
                stages.append(nn.Sequential(*halve, nn.LeakyReLU(inplace=True), *stack(width, width, count, normalisation)))
            return nn.ModuleList(stages)

        self.pet, self.mr = encoder(), encoder()
        self.fusions = nn.ModuleList(FeatureIntegration(spatial_dims, width) for width in channels)
        self.transformer = TokenTransformer(spatial_dims, channels[-1], tokens, layers, heads, hidden, dropout, positions, normalisation)
        up_convolution = UP_CONVOLUTION[spatial_dims]
        coarse_to_fine = list(reversed(channels))
        self.ups = nn.ModuleList(
            nn.Sequential(
                up_convolution(before, width, 2, stride=2),
                normalisation_layer(normalisation, spatial_dims, width),
                nn.LeakyReLU(inplace=True),
            )
            for before, width in pairwise(coarse_to_fine)
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*stack(width, width, count, normalisation))
            for width, count in zip(coarse_to_fine[1:], list(reversed(convolutions))[1:], strict=True)
        )
        for network in (self.pet, self.mr, self.ups, self.blocks):
            keep_scale(network, slope=SLOPE)
        self.head = convolution(spatial_dims, channels[0], 1, 1)
        initialise(self.head, std=0.1 * channels[0] ** -0.5)  # near 0 at the start, where the tanh has its slope
        self.factor = 2 ** (len(channels) - 1)

    def forward(self, low_dose: Tensor, mr: Tensor) -> Tensor:
        """Restore windows of low-dose PET with MR, both (B, 1, *spatial); the same shape, within `range`, in 32-bit floats.

        Raises:
            InputError: a side is not divisible by 2 ** (grids - 1).
        """
        require_divisible(low_dose, self.factor)
        features, guide = low_dose, mr
        skips = []
        for pet_stage, mr_stage, fuse in zip(self.pet, self.mr, self.fusions, strict=True):
            own, guide = pet_stage(features), mr_stage(guide)
            features = fuse(own, guide)
            skips.append(own if self.skips == "pet" else features)
        features = self.transformer(features)
        for up, block, skip in zip(self.ups, self.blocks, reversed(skips[:-1]), strict=True):
            features = block(up(features) + skip)
        with full_precision(features.device):  # eight significant bits of the tanh would be those of the image
            image = self.head(features.float()).tanh()
        return self.span.decode(image)

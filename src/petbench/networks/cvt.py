"""Convolutional vision transformers in two or three dimensions, and the networks that 3D CVT-GAN makes of them.

Source: Wu et al., CvT: Introducing Convolutions to Vision Transformers, ICCV 2021; Zeng et al., 3D CVT-GAN, MICCAI 2022, whose published
code says what the paper leaves open.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.attention import attend
from petbench.networks.blocks import (
    CONVOLUTION,
    UP_CONVOLUTION,
    ChannelNorm,
    convolution,
    initialise,
    keep_scale,
    normalisation_layer,
    require_divisible,
)

SLOPE = 0.2
"""Of the leaky rectifiers."""
OUTPUTS: dict[str, Callable[[], nn.Module]] = {"leaky_relu": lambda: nn.LeakyReLU(SLOPE), "linear": nn.Identity}
CHANNEL_DROPOUT: dict[int, type[nn.Dropout2d] | type[nn.Dropout3d]] = {2: nn.Dropout2d, 3: nn.Dropout3d}


class ConvolutionalProjection(nn.Module):
    """Makes tokens of features: a depthwise 3-wide convolution, batch normalisation, a linear layer.

    Args:
        spatial_dims: 2 or 3.
        channels: Channels in and out.
        stride: 1 for queries, 2 for keys and values.
    """

    def __init__(self, spatial_dims: int, channels: int, stride: int):
        super().__init__()
        self.depthwise = CONVOLUTION[spatial_dims](channels, channels, 3, stride=stride, padding=1, groups=channels, bias=False)
        self.norm = normalisation_layer("batch", spatial_dims, channels)
        self.mix = nn.Linear(channels, channels, bias=False)
        nn.init.xavier_uniform_(self.mix.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Project features (B, C, *grid) to tokens (B, N, C), N the voxels of the strided grid."""
        tokens: Tensor = self.mix(self.norm(self.depthwise(features)).flatten(2).transpose(1, 2))
        return tokens


class ConvolutionalAttention(nn.Module):
    """Multi-head self-attention over a whole grid, whose queries, keys and values are convolutional projections.

    Args:
        spatial_dims: 2 or 3.
        channels: Channels in and out.
        heads: Attention heads.

    Raises:
        InputError: the channels are not divisible by the heads.
    """

    def __init__(self, spatial_dims: int, channels: int, heads: int):
        super().__init__()
        if channels % heads:
            raise InputError(f"network/heads: {heads} heads cannot share {channels} channels; choose a divisor.")
        self.heads = heads
        self.query = ConvolutionalProjection(spatial_dims, channels, stride=1)
        self.key, self.value = (ConvolutionalProjection(spatial_dims, channels, stride=2) for _ in range(2))
        self.output = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.output.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Let every voxel of features (B, C, *grid) attend to all others."""
        query, key, value = self.query(features), self.key(features), self.value(features)
        # Scores are scaled by the width of all heads together, as CvT does it.
        joined: Tensor = self.output(attend(query, key, value, self.heads, scale=features.shape[1] ** -0.5))
        return joined.transpose(1, 2).reshape(features.shape)


class CVTBlock(nn.Module):
    """Pre-normalised convolutional attention, then a pre-normalised feed-forward network, each added to what it got.

    Args:
        spatial_dims: 2 or 3.
        channels: Channels in and out.
        heads: Attention heads.
        expansion: Hidden width of the feed-forward network over `channels`.
        dropout: Share of features that training leaves out behind the attention and the layers of the feed-forward network.
    """

    def __init__(self, spatial_dims: int, channels: int, heads: int, expansion: int, dropout: float):
        super().__init__()
        self.attention = nn.Sequential(ChannelNorm(channels), ConvolutionalAttention(spatial_dims, channels, heads), nn.Dropout(dropout))
        expand, reduce = (
            CONVOLUTION[spatial_dims](*widths, 1) for widths in ((channels, expansion * channels), (expansion * channels, channels))
        )
        for layer in (expand, reduce):
            nn.init.xavier_uniform_(layer.weight)
        self.feed_forward = nn.Sequential(ChannelNorm(channels), expand, nn.GELU(), nn.Dropout(dropout), reduce, nn.Dropout(dropout))

    def forward(self, features: Tensor) -> Tensor:
        """Refine features (B, C, *grid)."""
        attended: Tensor = features + self.attention(features)
        refined: Tensor = attended + self.feed_forward(attended)
        return refined


def cvt_stage(
    spatial_dims: int, in_channels: int, channels: int, depth: int, heads: int, expansion: int, dropout: float, up: bool = False
) -> nn.Sequential:
    """A convolutional embedding, a layer norm of each voxel, and blocks: (B, in_channels, *grid) to (B, channels, *other grid).

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels in.
        channels: Channels out.
        depth: Blocks.
        heads: Attention heads.
        expansion: Hidden width of the feed-forward networks over `channels`.
        dropout: Share of features that training leaves out, in the embedding, too.
        up: Double the grid by a transposed convolution, 2 wide; otherwise a convolution 3 wide halves it.
    """
    if up:
        embed: nn.Module = UP_CONVOLUTION[spatial_dims](in_channels, channels, 2, stride=2)
    else:
        embed = convolution(spatial_dims, in_channels, channels, kernel_size=3, stride=2)
    blocks = [CVTBlock(spatial_dims, channels, heads, expansion, dropout) for _ in range(depth)]
    return nn.Sequential(embed, ChannelNorm(channels), nn.Dropout(dropout), *blocks)


class Refine(nn.Module):
    """A 3-wide convolution, LeakyReLU and batch normalisation, plus a pointwise convolution of what came in.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels in.
        channels: Channels out.
        dropout: Share of channels that training leaves out behind the first convolution.
    """

    def __init__(self, spatial_dims: int, in_channels: int, channels: int, dropout: float):
        super().__init__()
        self.change = nn.Sequential(
            convolution(spatial_dims, in_channels, channels, kernel_size=3),
            CHANNEL_DROPOUT[spatial_dims](dropout),
            nn.LeakyReLU(SLOPE),
            normalisation_layer("batch", spatial_dims, channels),
        )
        self.residual = keep_scale(convolution(spatial_dims, in_channels, channels, kernel_size=1))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, in_channels, *grid) to (B, channels, *grid)."""
        refined: Tensor = self.change(features) + self.residual(features)
        return refined


class CVTGenerator(nn.Module):
    """Estimates standard-dose PET from low-dose PET: what a U-Net of transformer stages makes is added to the low dose (3D CVT-GAN).

    A convolution halves the grid, and each stage halves it again. At each of their grids the decoder refines its features beside the
    stage's, the coarsest alone, and doubles the grid by a transposed stage as deep as the stage of that width, and at last by transposed
    convolutions.

    Args:
        spatial_dims: 2 or 3.
        stem: Features of the first convolution, even.
        channels: Features of each stage, fine to coarse.
        depths: Blocks of each stage.
        heads: Attention heads of each stage.
        decoder_heads: Attention heads of each transposed stage, coarse to fine, one less than there are stages.
        expansion: Hidden width of the feed-forward networks as a multiple of the channels.
        dropout: Share of features that training leaves out, in each stage and where the decoder refines on its grid.
        output: What ends the image that is added: `leaky_relu`, or nothing (`linear`).

    Raises:
        InputError: the lists do not fit each other, or the output is unknown.
    """

    def __init__(
        self,
        spatial_dims: int,
        stem: int,
        channels: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int],
        decoder_heads: Sequence[int],
        expansion: int,
        dropout: Sequence[float],
        output: str,
    ):
        super().__init__()
        if output not in OUTPUTS:
            raise InputError(f"network/output: {output!r} is unknown; choose one of {', '.join(OUTPUTS)}.")
        for key, given, fits in (
            ("depths", depths, len(channels)),
            ("heads", heads, len(channels)),
            ("decoder_heads", decoder_heads, len(channels) - 1),
            ("dropout", dropout, len(channels)),
        ):
            if len(given) != fits:
                raise InputError(f"network/{key}: {len(given)} values for {len(channels)} stages; give {fits}.")
        up_convolution = UP_CONVOLUTION[spatial_dims]
        self.stem = nn.Sequential(
            convolution(spatial_dims, 1, stem, kernel_size=3, stride=2),
            nn.LeakyReLU(SLOPE),
            normalisation_layer("batch", spatial_dims, stem),
        )
        self.stages = nn.ModuleList(
            cvt_stage(spatial_dims, before, width, depth, count, expansion, share)
            for (before, width), depth, count, share in zip(pairwise([stem, *channels]), depths, heads, dropout, strict=True)
        )
        coarse_to_fine = list(zip(reversed(channels), reversed(depths), reversed(dropout), strict=True))
        seen = [channels[-1], *(2 * width for width in reversed(channels[:-1]))]
        self.refines = nn.ModuleList(
            Refine(spatial_dims, before, width, share) for before, (width, _, share) in zip(seen, coarse_to_fine, strict=True)
        )
        self.ups = nn.ModuleList(
            cvt_stage(spatial_dims, below, width, depth, count, expansion, 0.0, up=True)
            for ((below, _, _), (width, depth, _)), count in zip(pairwise(coarse_to_fine), decoder_heads, strict=True)
        )
        self.ups.append(keep_scale(up_convolution(channels[0], stem, 2, stride=2)))
        self.mix = keep_scale(
            nn.Sequential(
                convolution(spatial_dims, 2 * stem, stem, kernel_size=3),
                convolution(spatial_dims, stem, stem // 2, kernel_size=3),
            )
        )
        self.head = up_convolution(stem // 2, 1, 2, stride=2)
        initialise(self.head, std=0.01 * (stem // 2) ** -0.5)  # so that training starts at the low dose
        self.output = OUTPUTS[output]()
        self.factor = 2 ** (1 + len(channels))

    def forward(self, low_dose: Tensor) -> Tensor:
        """Restore windows of low-dose PET (B, 1, *spatial); the same shape, unbounded.

        Raises:
            InputError: a side is not divisible by 2 ** (stages + 1).
        """
        require_divisible(low_dose, self.factor)
        features = self.stem(low_dose)
        skips = []
        for stage in self.stages:
            skips.append(features)
            features = stage(features)
        for number, (refine, up) in enumerate(zip(self.refines, self.ups, strict=True)):
            features = up(refine(features if number == 0 else torch.cat([skips.pop(), features], dim=1)))
        change: Tensor = self.output(self.head(self.mix(torch.cat([skips.pop(), features], dim=1))))
        return low_dose + change


class CVTDiscriminator(nn.Module):
    """Judges regions of an image pair as real or not: convolutions, then transformer stages that halve the grid (3D CVT-GAN).

    Every feature of the last stage is a logit of its own.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Images judged together.
        convolutions: Features of each convolution.
        strides: Of each convolution.
        channels: Features of each stage, of one block each.
        heads: Attention heads of each stage.
        expansion: Hidden width of the feed-forward networks as a multiple of the channels.
        dropout: Share of features that training leaves out in the stages.
        convolution_dropout: Share of channels that it leaves out before them.

    Raises:
        InputError: the lists do not fit each other.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        convolutions: Sequence[int],
        strides: Sequence[int],
        channels: Sequence[int],
        heads: Sequence[int],
        expansion: int,
        dropout: float,
        convolution_dropout: float,
    ):
        super().__init__()
        for key, given, of in (("strides", strides, convolutions), ("heads", heads, channels)):
            if len(given) != len(of):
                raise InputError(f"discriminator/{key}: {len(given)} values for {len(of)} layers; give one a layer.")
        layers: list[nn.Module] = []
        for (before, width), stride in zip(pairwise([in_channels, *convolutions]), strides, strict=True):
            layers += [convolution(spatial_dims, before, width, kernel_size=3, stride=stride), nn.LeakyReLU(SLOPE)]
            layers.append(normalisation_layer("batch", spatial_dims, width))
        layers.append(CHANNEL_DROPOUT[spatial_dims](convolution_dropout))
        for (before, width), count in zip(pairwise([convolutions[-1], *channels]), heads, strict=True):
            layers.append(cvt_stage(spatial_dims, before, width, 1, count, expansion, dropout))
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, features, *regions) of images (B, in_channels, *spatial); positive means real."""
        logits: Tensor = self.layers(images)
        return logits

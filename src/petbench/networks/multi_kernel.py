"""Multi-kernel projection and the transformer block built on it (MAK-GAN, section 2.1)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.attention import attend
from petbench.networks.blocks import CONVOLUTION, convolution, initialise

KERNEL_SIZES = (3, 5, 7)


def joint_norm(channels: int) -> nn.Module:
    """Layer normalisation of each sample over channels and positions together, for features (B, C, *grid).

    A norm of each voxel over its channels would leave nothing of a one-channel image's intensity, and one of each channel over its
    positions nothing of what is the same everywhere; this one removes no more than the window's level.
    """
    return nn.GroupNorm(1, channels)


def allocate(channels: int, ratio: Sequence[int]) -> list[int]:
    """Share `channels` in the given ratio, rounded down; what remains goes to the last share that is not 0.

    Raises:
        InputError: a share would get no channel although its part of the ratio is not 0.
    """
    shares = [channels * part // sum(ratio) for part in ratio]
    last = max(i for i, part in enumerate(ratio) if part)
    shares[last] += channels - sum(shares)
    if any(part and not share for part, share in zip(ratio, shares, strict=True)):
        raise InputError(f"network/channels: {channels} cannot be split {':'.join(map(str, ratio))}; use more channels.")
    return shares


class MultiKernelProjection(nn.Module):
    """Convolves groups of channels with kernels 3, 5 and 7, joins them and mixes them pointwise (MAK-GAN, eq. 1 and 2).

    Each group is depthwise: dense kernels would by themselves cost more than the network is reported to.

    Args:
        spatial_dims: 2 or 3.
        channels: Channels in and out.
        ratio: Relative sizes of the three groups; 0 leaves a kernel out.
        stride: 1 for queries, 2 for keys and values.
    """

    def __init__(self, spatial_dims: int, channels: int, ratio: Sequence[int], stride: int):
        super().__init__()
        shares = zip(allocate(channels, ratio), KERNEL_SIZES, strict=True)
        used = [(share, kernel) for share, kernel in shares if share]
        self.shares = [share for share, _ in used]
        self.paddings = [(kernel // 2,) * 2 * spatial_dims for _, kernel in used]
        layer = CONVOLUTION[spatial_dims]
        kernels = [layer(share, share, kernel, stride=stride, groups=share) for share, kernel in used]
        for depthwise in kernels:
            nn.init.kaiming_normal_(depthwise.weight, nonlinearity="linear")
        self.kernels = nn.ModuleList(kernels)
        self.mix = nn.Linear(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        """Project features (B, C, *grid) to tokens (B, N, C), N the voxels of the strided grid."""
        groups = torch.split(features, self.shares, dim=1)
        # Padded by hand: oneDNN 3.12 leaves weight gradients unset where a 7-wide kernel of stride 2 pads a grid of 6 itself.
        padded = [nn.functional.pad(group, padding) for group, padding in zip(groups, self.paddings, strict=True)]
        joined = torch.cat([kernel(group) for kernel, group in zip(self.kernels, padded, strict=True)], dim=1)
        # Mixed as tokens, so that channels lie together in memory: fused attention kernels need it.
        tokens: Tensor = self.mix(joined.flatten(2).transpose(1, 2))
        return tokens


class MultiKernelAttention(nn.Module):
    """Multi-head attention whose queries, keys and values are multi-kernel projections (MAK-GAN, eq. 3, 4 and 7).

    Args:
        spatial_dims: 2 or 3.
        channels: Channels in and out.
        heads: Attention heads.
        ratio: Channels of the kernels 3, 5 and 7.

    Raises:
        InputError: the channels are not divisible by the heads.
    """

    def __init__(self, spatial_dims: int, channels: int, heads: int, ratio: Sequence[int]):
        super().__init__()
        if channels % heads:
            raise InputError(f"network/heads: {heads} heads cannot share {channels} channels; choose a divisor.")
        self.heads = heads
        self.query_norm, self.source_norm = joint_norm(channels), joint_norm(channels)
        self.query = MultiKernelProjection(spatial_dims, channels, ratio, stride=1)
        self.key = MultiKernelProjection(spatial_dims, channels, ratio, stride=2)
        self.value = MultiKernelProjection(spatial_dims, channels, ratio, stride=2)
        self.output = nn.Linear(channels, channels)
        for projection in (self.query, self.key):  # at unit size, so that attention differs over positions from the first step
            nn.init.trunc_normal_(projection.mix.weight, std=channels**-0.5)

    def forward(self, features: Tensor, source: Tensor) -> Tensor:
        """Let every voxel of `features` attend to `source`, both (B, C, *grid); returns (B, C, *grid)."""
        normalised = self.source_norm(source)
        query, key, value = self.query(self.query_norm(features)), self.key(normalised), self.value(normalised)
        joined: Tensor = self.output(attend(query, key, value, self.heads))
        return joined.transpose(1, 2).reshape(features.shape)


class MultiKernelExtraction(nn.Module):
    """The MKE block after its patch merging: pre-normalised multi-kernel self-attention, then a feed-forward network (MAK-GAN, 2.1).

    Args:
        spatial_dims: 2 or 3.
        channels: Channels in and out.
        heads: Attention heads.
        ratio: Channels of the kernels 3, 5 and 7.
        expansion: Hidden width of the feed-forward network over `channels`.
    """

    def __init__(self, spatial_dims: int, channels: int, heads: int, ratio: Sequence[int], expansion: int):
        super().__init__()
        self.attention = MultiKernelAttention(spatial_dims, channels, heads, ratio)
        self.feed_forward = nn.Sequential(
            joint_norm(channels),
            convolution(spatial_dims, channels, expansion * channels, kernel_size=1),
            nn.GELU(),
            convolution(spatial_dims, expansion * channels, channels, kernel_size=1),
        )
        # Small, so that a block starts by passing its features on.
        initialise(nn.ModuleList([self.attention.output, self.feed_forward[-1]]), std=0.02)

    def forward(self, features: Tensor) -> Tensor:
        """Refine features (B, C, *grid)."""
        attended: Tensor = features + self.attention(features, features)
        refined: Tensor = attended + self.feed_forward(attended)
        return refined

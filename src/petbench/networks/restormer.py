"""Transformer blocks for full-resolution features: attention over channels or inside windows, and a gated feed-forward network.

Source: Zamir et al., Restormer, CVPR 2022, from which MFdiff takes its encoders and its decoder.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.blocks import CONVOLUTION, ChannelNorm

ATTENTIONS = ("channel", "window")


class _Attention(nn.Module):
    """Queries, keys and values by a pointwise and a depthwise convolution, and a learned temperature a head of cosine scores."""

    def __init__(self, spatial_dims: int, channels: int, heads: int):
        super().__init__()
        if channels % heads:
            raise InputError(f"network/heads: {heads} heads cannot share {channels} channels; choose a divisor.")
        layer = CONVOLUTION[spatial_dims]
        self.heads = heads
        self.temperature = nn.Parameter(torch.ones(heads, 1, 1))
        self.project = nn.Sequential(
            layer(channels, 3 * channels, 1, bias=False),
            layer(3 * channels, 3 * channels, 3, padding=1, groups=3 * channels, bias=False),
        )
        self.output = layer(channels, channels, 1, bias=False)


class ChannelAttention(_Attention):
    """Attention whose tokens are channels, each described by its whole image: its cost is linear in the voxels (Restormer, eq. 1).

    Args:
        spatial_dims: 2 or 3.
        channels: Channels in and out.
        heads: Groups of channels that attend among themselves.

    Raises:
        InputError: the channels are not divisible by the heads.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Mix features (B, C, *grid)."""
        query, key, value = self.project(features).flatten(2).unflatten(1, (3, self.heads, -1)).unbind(1)
        # Products are divided by the lengths afterwards: there are far fewer scores than features.
        lengths = [tokens.norm(dim=-1).clamp_min(1e-12) for tokens in (query, key)]
        cosines = query @ key.transpose(-2, -1) / (lengths[0].unsqueeze(-1) * lengths[1].unsqueeze(-2))
        mixed: Tensor = self.output(((self.temperature * cosines).softmax(dim=-1) @ value).reshape(features.shape))
        return mixed


class WindowAttention(_Attention):
    """Attention whose tokens are the voxels of one window; windows tile the grid and do not see each other.

    Args:
        spatial_dims: 2 or 3.
        channels: Channels in and out.
        heads: Attention heads.
        window: Side of a window in voxels.

    Raises:
        InputError: the channels are not divisible by the heads.
    """

    def __init__(self, spatial_dims: int, channels: int, heads: int, window: int):
        super().__init__(spatial_dims, channels, heads)
        self.window = window

    def forward(self, features: Tensor) -> Tensor:
        """Mix features (B, C, *grid).

        Raises:
            InputError: the window does not divide a side of the grid.
        """
        grid = features.shape[2:]
        if any(side % self.window for side in grid):
            size = "x".join(map(str, grid))
            raise InputError(f"window: {size} is not tiled by attention windows of {self.window}; make every side a multiple of it.")
        windows = self._windows(self.project(features))
        tokens = windows.reshape(*windows.shape[:2], 3, self.heads, -1, windows.shape[-1]).transpose(-2, -1).contiguous()
        # Fused kernels take four dimensions, all windows of all samples as one batch, and a token's features next to each other.
        query, key, value = tokens.flatten(0, 1).unbind(1)
        query = nn.functional.normalize(query, dim=-1) * self.temperature
        key = nn.functional.normalize(key, dim=-1)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0)
        output: Tensor = self.output(self._joined(mixed.transpose(-2, -1).reshape(*windows.shape[:2], -1, windows.shape[-1]), grid))
        return output

    def _windows(self, features: Tensor) -> Tensor:
        """(B, C, *grid) to (B, windows, C, voxels of a window)."""
        batch, channels, *grid = features.shape
        split = features.reshape(batch, channels, *(size for side in grid for size in (side // self.window, self.window)))
        places = [2 + 2 * axis for axis in range(len(grid))]
        moved = split.permute(0, *places, 1, *(place + 1 for place in places))
        return moved.reshape(batch, -1, channels, self.window ** len(grid))

    def _joined(self, windows: Tensor, grid: Sequence[int]) -> Tensor:
        """The reverse of `_windows`."""
        batch, _, channels, _ = windows.shape
        dims = len(grid)
        split = windows.reshape(batch, *(side // self.window for side in grid), channels, *(self.window,) * dims)
        pairs = [axis for place in range(1, 1 + dims) for axis in (place, place + 1 + dims)]
        return split.permute(0, 1 + dims, *pairs).reshape(batch, channels, *grid)


class GatedFeedForward(nn.Module):
    """Two depthwise-convolved projections, one gating the other through a GELU (Restormer, eq. 2: GDFN).

    Args:
        spatial_dims: 2 or 3.
        channels: Channels in and out.
        expansion: Hidden width over `channels`.
    """

    def __init__(self, spatial_dims: int, channels: int, expansion: float):
        super().__init__()
        layer, hidden = CONVOLUTION[spatial_dims], int(expansion * channels)
        self.expand = nn.Sequential(
            layer(channels, 2 * hidden, 1, bias=False),
            layer(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=False),
        )
        self.reduce = layer(hidden, channels, 1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Refine features (B, C, *grid)."""
        gate, gated = self.expand(features).chunk(2, dim=1)
        refined: Tensor = self.reduce(nn.functional.gelu(gate) * gated)
        return refined


class TransformerBlock(nn.Module):
    """Pre-normalised attention, then a pre-normalised gated feed-forward network, each added to what it got (MFdiff, eq. 3).

    Args:
        spatial_dims: 2 or 3.
        channels: Channels in and out.
        heads: Attention heads.
        expansion: Hidden width of the feed-forward network over `channels`.
        attention: `channel` or `window`.
        window: Side of a window of `window` attention, in voxels.

    Raises:
        InputError: the attention is unknown, or the channels are not divisible by the heads.
    """

    def __init__(self, spatial_dims: int, channels: int, heads: int, expansion: float, attention: str = "channel", window: int = 1):
        super().__init__()
        if attention not in ATTENTIONS:
            raise InputError(f"network/attention: {attention!r} is unknown; choose one of {', '.join(ATTENTIONS)}.")
        mix = (
            ChannelAttention(spatial_dims, channels, heads)
            if attention == "channel"
            else WindowAttention(spatial_dims, channels, heads, window)
        )
        self.attention = nn.Sequential(ChannelNorm(channels), mix)
        self.feed_forward = nn.Sequential(ChannelNorm(channels), GatedFeedForward(spatial_dims, channels, expansion))

    def forward(self, features: Tensor) -> Tensor:
        """Refine features (B, C, *grid)."""
        attended: Tensor = features + self.attention(features)
        refined: Tensor = attended + self.feed_forward(attended)
        return refined

"""Pyramid convolution with channel attention, self-attention and residual blocks (PCSA-GAN, section 3.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.attention import attend
from petbench.networks.blocks import convolution

GATES = ("softmax", "sigmoid")
# Of a perceptron with fewer units all are dead too often: what it sees is not negative, so that a ReLU is off for good by its sign.
LEAST_HIDDEN = 4


class ChannelAttention(nn.Module):
    """Weighs the channels of one group by what it holds on average and at most (equations 3 to 5).

    Args:
        channels: Channels of the group.
        gate: `softmax` over the group's channels (equation 4) or `sigmoid` of each (equation 3). A softmax is scaled by the number of
            channels, so that even weights leave the features at their size.

    Raises:
        InputError: the gate is unknown.
    """

    def __init__(self, channels: int, gate: str):
        super().__init__()
        if gate not in GATES:
            raise InputError(f"network/gate: {gate!r} is unknown; choose one of {', '.join(GATES)}.")
        self.gate, self.channels = gate, channels
        hidden = max(LEAST_HIDDEN, channels // 4)
        self.average, self.largest = (nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)) for _ in range(2))

    def weights(self, features: Tensor) -> Tensor:
        """The weight of each channel, (B, channels), of features (B, channels, *spatial)."""
        flat = features.flatten(2)
        scores = self.average(flat.mean(dim=2)) + self.largest(flat.amax(dim=2))
        scores = scores.float()  # eight significant bits of a weight would be eight of all features
        weights: Tensor = self.channels * scores.softmax(dim=1) if self.gate == "softmax" else scores.sigmoid()
        return weights

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, channels, *spatial), each channel times its weight."""
        weights = self.weights(features)
        return features * weights[..., None, None, None]


class PyramidBlock(nn.Module):
    """Convolutions with kernels of several sizes side by side, ReLU, max pooling, and channel attention within each size's group.

    Args:
        in_channels: Channels of the input.
        kernels: Side of each group's kernel.
        filters: Channels of each group.
        gate: See `ChannelAttention`.
        pyramid: Without it all channels come from the smallest kernel and there is no attention: the block of SA-GAN.
    """

    def __init__(self, in_channels: int, kernels: Sequence[int], filters: Sequence[int], gate: str, pyramid: bool):
        super().__init__()
        if len(kernels) != len(filters):
            raise InputError(f"network/filters: {len(filters)} groups for {len(kernels)} kernel sizes; give one a size.")
        groups = list(zip(kernels, filters, strict=True)) if pyramid else [(min(kernels), sum(filters))]
        self.convolutions = nn.ModuleList(convolution(3, in_channels, width, kernel) for kernel, width in groups)
        self.attentions = nn.ModuleList(ChannelAttention(width, gate) if pyramid else nn.Identity() for _, width in groups)
        self.pool = nn.MaxPool3d(2)

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, in_channels, *grid) to (B, sum of filters, *grid / 2)."""
        groups = [attend(self.pool(convolve(features).relu())) for convolve, attend in zip(self.convolutions, self.attentions, strict=True)]
        return torch.cat(groups, dim=1)


class SelfAttention(nn.Module):
    """Each voxel's features plus a weighted sum of all others', the weight starting from 0 (Zhang et al., SAGAN, 2019)."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = max(1, channels // 8)
        self.query, self.key = (convolution(3, channels, hidden, 1) for _ in range(2))
        self.value = convolution(3, channels, channels, 1)
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, channels, *grid) in and out."""
        query, key, value = (part(features).flatten(2).transpose(1, 2) for part in (self.query, self.key, self.value))
        attended = attend(query, key, value, heads=1, scale=1.0)
        return features + self.weight * attended.transpose(1, 2).reshape(features.shape)


class ResidualBlock(nn.Module):
    """Two 3-wide convolutions with a ReLU between them, added to what came in; ReLU after the sum."""

    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = (convolution(3, channels, channels, 3) for _ in range(2))

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, channels, *grid) in and out."""
        changed: Tensor = self.second(self.first(features).relu())
        return (features + changed).relu()

"""Invertible nodes of affine coupling: features that keep all of the image they came from (Dinh et al., Real NVP, 2016; MFdiff, eq. 4)."""

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal

from petbench.errors import InputError
from petbench.networks.blocks import CONVOLUTION

MIXINGS = ("permutation", "orthogonal")
LIMIT = 2.0
"""Bound of the logarithm of a coupling's scale: an unbounded exponential overflows before it learns."""


def inverted_residual(spatial_dims: int, channels: int, expansion: int) -> nn.Module:
    """Widen, convolve depthwise, narrow linearly (Sandler et al., MobileNetV2, 2018).

    Without normalisation, which would remove the activity level, and without a skip, which a coupling has already.
    """
    layer, hidden = CONVOLUTION[spatial_dims], expansion * channels
    return nn.Sequential(
        layer(channels, hidden, 1),
        nn.ReLU6(),
        layer(hidden, hidden, 3, padding=1, groups=hidden),
        nn.ReLU6(),
        layer(hidden, channels, 1),
    )


class ChannelReversal(nn.Module):
    """Reverses the order of channels, so that the halves of a coupling change places; its own inverse."""

    def forward(self, features: Tensor) -> Tensor:
        """Mix features (B, C, *grid)."""
        return features.flip(1)

    def invert(self, features: Tensor) -> Tensor:
        """Undo `forward`."""
        return features.flip(1)


class OrthogonalMixing(nn.Module):
    """A learned rotation of the channels of each voxel; its transpose undoes it.

    Args:
        channels: Channels in and out.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.rotation = orthogonal(nn.Linear(channels, channels, bias=False))

    def forward(self, features: Tensor) -> Tensor:
        """Mix features (B, C, *grid)."""
        return torch.einsum("oc,bc...->bo...", self.rotation.weight, features)

    def invert(self, features: Tensor) -> Tensor:
        """Undo `forward`."""
        return torch.einsum("oc,bo...->bc...", self.rotation.weight, features)


class CouplingNode(nn.Module):
    """Mixes channels, then scales and shifts one half of them by maps of the other (MFdiff, eq. 4).

    The Jacobian's log-determinant is the sum of `log_scale`, as the mixing keeps volumes.

    Args:
        spatial_dims: 2 or 3.
        channels: Channels in and out, even.
        expansion: Hidden width of the inverted-residual maps over their input.
        mixing: `permutation` (reversal) or `orthogonal` (a learned rotation).

    Raises:
        InputError: the number of channels is odd, or the mixing is unknown.
    """

    def __init__(self, spatial_dims: int, channels: int, expansion: int, mixing: str):
        super().__init__()
        if channels % 2:
            raise InputError(f"network/channels: {channels} channels have no halves; use an even number.")
        if mixing not in MIXINGS:
            raise InputError(f"network/mixing: {mixing!r} is unknown; choose one of {', '.join(MIXINGS)}.")
        self.mixing: ChannelReversal | OrthogonalMixing = ChannelReversal() if mixing == "permutation" else OrthogonalMixing(channels)
        self.scale = inverted_residual(spatial_dims, channels // 2, expansion)
        self.shift = inverted_residual(spatial_dims, channels // 2, expansion)

    def log_scale(self, kept: Tensor) -> Tensor:
        """Logarithm of the scale of the first half, from the half that is kept, both (B, C/2, *grid)."""
        return LIMIT * torch.tanh(self.scale(kept) / LIMIT)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, C, *grid)."""
        changed, kept = self.mixing(features).chunk(2, dim=1)
        return torch.cat([changed * self.log_scale(kept).exp() + self.shift(kept), kept], dim=1)

    def invert(self, features: Tensor) -> Tensor:
        """What `forward` made `features` of, to rounding."""
        changed, kept = features.chunk(2, dim=1)
        return self.mixing.invert(torch.cat([(changed - self.shift(kept)) * (-self.log_scale(kept)).exp(), kept], dim=1))


class InvertibleBranch(nn.Module):
    """Coupling nodes one after another.

    Args:
        spatial_dims: 2 or 3.
        channels: Channels in and out, even.
        nodes: How many.
        expansion: Hidden width of the inverted-residual maps over their input.
        mixing: `permutation` or `orthogonal`.
    """

    def __init__(self, spatial_dims: int, channels: int, nodes: int, expansion: int, mixing: str):
        super().__init__()
        self.nodes = nn.ModuleList(CouplingNode(spatial_dims, channels, expansion, mixing) for _ in range(nodes))

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, C, *grid)."""
        for node in self.nodes:
            features = node(features)
        return features

    def invert(self, features: Tensor) -> Tensor:
        """What `forward` made `features` of, to rounding."""
        for node in reversed(self.nodes):
            assert isinstance(node, CouplingNode)
            features = node.invert(features)
        return features

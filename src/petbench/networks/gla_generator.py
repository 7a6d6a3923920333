"""The generator of GLA-GAN (Sikka et al., arXiv 2108.02160): one network sees the whole volume, others one part of it each."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.blocks import convolution, full_precision, require_divisible
from petbench.networks.pcsa_generator import OUTPUTS
from petbench.networks.unet import UNet

MIDDLE = 0.5
"""Where an image starts, which fills [0, 1]: at 0 the signs of a few features would decide whether all of it is dark."""


class _Path(UNet):
    """A U-Net that ends in `features` features, (B, features, *grid), instead of in an image."""

    def __init__(self, channels: Sequence[int], normalisation: str, features: int):
        super().__init__(3, 1, channels, normalisation)
        self.head = convolution(3, channels[0], features, 1)


class GLAGenerator(nn.Module):
    """Features of the whole volume and, stitched, those of its parts, which two convolutions fuse into one image.

    Args:
        channels: Features of each level of the global U-Net, fine to coarse.
        local_channels: The same of each local one.
        parts: Parts along each axis; each of the parts^3 has a U-Net of its own, as each holds another piece of anatomy.
        features: Features that each path puts out.
        normalisation: `batch`, `instance` or `none`.
        output: What follows the last convolution, see `petbench.networks.pcsa_generator`.

    Raises:
        InputError: `output` or `normalisation` is unknown.
    """

    def __init__(self, channels: Sequence[int], local_channels: Sequence[int], parts: int, features: int, normalisation: str, output: str):
        super().__init__()
        if output not in OUTPUTS:
            raise InputError(f"network/output: {output!r} is unknown; choose one of {', '.join(OUTPUTS)}.")
        self.whole = _Path(channels, normalisation, features)
        self.local = nn.ModuleList(_Path(local_channels, normalisation, features) for _ in range(parts**3))
        self.fusion = nn.Sequential(convolution(3, 2 * features, features, 3), nn.LeakyReLU(0.1))
        self.head = convolution(3, features, 1, 3)
        self.parts, self.output = parts, OUTPUTS[output]
        self.factor = math.lcm(self.whole.factor, parts * 2 ** (len(local_channels) - 1))

    def local_features(self, mr: Tensor) -> Tensor:
        """Features (B, features, *grid) of maps (B, 1, *grid), those of each part by its own network, stitched."""
        networks = iter(self.local)

        def gathered(block: Tensor, axis: int) -> Tensor:
            if axis == block.ndim:
                found: Tensor = next(networks)(block)
                return found
            return torch.cat([gathered(part, axis + 1) for part in block.chunk(self.parts, axis)], axis)

        return gathered(mr, 2)

    def forward(self, mr: Tensor) -> Tensor:
        """PET (B, 1, *grid) of maps (B, 1, *grid).

        Raises:
            InputError: a side cannot be cut into parts and halved as often as the networks ask.
        """
        require_divisible(mr, self.factor)
        features = self.fusion(torch.cat([self.whole(mr), self.local_features(mr)], dim=1))
        with full_precision(features.device):  # else rounding would decide which dark voxels are below zero
            return self.output(self.head(features.float()) + MIDDLE, self.training)

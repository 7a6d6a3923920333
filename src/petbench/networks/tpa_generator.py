"""The generator of TPA-GAN: PET from MR by pyramid convolutions, a shared residual block and a gate on the last features (Gao et al.)."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.blocks import convolution, full_precision

KERNELS = ((3, 5, 7), (3, 5), (3,), (3,))
"""Sides of the kernels of each stage on the way down."""
LEAST_SIDE = 15
"""Voxels of a side of which the three poolings leave one."""


class Pyramid(nn.Module):
    """Two convolutions with a ReLU between them, once for each kernel size, side by side.

    Args:
        in_channels: Channels of the input.
        kernels: Side of each branch's kernels.
        width: Channels of each branch.
    """

    def __init__(self, in_channels: int, kernels: Sequence[int], width: int):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(convolution(3, in_channels, width, kernel), nn.ReLU(), convolution(3, width, width, kernel)) for kernel in kernels
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, in_channels, *grid) to (B, branches * width, *grid)."""
        return torch.cat([branch(features) for branch in self.branches], dim=1)


class TPAGenerator(nn.Module):
    """Four stages down, of which the first two are pyramids, residual blocks that are one block, and three stages up with skips.

    Between stages the grid is pooled by a window of three and a step of two, which takes sides of 64 to 31, 15 and 7.

    Args:
        filters: Channels of each kernel size in the first stage (3, 5, 7) and in the second (3, 5).
        deep: Channels of the third and the fourth stage.
        residual_blocks: How often the residual block is applied: two convolutions, which are one and the same.

    Raises:
        InputError: `filters` or `deep` does not name two widths.
    """

    def __init__(self, filters: Sequence[int], deep: Sequence[int], residual_blocks: int):
        super().__init__()
        for name, widths in (("filters", filters), ("deep", deep)):
            if len(widths) != 2:
                raise InputError(f"network/{name}: {len(widths)} widths; give two, one a stage.")
        own = (*filters, *deep)
        joined = [width * len(kernels) for width, kernels in zip(own, KERNELS, strict=True)]
        self.down = nn.ModuleList(
            Pyramid(before, kernels, width) for before, kernels, width in zip((1, *joined[:-1]), KERNELS, own, strict=True)
        )
        self.pool = nn.MaxPool3d(3, stride=2)
        self.residual_blocks = residual_blocks
        self.residual = convolution(3, joined[-1], joined[-1], 3)
        up = list(pairwise(joined[::-1]))
        self.up = nn.ModuleList(nn.ConvTranspose3d(below, width, 3, stride=2) for below, width in up)
        self.merge = nn.ModuleList(convolution(3, 2 * width, width, 3) for _, width in up)
        self.refine = nn.ModuleList(convolution(3, width, width, 3) for _, width in up)
        self.gate = nn.Sequential(convolution(3, joined[0], joined[0], 1), nn.ReLU(), convolution(3, joined[0], joined[0], 1), nn.Sigmoid())
        self.last = convolution(3, joined[0], 1, 3)

    def forward(self, mr: Tensor) -> Tensor:
        """PET (B, 1, *grid) of MR (B, 1, *grid).

        Raises:
            InputError: a side is shorter than 15 voxels.
        """
        if min(mr.shape[2:]) < LEAST_SIDE:
            size = "x".join(map(str, mr.shape[2:]))
            raise InputError(f"window: {size} cannot be pooled three times; make every side {LEAST_SIDE} voxels or more.")
        skips: list[Tensor] = []
        features = self.down[0](mr)
        for stage in self.down[1:]:
            skips.append(features)
            features = stage(self.pool(features.relu()))
        for _ in range(self.residual_blocks):
            features = features + self.residual(self.residual(features.relu()).relu())
        merged = features
        for up, merge, refine in zip(self.up, self.merge, self.refine, strict=True):
            skip = skips.pop()
            risen = up(features.relu(), output_size=skip.shape[2:])
            merged = merge(torch.cat([risen, skip], dim=1).relu()).relu()
            features = refine(merged)
        gated = features * self.gate(merged)
        with full_precision(gated.device):
            made: Tensor = self.last(gated.float())
        return made

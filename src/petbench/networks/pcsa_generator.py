"""The generator of PCSA-GAN: PET from a map of grey matter (Mao et al., section 3.2 and figure 1)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.blocks import convolution, full_precision, require_divisible
from petbench.networks.pyramid import PyramidBlock, ResidualBlock, SelfAttention

KERNELS = ((7, 5, 3), (5, 3))
# Where self-attention sits, named by the grid that a volume of 64 voxels has there.
STAGES = {0: None, 4: 0, 16: 1, 32: 2}
UP = (4, 2, 2)
# Below zero while a leaky ReLU trains; and how soon the softplus bends: of 0 it makes .07, of most of the range of PET the same.
LEAK, SHARPNESS = 0.01, 10.0
OUTPUTS: dict[str, Callable[[Tensor, bool], Tensor]] = {
    "leaky_relu": lambda made, training: nn.functional.leaky_relu(made, LEAK) if training else made.relu(),
    "softplus": lambda made, _: nn.functional.softplus(made, beta=SHARPNESS),
    "linear": lambda made, _: made,
    "relu": lambda made, _: made.relu(),
}


class PCSAGenerator(nn.Module):
    """Two pyramid blocks, a strided one with residual blocks, then three interpolating up-stages with self-attention before one of them.

    A volume of 64 voxels a side goes through the grids 64, 32, 16, 4 and back through 16 and 32.

    Args:
        filters: Channels of the kernel sizes of the first block (7, 5, 3) and of the second (5, 3).
        deep: Channels of the third block.
        residual_blocks: Residual blocks after the third block.
        attention_grid: Where self-attention is, as the side of the grid that a volume of 64 has there: 4, 16, 32; or 0 for none.
        gate: Gate of the channel attention, `softmax` or `sigmoid`.
        pyramid: Whether the first two blocks have several kernel sizes and channel attention.
        skips: Whether the up-stages also see the features of the same grid on the way down.
        output: What follows the last convolution: the paper's `relu`, whose gradient is zero wherever the image has once become dark;
            `leaky_relu`, the same once trained, with a slope of .01 below zero in training; `softplus`, log(1 + exp(10 x)) / 10, whose
            gradient vanishes slowly; `linear`.

    Raises:
        InputError: `attention_grid`, `gate` or `output` is unknown, or `filters` does not fit the blocks.
    """

    def __init__(
        self,
        filters: Sequence[Sequence[int]],
        deep: int,
        residual_blocks: int,
        attention_grid: int,
        gate: str,
        pyramid: bool,
        skips: bool,
        output: str,
    ):
        super().__init__()
        if attention_grid not in STAGES:
            raise InputError(f"network/attention_grid: {attention_grid!r} is unknown; choose one of {', '.join(map(str, STAGES))}.")
        if output not in OUTPUTS:
            raise InputError(f"network/output: {output!r} is unknown; choose one of {', '.join(OUTPUTS)}.")
        if len(filters) != len(KERNELS):
            raise InputError(f"network/filters: {len(filters)} blocks; there are {len(KERNELS)}.")
        first, second = (sum(block) for block in filters)
        self.down = nn.ModuleList(
            PyramidBlock(width, kernels, block, gate, pyramid) for width, kernels, block in zip((1, first), KERNELS, filters, strict=True)
        )
        self.deepest = nn.Sequential(
            convolution(3, second, deep, 3, stride=2),
            nn.ReLU(),
            nn.MaxPool3d(2),
            *(ResidualBlock(deep) for _ in range(residual_blocks)),
        )
        widths = (deep, second, first, 1)
        joined = (0, second, first) if skips else (0, 0, 0)
        self.up = nn.ModuleList(
            convolution(3, width + extra, after, 3) for width, extra, after in zip(widths[:-1], joined, widths[1:], strict=True)
        )
        self.attention_stage = STAGES[attention_grid]
        self.attention = None if self.attention_stage is None else SelfAttention(widths[self.attention_stage])
        self.skips, self.output = skips, OUTPUTS[output]

    def forward(self, mr: Tensor) -> Tensor:
        """PET (B, 1, *grid) of maps (B, 1, *grid).

        Raises:
            InputError: a side is not divisible by 16.
        """
        require_divisible(mr, 16)
        half = self.down[0](mr)
        quarter = self.down[1](half)
        features: Tensor = self.deepest(quarter)
        for stage, (convolve, factor, skip) in enumerate(zip(self.up, UP, (None, quarter, half), strict=True)):
            if stage == self.attention_stage and self.attention is not None:
                features = self.attention(features)
            if skip is not None and self.skips:
                features = torch.cat([features, skip], dim=1)
            features = nn.functional.interpolate(features, scale_factor=factor, mode="trilinear")
            if stage < len(UP) - 1:
                features = convolve(features).relu()
        with full_precision(features.device):  # else rounding would decide which dark voxels are below zero
            return self.output(self.up[-1](features.float()), self.training)

"""The U-Net of Song et al. (ICLR 2021, DDPM++) as EDM (Karras et al., NeurIPS 2022) has it, on slices or patches.

Tensors are (B, C, *spatial) in two or three dimensions; `embedding` is (B, 4 * width), that of each sample's noise label.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from petbench.networks.blocks import convolution, require_divisible
from petbench.networks.diffusion_unet import SelfAttention

SHARE = math.sqrt(0.5)
"""What a block's sum of features and their change is multiplied by, so that neither depth nor change raises its scale."""
STILL = 1e-5
"""Factor on the first weights of what ends a block or the network: it starts all but silent."""
ATTENTIVE = math.sqrt(0.2)
"""The same of queries, keys and values."""


def _drawn(layer: nn.Module, factor: float = 1.0) -> nn.Module:
    """A convolution or linear layer with weights drawn evenly (Glorot & Bengio 2010), times a factor, and biases at zero."""
    assert isinstance(layer.weight, Tensor)
    assert isinstance(layer.bias, Tensor)
    nn.init.xavier_uniform_(layer.weight, gain=factor)
    nn.init.zeros_(layer.bias)
    return layer


def _group_norm(channels: int) -> nn.GroupNorm:
    """Normalisation in 32 groups of at least four channels, or in as many as divide the channels."""
    return nn.GroupNorm(math.gcd(min(32, max(1, channels // 4)), channels), channels, eps=1e-6)


class NoiseEmbedding(nn.Module):
    """Sines and cosines of the noise label, then two linear layers with SiLU.

    Args:
        width: Width of the network, even and at least 4; the embedding has 4 times as many features.
    """

    def __init__(self, width: int):
        super().__init__()
        self.rates = width // 2
        first, second = _drawn(nn.Linear(2 * self.rates, 4 * width)), _drawn(nn.Linear(4 * width, 4 * width))
        self.layers = nn.Sequential(first, nn.SiLU(), second, nn.SiLU())

    def forward(self, noise: Tensor) -> Tensor:
        """Embed noise labels (B,) as (B, 4 * width)."""
        rates = torch.exp(-math.log(10_000) * torch.arange(self.rates, device=noise.device) / (self.rates - 1))
        angles = noise.float()[:, None] * rates
        embedded: Tensor = self.layers(torch.cat([angles.sin(), angles.cos()], dim=1))
        return embedded


class Block(nn.Module):
    """Two normalised convolutions with the noise label added between, on their own grid, one half as fine or one twice as fine.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the features.
        out_channels: Channels put out.
        embedded: Features of the embedding.
        dropout: Probability of dropping a feature.
        resample: `down` to a grid of means of 2 ** spatial_dims voxels, `up` to one of voxels repeated, or `none`.
        attention: Let all positions attend to all others at the end, with one head.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        embedded: int,
        dropout: float,
        resample: str = "none",
        attention: bool = False,
    ):
        super().__init__()
        pool: type[nn.Module] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}[spatial_dims]
        self.resample = {"none": nn.Identity(), "down": pool(2), "up": nn.Upsample(scale_factor=2.0, mode="nearest")}[resample]
        self.normalise = nn.Sequential(_group_norm(in_channels), nn.SiLU())
        self.first = _drawn(convolution(spatial_dims, in_channels, out_channels, kernel_size=3))
        self.noise = _drawn(nn.Linear(embedded, out_channels))
        self.second = nn.Sequential(
            _group_norm(out_channels),
            nn.SiLU(),
            nn.Dropout(dropout),
            _drawn(convolution(spatial_dims, out_channels, out_channels, kernel_size=3), STILL),
        )
        same = in_channels == out_channels and resample == "none"
        self.skip = nn.Identity() if same else _drawn(convolution(spatial_dims, in_channels, out_channels, kernel_size=1))
        self.attend = SelfAttention(out_channels, heads=1) if attention else None
        if self.attend is not None:
            self.attend.normalise = _group_norm(out_channels)
            _drawn(self.attend.project, ATTENTIVE)
            _drawn(self.attend.out, STILL)

    def forward(self, features: Tensor, embedding: Tensor) -> Tensor:
        """Transform features (B, in_channels, *grid)."""
        hidden = self.first(self.resample(self.normalise(features)))
        noise = self.noise(embedding)
        change = self.second(hidden + noise.reshape(*noise.shape, *[1] * (features.ndim - 2)))
        output: Tensor = SHARE * (self.skip(self.resample(features)) + change)
        return output if self.attend is None else SHARE * self.attend(output)


class SongUNet(nn.Module):
    """DDPM++: levels of residual blocks, attention between encoder and decoder, and a skip from every block of the encoder.

    Args:
        spatial_dims: 2 or 3.
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        width: Features of the finest level, even and at least 4.
        multipliers: Features of each level, fine to coarse, as multiples of the width; each but the first halves the grid.
        blocks: Residual blocks a level of the encoder; the decoder has one more.
        dropout: Probability of dropping a feature in a block.
    """

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        width: int,
        multipliers: Sequence[int],
        blocks: int,
        dropout: float,
    ):
        super().__init__()
        self.factor = 2 ** (len(multipliers) - 1)
        self.embed = NoiseEmbedding(width)

        def block(above: int, channels: int, resample: str = "none", attention: bool = False) -> Block:
            return Block(spatial_dims, above, channels, 4 * width, dropout, resample, attention)

        self.first = _drawn(convolution(spatial_dims, in_channels, width, kernel_size=3))
        skips, self.encoder = [width], nn.ModuleList()
        for level, multiplier in enumerate(multipliers):
            if level:
                self.encoder.append(block(skips[-1], skips[-1], "down"))
                skips.append(skips[-1])
            for _ in range(blocks):
                self.encoder.append(block(skips[-1], multiplier * width))
                skips.append(multiplier * width)
        above = skips[-1]
        self.middle = nn.ModuleList([block(above, above, attention=True), block(above, above)])
        self.decoder = nn.ModuleList()
        joins = []
        for level, multiplier in reversed(list(enumerate(multipliers))):
            if level < len(multipliers) - 1:
                self.decoder.append(block(above, above, "up"))
                joins.append(False)
            for _ in range(blocks + 1):
                self.decoder.append(block(above + skips.pop(), multiplier * width))
                joins.append(True)
                above = multiplier * width
        self.joins = tuple(joins)
        self.head = nn.Sequential(
            _group_norm(above), nn.SiLU(), _drawn(convolution(spatial_dims, above, out_channels, kernel_size=3), STILL)
        )

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        """Map images (B, in_channels, *spatial) with noise labels (B,) to (B, out_channels, *spatial).

        Raises:
            InputError: a side is not divisible by 2 ** (levels - 1).
        """
        require_divisible(images, self.factor)
        embedding = self.embed(noise)
        skips = [self.first(images)]
        for block in self.encoder:
            skips.append(block(skips[-1], embedding))
        features = skips[-1]
        for block in self.middle:
            features = block(features, embedding)
        for block, joins in zip(self.decoder, self.joins, strict=True):
            features = block(torch.cat([features, skips.pop()], dim=1) if joins else features, embedding)
        output: Tensor = self.head(features)
        return output

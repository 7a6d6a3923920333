"""A U-Net with an encoder for each modality and one decoder (M2Diff's comparator MB-UNet)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from petbench.networks.blocks import Decoder, conv_block, convolution, require_divisible


class MultiBranchUNet(nn.Module):
    """Encoders of their own for PET and MR, whose features of each level are concatenated for one decoder.

    Args:
        spatial_dims: 2 or 3.
        channels: Features of each level of one encoder, fine to coarse; each level but the first halves the grid. The decoder has as many.
        normalisation: `batch`, `instance` or `none`; `instance` removes the activity scale of a window.
    """

    def __init__(self, spatial_dims: int, channels: Sequence[int], normalisation: str):
        super().__init__()
        above = [1, *channels[:-1]]

        def encoder() -> nn.ModuleList:
            return nn.ModuleList(conv_block(spatial_dims, a, c, normalisation) for a, c in zip(above, channels, strict=True))

        self.pet, self.mr = encoder(), encoder()
        self.pool = {2: nn.MaxPool2d, 3: nn.MaxPool3d}[spatial_dims](2)
        upwards = list(reversed(channels[:-1]))
        self.decoder = Decoder(spatial_dims, 2 * channels[-1], [2 * width for width in upwards], upwards, normalisation)
        self.head = convolution(spatial_dims, channels[0], 1, kernel_size=1)
        self.factor = 2 ** (len(channels) - 1)

    def forward(self, low_dose: Tensor, mr: Tensor) -> Tensor:
        """Map low-dose PET and MR (B, 1, *spatial) to PET of the same shape, unbounded.

        Raises:
            InputError: a side is not divisible by 2 ** (levels - 1).
        """
        require_divisible(low_dose, self.factor)
        levels = [torch.cat(both, dim=1) for both in zip(self._encode(self.pet, low_dose), self._encode(self.mr, mr), strict=True)]
        *skips, bottom = levels
        output: Tensor = self.head(self.decoder(bottom, list(reversed(skips))))
        return output

    def _encode(self, encoder: nn.ModuleList, image: Tensor) -> list[Tensor]:
        """Features of each level, fine to coarse."""
        features = [encoder[0](image)]
        for block in encoder[1:]:
            features.append(block(self.pool(features[-1])))
        return features

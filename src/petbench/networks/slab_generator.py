"""The generator of PT-WGAN: an encoder and a decoder on one grid, in three dimensions outside and in two inside (Gong et al. 2021)."""

from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.blocks import full_precision
from petbench.networks.pcsa_generator import OUTPUTS

CUBE, PLANE = (3, 3, 3), (3, 3, 1)
PADDING = {CUBE: (1, 1, 1), PLANE: (1, 1, 0)}


class SlabGenerator(nn.Module):
    """Five convolutions and five transposed ones, all 3 wide, without biases; those within three of the middle see each slice alone.

    Skips add the input to the output, and what the second and fourth convolution make to what their mirrors make. Slices are stacked along
    the last axis; a slice depends on four to either side, nine together.

    Args:
        channels: Features of all layers but the last.
        output: What follows the last sum, see `petbench.networks.pcsa_generator`.

    Raises:
        InputError: `output` is unknown.
    """

    def __init__(self, channels: int, output: str):
        super().__init__()
        if output not in OUTPUTS:
            raise InputError(f"network/output: {output!r} is unknown; choose one of {', '.join(OUTPUTS)}.")

        def down(sides: tuple[int, int, int], before: int = channels) -> nn.Module:
            return nn.Conv3d(before, channels, sides, padding=PADDING[sides], bias=False)

        def up(sides: tuple[int, int, int], after: int = channels) -> nn.Module:
            return nn.ConvTranspose3d(channels, after, sides, padding=PADDING[sides], bias=False)

        self.outer = nn.Sequential(down(CUBE, before=1), nn.ReLU(), down(CUBE), nn.ReLU())
        self.inner = nn.Sequential(down(PLANE), nn.ReLU(), down(PLANE), nn.ReLU())
        self.middle = nn.Sequential(down(PLANE), nn.ReLU(), up(PLANE))
        self.inner_back = nn.Sequential(up(PLANE), nn.ReLU(), up(PLANE))
        self.outer_back = nn.Sequential(up(CUBE), nn.ReLU())
        self.last = up(CUBE, after=1)
        self.output = OUTPUTS[output]
        for layer in self.modules():
            if isinstance(layer, nn.modules.conv._ConvNd):
                nn.init.xavier_uniform_(layer.weight)

    def forward(self, slabs: Tensor) -> Tensor:
        """Map slabs (B, 1, *plane, slices) to others of the same shape."""
        outer = self.outer(slabs)
        inner = self.inner(outer)
        features = (self.middle(inner) + inner).relu()
        features = self.outer_back((self.inner_back(features) + outer).relu())
        with full_precision(slabs.device):
            return self.output(self.last(features.float()) + slabs.float(), self.training)

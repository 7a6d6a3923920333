"""The network that regularises an unrolled reconstruction: what it would have an image be (Mehranian and Reader, TRPMS 2021)."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.networks.blocks import convolution


class ResidualRegulariser(nn.Module):
    """An image plus a few 3-wide convolutions of it and of its companions, each normalised over the batch, cut at zero.

    Args:
        spatial_dims: 2 or 3.
        in_channels: The image, and what is seen beside it.
        layers: Convolutions, at least two.
        channels: Features between them.
        last_scale: What the last normalisation multiplies by at the start; at 0 the network is the identity.

    Raises:
        InputError: there are fewer than two layers.
    """

    def __init__(self, spatial_dims: int, in_channels: int, layers: int, channels: int, last_scale: float):
        super().__init__()
        if layers < 2:
            raise InputError(f"train/network/layers: {layers} is no stack; give at least 2.")
        norm = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[spatial_dims]
        sizes = [in_channels, *[channels] * (layers - 1), 1]
        parts: list[nn.Module] = []
        for before, after in pairwise(sizes):
            last = norm(after)
            parts += [convolution(spatial_dims, before, after, kernel_size=3), last, nn.ReLU()]
        nn.init.constant_(last.weight, last_scale)
        self.layers = nn.Sequential(*parts[:-1])

    def forward(self, image: Tensor, beside: Tensor | None = None) -> Tensor:
        """The regularised image (B, 1, *spatial), not negative."""
        seen = image if beside is None else torch.cat([image, beside], dim=1)
        return torch.relu(image + self.layers(seen))


@contextmanager
def without_statistics(network: nn.Module) -> Iterator[None]:
    """Batch normalisation as in training, its running statistics left as they are: for what is computed a second time."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d)]
    before = [(layer.momentum, layer.num_batches_tracked.clone()) for layer in layers if layer.num_batches_tracked is not None]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, (momentum, batches) in zip(layers, before, strict=True):
            layer.momentum = momentum
            layer.num_batches_tracked = batches

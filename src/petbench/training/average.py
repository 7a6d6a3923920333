"""Exponential moving average of weights."""

import torch

from petbench.methods.base import Trained


class MovingAverage:
    """Shadow copy of a method's weights: floating-point tensors are averaged, others are copied."""

    def __init__(self, restorer: Trained, decay: float) -> None:
        self.decay = decay
        self.shadow = {name: tensor.detach().clone() for name, tensor in restorer.weights().items()}

    @torch.no_grad()
    def update(self, restorer: Trained, step: int) -> None:
        """Move the average by one step: shadow <- decay * shadow + (1 - decay) * weights.

        Early in a training the decay is (1 + step) / (10 + step), so that the random start does not linger.
        """
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in restorer.weights().items():
            if tensor.is_floating_point():
                self.shadow[name].lerp_(tensor, 1 - decay)
            else:
                self.shadow[name].copy_(tensor)

    def copy_to(self, restorer: Trained) -> None:
        """Replace the method's weights by their average."""
        restorer.load_weights(self.shadow)

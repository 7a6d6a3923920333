"""FBSEM: EM unrolled, each step drawn to what a learnt network makes of the image (Mehranian and Reader, TRPMS 2021)."""

import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from petbench.methods.base import Batch, Progress, Restorer, Step, mse, need
from petbench.methods.build import construct
from petbench.networks.blocks import full_precision
from petbench.networks.residual_regulariser import ResidualRegulariser, without_statistics
from petbench.physics.plane_scans import PlaneScans, start

ROUNDING = 1e-12
"""What keeps gradients finite where both an image and what it is drawn to are nothing."""


class FBSEM(Restorer):
    """Ordered-subset EM of a scan, plane by plane, with a learnt proximal step after each subset; one network serves all blocks.

    With gamma = 0 it is OSEM. With a network that is given, not learnt, it is MAP-EM: a step minimises what EM majorises plus
    gamma / 2 times the squared distance from the network's image.

    Args:
        network: Maps an image and MR (B, 1, x, y) to what the image is drawn to, not negative.
        iterations: Passes through all subsets.
        subsets: Subsets of interleaved views.
        start: `uniform`, an image of as many trues as were counted, or `low_dose`, the image.
        gamma: What gamma starts at, in counts of a voxel in a subset per unit of the scaled image; its logarithm is learnt.
        em_gradient: Whether gradients flow through the EM steps, and so through the projector, or through the network's images alone.
        recompute: Whether training computes a block's features anew for its gradient in place of keeping those of all blocks.
    """

    def __init__(self, network: nn.Module, iterations: int, subsets: int, start: str, gamma: float, em_gradient: bool, recompute: bool):
        super().__init__()
        self.network = network
        self.log_gamma = nn.Parameter(torch.tensor([math.log(gamma)]))
        self.iterations, self.subsets, self.start = iterations, subsets, start
        self.em_gradient, self.recompute = em_gradient, recompute

    def losses(self, batch: Batch, progress: Progress) -> Iterator[Step]:
        """One step: the mean squared error, and gamma to log."""
        restored = self.estimate(batch.get("low_dose"), batch.get("mr"), batch.get("acquisition"))
        loss = mse(restored, batch["standard_dose"])
        yield Step("restorer", loss, {"mse": loss.detach(), "gamma": self.log_gamma.detach().exp().mean()})

    @torch.no_grad()
    def restore(self, low_dose: Tensor | None, mr: Tensor | None, **more: Any) -> Tensor:
        """Reconstruct slices (B, 1, x, y) from their scans, `acquisition`.

        Raises:
            InputError: MR or the acquisition is missing, or there are more subsets than views.
        """
        return self.estimate(low_dose, mr, more.get("acquisition"))

    def estimate(self, low_dose: Tensor | None, mr: Tensor | None, acquisition: PlaneScans | None) -> Tensor:
        """The reconstructed slices (B, 1, x, y), with gradients.

        Raises:
            InputError: see `restore`; or the low dose is missing where it is the start.
        """
        beside = need(mr, "mr")
        with full_precision(beside.device):
            subsets = need(acquisition, "acquisition").subsets(self.subsets)
            image = start(subsets) if self.start == "uniform" else _planes(need(low_dose, "low_dose").clamp(min=0))
            strength = self.log_gamma.exp()
        for _ in range(self.iterations):
            for subset in subsets:
                regular = _planes(self._regular(_slices(image), beside))
                with full_precision(image.device):
                    updated = subset.step(image if self.em_gradient else image.detach())
                    seen = subset.sensitivity > 0
                    weight = torch.where(seen, strength / torch.where(seen, subset.sensitivity, 1.0), 0.0)
                    image = drawn(updated, regular.float(), weight)
        return _slices(image)

    def _regular(self, image: Tensor, beside: Tensor) -> Tensor:
        """What the network makes of an image; while it trains, its features are computed anew for the gradient."""
        regular: Tensor
        if self.recompute and torch.is_grad_enabled():
            again = partial(without_statistics, self.network)
            regular = checkpoint(
                self.network,
                image,
                beside,
                use_reentrant=False,
                preserve_rng_state=False,
                context_fn=lambda: (nullcontext(), again()),
            )
        else:
            regular = self.network(image, beside)
        return regular


def drawn(updated: Tensor, regular: Tensor, weight: Tensor) -> Tensor:
    """The image x >= 0 that minimises x - u log x + w / 2 (x - r)^2: the proximal step after an EM update.

    Of the two forms of the root of w x^2 + (1 - w r) x - u = 0 each is taken where nothing cancels.

    Args:
        updated: u, the EM update.
        regular: r, what the image is drawn to.
        weight: w, gamma over the sensitivity; 0 gives u.
    """
    slope = 1 - weight * regular
    root = torch.sqrt(slope.square() + 4 * weight * updated + ROUNDING)
    return torch.where(slope >= 0, 2 * updated / (slope.clamp(min=0) + root), (root - slope) / (2 * weight).clamp(min=ROUNDING))


def _planes(slices: Tensor) -> Tensor:
    """(B, 1, x, y) as scans have it: (x, y, B)."""
    return slices[:, 0].permute(1, 2, 0)


def _slices(planes: Tensor) -> Tensor:
    """(x, y, B) as networks have it: (B, 1, x, y)."""
    return planes.permute(2, 0, 1)[:, None].contiguous()


def build(train: Mapping[str, Any]) -> FBSEM:
    """The method from an entry's `train` block (`network`, `unrolling`)."""
    return construct(FBSEM, train, "unrolling", network=construct(ResidualRegulariser, train, "network", in_channels=2))

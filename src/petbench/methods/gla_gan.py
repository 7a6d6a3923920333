"""GLA-GAN: PET from MR by a global and several local generators, with a loss on brain regions (Sikka et al., arXiv 2108.02160)."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from petbench.methods.base import Batch, need
from petbench.methods.build import construct
from petbench.methods.synthesis import Synthesis, build_synthesis
from petbench.networks.gla_generator import GLAGenerator

LABELS = 4096
"""Labels of regions are below this, those of FreeSurfer's atlases included."""


class GLAGAN(Synthesis):
    """A generator of PET from MR whose image is compared voxel by voxel, at three scales and region by region."""

    def terms(self, restored: Tensor, batch: Batch) -> dict[str, Callable[[], Tensor]]:
        """`l1`, `ms_ssim` and `regions`."""
        regional = {"regions": lambda: region_error(restored, batch["standard_dose"], need(batch.get("regions"), "regions"))}
        return super().terms(restored, batch) | regional


def region_error(restored: Tensor, standard_dose: Tensor, regions: Tensor) -> Tensor:
    """Mean absolute error of each region of each image, averaged over those that are there: a small region counts as a large one does.

    In 32-bit floats whatever the autocast. Which voxels are summed first has no part in the gradient, so it repeats on any device.

    Args:
        restored: Images (B, 1, *spatial).
        standard_dose: Images of the same shape.
        regions: Labels of the same shape, whole numbers below `LABELS`; 0 is no region.

    Returns:
        A scalar; 0 where there is no region at all.
    """
    labels = regions.flatten(1).long()
    errors = (restored.float() - standard_dose.float()).abs().flatten(1)
    none = errors.new_zeros(len(errors), LABELS)
    total, voxels = (none.scatter_add(1, labels, values)[:, 1:] for values in (errors, torch.ones_like(errors)))
    return (total / voxels.clamp(min=1)).sum() / (voxels > 0).sum().clamp(min=1)


def build(train: Mapping[str, Any]) -> Synthesis:
    """The method from an entry's `train` block (`network`, `discriminator`, `loss`)."""
    return build_synthesis(construct(GLAGenerator, train, "network"), train, _assemble)


def _assemble(
    generator: nn.Module,
    discriminator: nn.Module,
    conditional: bool,
    objective: str,
    adversarial: float,
    l1: float,
    ms_ssim: float,
    regions: float,
    normalise: bool,
) -> GLAGAN:
    weights = {"adversarial": adversarial, "l1": l1, "ms_ssim": ms_ssim, "regions": regions}
    return GLAGAN(generator, discriminator, conditional, objective, normalise, weights)

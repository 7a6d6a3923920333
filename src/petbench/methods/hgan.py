"""HGAN: PET from MR by a three-dimensional CycleGAN with a loss on the voxels of pairs (Pan et al., MICCAI 2018 and IEEE TMI 39, 2020)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from petbench.errors import InputError
from petbench.methods.adversarial import judge
from petbench.methods.base import Batch, Progress, Step
from petbench.methods.build import construct, twice
from petbench.methods.cycle import Cycle
from petbench.networks.patchgan import PatchDiscriminator
from petbench.networks.pcsa_generator import OUTPUTS
from petbench.networks.residual_generator import ResidualGenerator

DISCRIMINATORS = {"standard_dose": "discriminator_pet", "mr": "discriminator_mr"}
"""The optimiser of the discriminator of each kind of image."""


class UnitGenerator(nn.Module):
    """A three-dimensional residual generator for images within [0, 1]; inside they fill [-1, 1].

    Args:
        channels: Features of the first layer; two strided ones double them.
        residual_blocks: Residual blocks on the coarsest grid.
        output: What follows the last convolution, see `petbench.networks.pcsa_generator`.

    Raises:
        InputError: `output` is unknown.
    """

    def __init__(self, channels: int, residual_blocks: int, output: str):
        super().__init__()
        if output not in OUTPUTS:
            raise InputError(f"network/output: {output!r} is unknown; choose one of {', '.join(OUTPUTS)}.")
        self.network = ResidualGenerator(3, channels, 2, residual_blocks, "instance", affine=True, rectified=True)
        self.output = OUTPUTS[output]

    def forward(self, images: Tensor) -> Tensor:
        """Images of the other kind (B, 1, *grid) of images (B, 1, *grid), both about [0, 1].

        Raises:
            InputError: a side is not divisible by 4.
        """
        return self.output(self.network(2 * images - 1) / 4 + 0.5, self.training)


class HGAN(Cycle):
    """Generators of PET from MR and back, against discriminators of PET and of MR.

    Args:
        generators: MR to PET and PET to MR, both (B, 1, *grid).
        discriminators: Of PET and of MR, each to logits.
        objective: `bce` or `lsgan`.
        weights: Weight of the losses `adversarial`, `cycle` and `voxel`, see `Cycle`.

    Raises:
        InputError: all weights are 0.
    """

    source = "mr"
    paired = "voxel"

    def __init__(
        self,
        generators: tuple[nn.Module, nn.Module],
        discriminators: tuple[nn.Module, nn.Module],
        objective: str,
        weights: Mapping[str, float],
    ):
        super().__init__(generators, discriminators, weights)
        self.objective = objective

    def optimised(self) -> dict[str, Iterable[nn.Parameter]]:
        """Parameters of the optimisers `discriminator_pet` and `discriminator_mr`, unless there are none, and `generators`."""
        judges = {DISCRIMINATORS[kind]: discriminator.parameters() for kind, discriminator in self.judges.items()}
        return {**judges, "generators": self.of_generators()}

    def losses(self, batch: Batch, progress: Progress) -> Iterator[Step]:
        """A step of each discriminator, unless there is none, then one of both generators against the updated discriminators."""
        real = self.real(batch)
        made = self.made(real)
        for kind, discriminator in self.judges.items():
            true = judge(discriminator, real[kind], True, self.objective)
            false = judge(discriminator, made[kind].detach(), False, self.objective)
            name = DISCRIMINATORS[kind]
            yield Step(name, true + false, {f"{name}_real": true.detach(), f"{name}_fake": false.detach()})
        yield self.generators_step(made, real)

    def deception(self, judge_of: nn.Module, made: Tensor) -> Tensor:
        """How far a discriminator is from taking images for real."""
        return judge(judge_of, made, True, self.objective)


def build(train: Mapping[str, Any]) -> HGAN:
    """The method from an entry's `train` block (`network`, `discriminator`, `loss`)."""
    generators = twice(UnitGenerator, train, "network")
    discriminators = twice(PatchDiscriminator, train, "discriminator", spatial_dims=3, in_channels=1)
    return construct(_assemble, train, "loss", generators=generators, discriminators=discriminators)


def _assemble(
    generators: tuple[nn.Module, nn.Module],
    discriminators: tuple[nn.Module, nn.Module],
    objective: str,
    adversarial: float,
    cycle: float,
    voxel: float,
) -> HGAN:
    return HGAN(generators, discriminators, objective, {"adversarial": adversarial, "cycle": cycle, "voxel": voxel})

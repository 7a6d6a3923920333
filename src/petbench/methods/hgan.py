"""HGAN: PET from MR by a three-dimensional CycleGAN with a loss on the voxels of pairs (Pan et al., MICCAI 2018 and IEEE TMI 39, 2020)."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.methods.adversarial import frozen, judge
from petbench.methods.base import Batch, Progress, Restorer, Step, l1, need
from petbench.methods.build import construct
from petbench.networks.patchgan import PatchDiscriminator
from petbench.networks.pcsa_generator import OUTPUTS
from petbench.networks.residual_generator import ResidualGenerator


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


class HGAN(Restorer):
    """Two generators, MR to PET and back, each against a discriminator of what it makes; restoring takes the first alone.

    Args:
        generators: MR to PET and PET to MR, both (B, 1, *grid).
        discriminators: Of PET and of MR, each to logits.
        objective: `bce` or `lsgan`.
        weights: Weight of the losses `adversarial`, `cycle` and `voxel`, each summed over both directions; what has weight 0 is not
            computed, and without the first there are no discriminators.

    Raises:
        InputError: all weights are 0.
    """

    def __init__(
        self,
        generators: tuple[nn.Module, nn.Module],
        discriminators: tuple[nn.Module, nn.Module],
        objective: str,
        weights: Mapping[str, float],
    ):
        super().__init__()
        if not any(weights.values()):
            raise InputError(f"train/loss: the weights {', '.join(weights)} are all 0; give one a weight.")
        self.generator, self.mr_generator = generators
        self.discriminators = nn.ModuleDict(dict(zip(("pet", "mr"), discriminators, strict=True)) if weights["adversarial"] else {})
        self.objective = objective
        self.loss_weights = dict(weights)

    def optimised(self) -> dict[str, Iterable[nn.Parameter]]:
        """Parameters of the optimisers `discriminator_pet` and `discriminator_mr`, unless there are none, and `generators`."""
        judges = {f"discriminator_{kind}": discriminator.parameters() for kind, discriminator in self.discriminators.items()}
        return {**judges, "generators": [*self.generator.parameters(), *self.mr_generator.parameters()]}

    def losses(self, batch: Batch, progress: Progress) -> Iterator[Step]:
        """A step of each discriminator, unless there is none, then one of both generators against the updated discriminators."""
        mr, pet = need(batch.get("mr"), "mr"), batch["standard_dose"]
        made = {"pet": self.generator(mr), "mr": self.mr_generator(pet)}
        for (kind, discriminator), real_image in zip(self.discriminators.items(), (pet, mr), strict=False):
            real = judge(discriminator, real_image, True, self.objective)
            fake = judge(discriminator, made[kind].detach(), False, self.objective)
            logs = {f"discriminator_{kind}_real": real.detach(), f"discriminator_{kind}_fake": fake.detach()}
            yield Step(f"discriminator_{kind}", real + fake, logs)
        computed: dict[str, Tensor] = {}
        if self.loss_weights["adversarial"]:
            computed["adversarial"] = self._adversarial(made)
        if self.loss_weights["cycle"]:
            computed["cycle"] = l1(self.mr_generator(made["pet"]), mr) + l1(self.generator(made["mr"]), pet)
        if self.loss_weights["voxel"]:
            computed["voxel"] = l1(made["pet"], pet) + l1(made["mr"], mr)
        loss = torch.stack([self.loss_weights[name] * term for name, term in computed.items()]).sum()
        yield Step("generators", loss, {name: term.detach() for name, term in computed.items()})

    def _adversarial(self, made: Mapping[str, Tensor]) -> Tensor:
        with frozen(self.discriminators):
            return torch.stack([judge(judging, made[kind], True, self.objective) for kind, judging in self.discriminators.items()]).sum()

    @torch.no_grad()
    def restore(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """PET of windows of MR (B, 1, *spatial); a low dose is not looked at.

        Raises:
            InputError: MR is missing, or a side is not divisible by 4.
        """
        made: Tensor = self.generator(need(mr, "mr"))
        return made


def build(train: Mapping[str, Any]) -> HGAN:
    """The method from an entry's `train` block (`network`, `discriminator`, `loss`)."""
    generators = construct(UnitGenerator, train, "network"), construct(UnitGenerator, train, "network")
    pet, mr = (construct(PatchDiscriminator, train, "discriminator", spatial_dims=3, in_channels=1) for _ in range(2))
    return construct(_assemble, train, "loss", generators=generators, discriminators=(pet, mr))


def _assemble(
    generators: tuple[nn.Module, nn.Module],
    discriminators: tuple[nn.Module, nn.Module],
    objective: str,
    adversarial: float,
    cycle: float,
    voxel: float,
) -> HGAN:
    return HGAN(generators, discriminators, objective, {"adversarial": adversarial, "cycle": cycle, "voxel": voxel})

"""MAP reconstruction of a scan, penalised by relative differences: what physics alone buys, beside what networks make of an image."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.methods.base import Batch, Progress, Restorer, Step, need
from petbench.physics.penalised import Penalised, penalised
from petbench.physics.penalties import RelativeDifference, bowsher, check_numbers, relative_difference
from petbench.physics.plane_scans import PlaneScans


class MAPReconstruction(Restorer):
    """Penalised reconstruction (`petbench.physics.penalised`) with the strength and gamma that err least on the training people.

    Args:
        strengths: Strengths to choose from, as `Penalised` has them: one is the same beside the data at any dose and in any unit.
        gammas: Edge preservations to choose from.
        settings: All else of the reconstruction; its strength is replaced.
        iterations: Passes through all subsets.
        subsets: Of interleaved views.
        similar: Of 26 neighbours, how many a voxel keeps that are most alike in its person's MR (Bowsher); None keeps all and needs no MR.
    """

    errors: Tensor

    def __init__(
        self,
        strengths: list[float],
        gammas: list[float],
        settings: Mapping[str, Any],
        iterations: int,
        subsets: int,
        similar: int | None,
    ) -> None:
        super().__init__()
        self.choices = [(Penalised(strength, **settings), gamma) for strength, gamma in product(strengths, gammas)]
        self.iterations, self.subsets, self.similar = iterations, subsets, similar
        self.register_buffer("errors", torch.zeros(len(self.choices), dtype=torch.float64))

    def optimised(self) -> dict[str, Iterable[nn.Parameter]]:
        """None."""
        return {}

    @torch.no_grad()
    def losses(self, batch: Batch, progress: Progress) -> Iterator[Step]:
        """No step; the squared error of each choice on the batch is added up."""
        standard_dose = batch["standard_dose"].double()
        images = (self._reconstructed(batch.get("mr"), batch.get("acquisition"), *choice) for choice in self.choices)
        self.errors += torch.stack([(image.reshape(standard_dose.shape).double() - standard_dose).square().sum() for image in images])
        yield from ()

    @property
    def chosen(self) -> tuple[Penalised, float]:
        """Settings and gamma that erred least on the training people."""
        return self.choices[int(self.errors.argmin())]

    @torch.no_grad()
    def restore(self, low_dose: Tensor | None, mr: Tensor | None, **more: Any) -> Tensor:
        """Reconstruct windows (B, 1, *spatial) from their scans, `acquisition`; the low dose gives the shape alone.

        Raises:
            InputError: the low dose, the acquisition, or an MR that is asked for is missing, or there are more subsets than views.
        """
        return self._reconstructed(mr, more.get("acquisition"), *self.chosen).reshape(need(low_dose, "low_dose").shape)

    def _reconstructed(self, mr: Tensor | None, acquisition: PlaneScans | None, settings: Penalised, gamma: float) -> Tensor:
        """Each window's volume, (B, x, y, planes)."""
        scans = need(acquisition, "acquisition")
        anatomies = [None] * len(scans) if self.similar is None else list(need(mr, "mr")[:, 0].float().cpu().numpy())
        volumes = []
        for (model, counts), anatomy in zip(scans.stacks(), anatomies, strict=True):
            shape = model.projector.scanner.image_shape
            image = model.array(np.zeros(shape, np.float32))
            if counts.sum() > 0:
                penalty = self._penalty(None if anatomy is None else anatomy.reshape(shape), scans.scanner.voxel_mm, gamma)
                image = penalised(model, counts, penalty, settings, self.iterations, self.subsets)
            volumes.append(torch.as_tensor(image))
        return torch.stack(volumes)

    def _penalty(self, anatomy: Any, voxel_mm: tuple[float, float, float], gamma: float) -> RelativeDifference:
        threads = torch.get_num_threads()
        if self.similar is None:
            return relative_difference(voxel_mm, gamma, threads=threads)
        return bowsher(anatomy, voxel_mm, self.similar, gamma, threads=threads)


def build(train: Mapping[str, Any]) -> MAPReconstruction:
    """The method from an entry's `train` block.

    Raises:
        InputError: training would not see each scan once, or a number is out of range.
    """
    if train.get("epochs") != 1:
        raise InputError("train: the errors of all strengths are added up over each scan once; give epochs 1 and no steps.")
    strengths, gammas = ([float(value) for value in train[key]] for key in ("strengths", "gammas"))
    settings = dict(train["reconstruction"])
    iterations, subsets = settings.pop("iterations"), settings.pop("subsets")
    for gamma in gammas:
        check_numbers(gamma, settings["epsilon"], train.get("similar", 1))
    return MAPReconstruction(strengths, gammas, settings, iterations, subsets, train.get("similar"))

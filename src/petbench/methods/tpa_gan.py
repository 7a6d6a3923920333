"""TPA-GAN: PET of MR by a pyramid generator that is also judged by what a classifier reads of the diagnosis (Gao et al., JBHI 2022)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.methods.adversarial import Adversarial, frozen
from petbench.methods.base import Batch, Progress, Step, l1, mse, need
from petbench.methods.build import construct
from petbench.networks.blocks import full_precision
from petbench.networks.dense_classifier import DenseClassifier
from petbench.networks.ms_ssim import slice_ssim
from petbench.networks.tpa_discriminator import TPADiscriminator
from petbench.networks.tpa_generator import TPAGenerator

LEAST = 1e-12
"""A loss below this counts as this where losses are brought to one order of magnitude."""


class Stages(NamedTuple):
    """The shares of a training that its first two stages take; the rest is the task's.

    Attributes:
        reconstruction: Share with the loss on the image alone.
        adversarial: Share with the discriminator beside it.
    """

    reconstruction: float
    adversarial: float

    def at(self, progress: Progress) -> str:
        """The stage of a step: `reconstruction`, `adversarial` or `task`."""
        if progress.share < self.reconstruction:
            return "reconstruction"
        return "adversarial" if progress.share < self.reconstruction + self.adversarial else "task"


class TPAGAN(Adversarial):
    """Three stages of one training: the loss on the image, that and the discriminator's, that and the classifier's.

    The classifier learns the diagnosis from real PET in the first two stages and is fixed in the third, where its cross-entropy on
    generated PET trains the generator. Without a weight for the task there is no classifier, and the third stage is like the first.

    Args:
        generator: Maps MR to PET, both (B, 1, *grid).
        discriminator: Maps PET to logits (B, 1).
        classifier: Maps PET to logits (B,), positive for the group that is looked for.
        stages: How long each stage is.
        objective: Of the adversarial loss, `bce` or `lsgan`.
        weights: Weight of `reconstruction`, `adversarial` and `task`.
        levels: Units that images are counted in where the losses on the image meet the other two, such as 255 for [0, 1].
    """

    condition = None

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        classifier: nn.Module,
        stages: Stages,
        objective: str,
        weights: Mapping[str, float],
        levels: float,
    ):
        super().__init__(generator, discriminator, 0, objective, weights)
        self.classifier = classifier if weights["task"] else None
        self.stages, self.levels = stages, levels

    def optimised(self) -> dict[str, Iterable[nn.Parameter]]:
        """Parameters of the optimisers `classifier` and `discriminator`, unless there is none, and `generator`."""
        classifier = {} if self.classifier is None else {"classifier": self.classifier.parameters()}
        return {**classifier, **super().optimised()}

    def generate(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        """PET of MR; a low dose is not looked at."""
        restored: Tensor = self.generator(need(mr, "mr"))
        return restored

    def weight(self, name: str, progress: Progress) -> float:
        """Weight of a loss at a step: that on the image always has its own, the other two in the stage of their name."""
        return self.loss_weights[name] if name in ("reconstruction", self.stages.at(progress)) else 0.0

    def terms(self, restored: Tensor, batch: Batch) -> dict[str, Callable[[], Tensor]]:
        """`reconstruction`, and `task`: how far a fixed classifier is from reading the diagnosis in generated PET."""

        def task() -> Tensor:
            assert self.classifier is not None
            with frozen(self.classifier):
                return diagnosed(self.classifier, restored, batch)

        return {"reconstruction": lambda: balanced(restored, batch["standard_dose"], self.levels), "task": task}

    def losses(self, batch: Batch, progress: Progress) -> Iterator[Step]:
        """The steps of `Adversarial`; before the task's stage the classifier's comes first, on real PET."""
        if self.classifier is not None and self.stages.at(progress) != "task":
            loss = diagnosed(self.classifier, batch["standard_dose"], batch)
            yield Step("classifier", loss, {"classifier_real": loss.detach()})
        yield from super().losses(batch, progress)


def diagnosed(classifier: nn.Module, images: Tensor, batch: Batch) -> Tensor:
    """Cross-entropy of the diagnosis that a classifier reads in images (B, 1, *grid), in 32-bit floats whatever the autocast.

    Raises:
        InputError: the batch has no diagnosis.
    """
    if "diagnosis" not in batch:
        raise InputError("train/supervision: this method learns from the diagnosis; add it there, or give train/loss/task a weight of 0.")
    with full_precision(images.device):
        return nn.functional.binary_cross_entropy_with_logits(classifier(images.float()), batch["diagnosis"])


def balanced(restored: Tensor, standard_dose: Tensor, levels: float) -> Tensor:
    """Mean absolute and squared error and 1 - SSIM of axial slices, each times the power of ten that brings it nearest below the largest.

    Args:
        restored: Images (B, 1, *grid) on about [0, 1].
        standard_dose: Images of the same shape.
        levels: Units that errors are counted in.
    """
    dissimilarity = 1 - slice_ssim(restored, standard_dose).mean()
    losses = torch.stack([levels * l1(restored, standard_dose), levels**2 * mse(restored, standard_dose), dissimilarity])
    sizes = losses.detach().clamp(min=LEAST)
    return (losses * 10 ** (sizes.max() / sizes).log10().floor()).sum()


def build(train: Mapping[str, Any]) -> TPAGAN:
    """The method from an entry's `train` block (`network`, `discriminator`, `classifier`, `stages`, `loss`).

    Raises:
        InputError: the stages are longer than the training, or the task has a weight and the diagnosis is not asked for.
    """
    if train["loss"].get("task") and "diagnosis" not in train.get("supervision", ()):
        raise InputError("train/supervision: the task learns from the diagnosis; add it there, or give train/loss/task a weight of 0.")
    stages = construct(Stages, train, "stages")
    if sum(stages) > 1:
        raise InputError(f"train/stages: the shares {stages.reconstruction:g} and {stages.adversarial:g} are more than all; lower one.")
    parts = {
        "generator": construct(TPAGenerator, train, "network"),
        "discriminator": construct(TPADiscriminator, train, "discriminator"),
        "classifier": construct(DenseClassifier, train, "classifier"),
    }
    return construct(_assemble, train, "loss", **parts, stages=stages)


def _assemble(
    generator: nn.Module,
    discriminator: nn.Module,
    classifier: nn.Module,
    stages: Stages,
    objective: str,
    reconstruction: float,
    adversarial: float,
    task: float,
    levels: float,
) -> TPAGAN:
    weights = {"reconstruction": reconstruction, "adversarial": adversarial, "task": task}
    return TPAGAN(generator, discriminator, classifier, stages, objective, weights, levels)

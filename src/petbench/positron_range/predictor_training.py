"""Training of the PSF predictor by the engine that trains the restoration methods (DDConv, equation 9)."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from petbench.errors import InputError
from petbench.files import checksum
from petbench.methods.base import Progress, Step, Trained
from petbench.networks.psf_predictor import PSFPredictor
from petbench.positron_range.homogeneity import training_materials
from petbench.positron_range.material_kernels import cut_to, kernels_of
from petbench.positron_range.predictor import Description, Predictor, make_network, relative_to_water, save_predictor
from petbench.positron_range.psf_set import PsfSet, read_psf_set
from petbench.positron_range.symmetries import CUBE_SYMMETRIES, turned
from petbench.training.fit import fit_model

Array = NDArray[np.float32]

RAN_AWAY = 1.9
"""The l1 of kernels that have all but nothing in common."""


@dataclass(frozen=True)
class PsfSamples:
    """Media and their kernels; with `symmetries`, each under the 48 symmetries of the cube, numbered through.

    Attributes:
        mu: Attenuation per cm at 511 keV, (N, K, K, K).
        kernels: (N, K, K, K).
        symmetries: Whether to turn and flip them.
    """

    mu: Array
    kernels: Array
    symmetries: bool

    def batch(self, numbers: Sequence[int]) -> dict[str, Tensor]:
        """Gather samples by number: `mu` and `kernel`, each (B, K, K, K)."""
        return {"mu": self._gathered(self.mu, numbers), "kernel": self._gathered(self.kernels, numbers)}

    def _gathered(self, cubes: Array, numbers: Sequence[int]) -> Tensor:
        pairs = (divmod(number, self._each) for number in numbers)
        return torch.from_numpy(np.stack([turned(cubes[sample], CUBE_SYMMETRIES[symmetry]) for sample, symmetry in pairs]))

    @property
    def _each(self) -> int:
        return len(CUBE_SYMMETRIES) if self.symmetries else 1

    def __len__(self) -> int:
        return len(self.mu) * self._each


def l1_distance(log_kernels: Tensor, kernels: Tensor) -> Tensor:
    """Sum of the absolute differences of kernels (B, K, K, K), mean over the batch: 0 to 2. The paper's loss."""
    return (log_kernels.exp() - kernels).abs().sum(dim=(1, 2, 3)).mean()


def kl_divergence(log_kernels: Tensor, kernels: Tensor) -> Tensor:
    """Kullback-Leibler divergence KL(kernels || predicted) in nats, mean over the batch.

    Where kernels lose their tail, so does the sum: it lacks the one term of what leaves the cube, which is added here.
    """
    inside = (torch.xlogy(kernels, kernels) - kernels * log_kernels).sum(dim=(1, 2, 3))
    left = (1 - kernels.sum(dim=(1, 2, 3))).clamp(min=0)
    predicted_left = (1 - log_kernels.exp().sum(dim=(1, 2, 3))).clamp(min=1e-7)
    return (inside + torch.where(left > 1e-6, torch.xlogy(left, left) - left * predicted_left.log(), 0)).mean()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": l1_distance, "kl": kl_divergence}


class PsfTraining(Trained):
    """What the engine trains: the predictor's network under its loss, `l1` (as published) or `kl`; both are logged."""

    def __init__(self, network: PSFPredictor, loss: str):
        super().__init__()
        self.network = network
        self.loss = loss

    def optimised(self) -> dict[str, Iterable[nn.Parameter]]:
        """One optimiser, `predictor`."""
        return {"predictor": self.parameters()}

    def losses(self, batch: Mapping[str, Tensor], progress: Progress) -> Iterator[Step]:
        """One step on a batch of `PsfSamples`."""
        log_kernels = self.network.log_kernels(relative_to_water(batch["mu"]))
        values = {name: distance(log_kernels, batch["kernel"]) for name, distance in LOSSES.items()}
        yield Step("predictor", values[self.loss], {name: value.detach() for name, value in values.items()})


def train_predictor(
    train: Mapping[str, Any],
    psf_sets: Sequence[str],
    checkpoints: str | Path,
    device: str,
    threads: int,
    out: Mapping[str, str],
    code: str,
    checkpoint_seconds: float = 60.0,
) -> None:
    """Train a predictor, resuming where an interrupted training stopped.

    Args:
        train: `kernel_size`, `tail`, `loss`, `symmetries`, `network` (`channels`, `blocks`), and the engine's keys: `optimiser` with a
            block `predictor`, `batch_size`, `steps` or `epochs` (of all symmetries), `seed`, `precision`, and what else it knows.
        psf_sets: Sets of point spread functions of one simulation; held-out media are not among them.
        checkpoints: Folder for resume checkpoints.
        device: `cpu` or `cuda`.
        threads: CPU threads.
        out: Files to write: `weights` (safetensors), `history` (TSV) and `cost` (JSON).
        code: Hash of the code that trains it.
        checkpoint_seconds: Time between checkpoints.

    Raises:
        InputError: the loss or tail is unknown, the kernel is larger than the sets', a set cannot be read or is of another simulation,
            another process trains this, the loss is no longer finite, or the network has run away from what it was to learn.
    """
    if train["loss"] not in LOSSES:
        raise InputError(f"train/loss: {train['loss']!r} is unknown; choose one of {', '.join(LOSSES)}.")
    sets = [read_psf_set(path) for path in psf_sets]
    samples, description = samples_of(sets, train), describe(sets, train, code)

    def save(training: Trained) -> None:
        assert isinstance(training, PsfTraining)
        check_alive(training, samples)
        save_predictor(out["weights"], training.network.state_dict(), description)

    fit_model(
        make=lambda: PsfTraining(make_network(train), train["loss"]),
        samples=samples,
        train=train,
        identity={"train": dict(train), "code": code, "data": [checksum(path) for path in psf_sets]},
        checkpoints=checkpoints,
        device=device,
        threads=threads,
        out=out,
        save=save,
        checkpoint_seconds=checkpoint_seconds,
    )


def check_alive(training: PsfTraining, samples: PsfSamples) -> None:
    """Check that a trained network puts its kernels about where positrons are.

    One that was trained at too high a rate ends in a single voxel far away, at an l1 of 2, where no gradient brings it back.

    Raises:
        InputError: its mean l1 over some samples is at least `RAN_AWAY`.
    """
    chosen = np.linspace(0, len(samples) - 1, min(len(samples), 32)).astype(int)
    batch = samples.batch(chosen.tolist())
    device = next(training.parameters()).device
    with torch.no_grad():
        l1 = float(l1_distance(training.network.log_kernels(relative_to_water(batch["mu"].to(device))), batch["kernel"].to(device)))
    if l1 >= RAN_AWAY:
        raise InputError(
            f"the predictor's training ran away: its kernels have an l1 of {l1:.2f} on media that it was trained on, where 2 is nothing in"
            " common; lower train/optimiser/predictor/lr."
        )


def samples_of(sets: Sequence[PsfSet], train: Mapping[str, Any]) -> PsfSamples:
    """Training samples of sets, cut to the kernel size of a `train` block.

    Raises:
        InputError: the tail is unknown, or the kernel is larger than a set's.
    """
    size = train["kernel_size"]
    media = []
    for psfs in sets:
        cut = cut_to(psfs, size)
        media.append(psfs.mu[:, cut, cut, cut])
    kernels = [kernels_of(psfs, size, train["tail"]) for psfs in sets]
    return PsfSamples(np.concatenate(media), np.concatenate(kernels), train["symmetries"])


def describe(sets: Sequence[PsfSet], train: Mapping[str, Any], code: str) -> Description:
    """What a predictor trained on some sets is for.

    Raises:
        InputError: the sets are of several isotopes, voxel sizes or sources, or of materials that are not in the table.
    """
    origin = sets[0].origin
    for other in sets[1:]:
        for name in ("isotope", "voxel_mm", "source"):
            if getattr(other.origin, name) != getattr(origin, name):
                found = f"{getattr(origin, name)} and {getattr(other.origin, name)}"
                raise InputError(f"psf_sets/{name}: the sets have {found}; train one predictor on sets of one.")
    materials = training_materials(np.concatenate([np.unique(psfs.mu) for psfs in sets]))
    simulation = {key: value for key, value in asdict(origin).items() if key not in ("isotope", "voxel_mm", "source")}
    return Description(
        isotope=origin.isotope,
        voxel_mm=origin.voxel_mm,
        kernel_size=train["kernel_size"],
        tail=train["tail"],
        source=origin.source,
        materials=materials,
        train=dict(train),
        simulation=simulation,
        code=code,
    )


@torch.inference_mode()
def held_out_losses(predictor: Predictor, psfs: PsfSet, batch: int = 64) -> dict[str, float]:
    """Mean l1 distance and Kullback-Leibler divergence of a predictor on media it was not trained on.

    Args:
        predictor: The predictor.
        psfs: Held-out media of its isotope and voxel size.
        batch: Media predicted at a time.

    Raises:
        InputError: the set was simulated for another isotope, voxel size or source, or is smaller than the kernel.
    """
    own = predictor.description
    for name in ("isotope", "voxel_mm", "source"):
        if getattr(psfs.origin, name) != getattr(own, name):
            raise InputError(
                f"held_out/{name}: {getattr(psfs.origin, name)}, but the predictor has {getattr(own, name)}; give one like it."
            )
    samples = samples_of([psfs], {"kernel_size": own.kernel_size, "tail": own.tail, "symmetries": False})
    sums = dict.fromkeys(LOSSES, 0.0)
    for start in range(0, len(samples), batch):
        part = {key: value.to(predictor.device) for key, value in samples.batch(range(start, min(start + batch, len(samples)))).items()}
        log_kernels = predictor.network.log_kernels(relative_to_water(part["mu"]))
        for name, distance in LOSSES.items():
            sums[name] += float(distance(log_kernels, part["kernel"])) * len(log_kernels)
    return {name: total / len(samples) for name, total in sums.items()}

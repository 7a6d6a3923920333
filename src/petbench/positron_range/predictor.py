"""A trained PSF predictor on disk and in use: what it was trained for, its weights, and kernels from attenuation.

Heavy users take kernels in batches; the operators of `ddconv` keep them.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from petbench.errors import InputError
from petbench.files import atomic
from petbench.networks.psf_predictor import PSFPredictor
from petbench.physics.isotopes import isotope as isotope_named
from petbench.physics.materials import MATERIALS
from petbench.positron_range.material_kernels import check_voxels

KEY = "petbench_psf_predictor"


@dataclass(frozen=True)
class Description:
    """What a predictor was trained for.

    Attributes:
        isotope: The positron emitter.
        voxel_mm: Edge of its cubic voxels.
        kernel_size: Edge K of its kernels in voxels.
        tail: What became of positrons that leave the kernel: `renormalise` (kernels sum to one, as published) or `lose`.
        source: `point`, in the middle of the source voxel, or `voxel`, uniform in it.
        materials: Attenuation per cm at 511 keV of the materials it knows, by name.
        train: The block `train` of its entry.
        simulation: How its training data were simulated.
        code: Hash of the code that trained it.
    """

    isotope: str
    voxel_mm: float
    kernel_size: int
    tail: str
    source: str
    materials: dict[str, float]
    train: dict[str, Any]
    simulation: dict[str, Any]
    code: str


@dataclass(frozen=True, eq=False)
class Predictor:
    """A trained network on a device, ready to predict."""

    network: PSFPredictor
    description: Description
    device: torch.device

    @torch.inference_mode()
    def kernels(self, mu: Tensor) -> Tensor:
        """Kernels of media.

        Args:
            mu: Attenuation per cm at 511 keV around each source, (B, K, K, K) on the predictor's device.

        Returns:
            (B, K, K, K) float32, each the probabilities that a positron from its middle annihilates in a voxel.
        """
        kernels: Tensor = self.network(relative_to_water(mu))
        return kernels

    def homogeneous(self) -> dict[str, Tensor]:
        """The kernel (K, K, K) in each of the materials it knows, by name."""
        size = (self.description.kernel_size,) * 3
        media = [torch.full(size, mu, device=self.device) for mu in self.description.materials.values()]
        return dict(zip(self.description.materials, self.kernels(torch.stack(media)), strict=True))


def relative_to_water(mu: Tensor) -> Tensor:
    """Attenuation per cm as the network takes it, about 0.25 in lung to 1.8 in bone."""
    return mu.float() / MATERIALS["water"].mu_per_cm


def make_network(train: Mapping[str, Any]) -> PSFPredictor:
    """The network of a `train` block (`network` with `channels` and `blocks`, `tail`), freshly initialised."""
    return PSFPredictor(**train["network"], loses=train["tail"] == "lose")


def save_predictor(path: str | Path, weights: Mapping[str, Tensor], description: Description) -> None:
    """Write weights and their description as safetensors, atomically."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata={KEY: json.dumps(asdict(description), sort_keys=True)})


def load_predictor(
    path: str | Path,
    device: str = "cpu",
    isotope: str | None = None,
    voxel_mm: tuple[float, float, float] | None = None,
    kernel_size: int | None = None,
) -> Predictor:
    """Read a predictor, and refuse one that does not fit the scan.

    Args:
        path: The safetensors file.
        device: Where it predicts, `cpu` or `cuda`.
        isotope: The scan's, None to take any.
        voxel_mm: Voxel edges of its images, None to take any.
        kernel_size: The kernels' size that is asked for, None to take any.

    Raises:
        InputError: the file is missing, damaged or no predictor, or was trained for another isotope, voxel size or kernel size.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    description = read_predictor_description(path)
    if isotope is not None and isotope_named(isotope).name != description.isotope:
        raise InputError(f"{path}: trained for {description.isotope}, but the scan is of {isotope}; give a predictor of that isotope.")
    if voxel_mm is not None:
        check_voxels(path, description.voxel_mm, voxel_mm)
    if kernel_size is not None and kernel_size != description.kernel_size:
        raise InputError(
            f"{path}: predicts kernels of {description.kernel_size} voxels, but kernel_size is {kernel_size}; train one of that size."
        )
    network = make_network(description.train)
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise InputError(f"{path}: its weights do not fit the network ({str(error).splitlines()[0]}); train it again.") from None
    # The layout in which convolutions of few channels are fastest, on CPU and GPU.
    moved = network.to(device=device, memory_format=torch.channels_last_3d).eval()  # type: ignore[call-overload]
    return Predictor(moved, description, torch.device(device))


def read_predictor_description(path: str | Path) -> Description:
    """Read what a predictor was trained for, without its weights.

    Raises:
        InputError: the file is missing, damaged or no predictor.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; give the path of a trained predictor.")
    try:
        with safe_open(path, "pt") as file:
            return Description(**json.loads(file.metadata()[KEY]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is not a PSF predictor of petbench ({error}); give one that it trained.") from None

"""A subject small enough for tests: a torso of 9 cm on a scanner that holds it, with kernels and a predictor that were made up."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from petbench.networks.psf_predictor import PSFPredictor
from petbench.physics.materials import material
from petbench.physics.scanner import Scanner
from petbench.positron_range.predictor import Description, save_predictor
from petbench.positron_range.psf_set import Origin, PsfSet, write_psf_set
from petbench.positron_range.torso import MATERIALS, Torso
from petbench.positron_range.torso_files import read_torso, write_torso

KERNEL_SIZE = 7
ENTRY = {"radius_mm": [4.0, 4.0, 4.0, 4.0]}
SCANNER = {
    "name": "small scanner",
    "ring_radius_mm": 100.0,
    "crystals_per_ring": 128,
    "radial": "uniform",
    "radial_bins": 45,
    "radial_spacing_mm": 2.0,
    "views": 24,
    "planes": 31,
    "plane_spacing_mm": 2.0,
    "image": {"shape": [45, 45, 31], "voxel_mm": [2.0, 2.0, 2.0]},
    "fov_mm": 88.0,
    "oblique": {"rings": 16, "max_ring_difference": 4, "span": 3},
    "tof": {"resolution_ps": 200.0, "bins": 11, "bin_ps": 100.0},
}


@pytest.fixture(scope="session")
def small_scanner() -> Scanner:
    return Scanner.from_entry(SCANNER)


@pytest.fixture(scope="session")
def torso_paths(tmp_path_factory: pytest.TempPathFactory, small_scanner: Scanner) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("torso")
    paths = {name: folder / f"{name}.nii.gz" for name in ("activity", "mu", "lesions")} | {"table": folder / "lesions.tsv"}
    write_torso(ENTRY, small_scanner, paths)
    return paths


@pytest.fixture(scope="session")
def small_torso(torso_paths: Mapping[str, Path]) -> Torso:
    return read_torso(torso_paths)


def made_up_psfs() -> PsfSet:
    """Homogeneous media whose kernels fall off exponentially, a positron going the further the lighter the material."""
    size = KERNEL_SIZE
    places = np.arange(size) - size // 2
    distance = 2.0 * np.sqrt(places[:, None, None] ** 2 + places[None, :, None] ** 2 + places[None, None, :] ** 2)
    scale_mm = np.array([0.8 / material(name).density_g_cm3 for name in MATERIALS]).clip(max=1.6)
    weight = np.exp(-distance[None] / scale_mm[:, None, None, None])
    counts = np.rint(1e6 * weight / weight.sum(axis=(1, 2, 3), keepdims=True)).astype(np.uint32)
    positrons = counts.sum(axis=(1, 2, 3), dtype=np.uint32)
    mu = np.stack([np.full((size,) * 3, material(name).mu_per_cm, np.float32) for name in MATERIALS])
    origin = Origin("Ga68", 2.0, "voxel", "embedded", "none", "none", 1)
    return PsfSet(MATERIALS, mu, counts, np.zeros(len(MATERIALS), np.uint32), positrons, origin)


@pytest.fixture(scope="session")
def kernel_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kernels") / "materials.h5"
    write_psf_set(path, made_up_psfs())
    return path


def save_untrained(path: Path, size: int = KERNEL_SIZE, voxel_mm: float = 2.0, isotope: str = "Ga68", source: str = "voxel") -> Path:
    """A predictor with random weights, enlarged so that its kernels differ from medium to medium and are not symmetric."""
    torch.manual_seed(3)
    network = PSFPredictor(channels=4, blocks=1, loses=False)
    with torch.no_grad():
        network.score.weight.mul_(8.0)
    materials = {name: material(name).mu_per_cm for name in MATERIALS}
    train = {"network": {"channels": 4, "blocks": 1}, "tail": "renormalise"}
    save_predictor(path, network.state_dict(), Description(isotope, voxel_mm, size, "renormalise", source, materials, train, {}, "abc"))
    return path


@pytest.fixture(scope="session")
def untrained() -> Callable[..., Path]:
    """Write an untrained predictor: `untrained(path, size, voxel_mm, isotope, source)`."""
    return save_untrained


@pytest.fixture(scope="session")
def weights_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_untrained(tmp_path_factory.mktemp("weights") / "model.safetensors")

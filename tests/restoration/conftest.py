from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from petbench.data.nifti import volume, write_volume
from petbench.data.phantom import make_subject
from petbench.methods.base import Restorer
from petbench.methods.build import build
from petbench.preprocess.prepare import prepare
from petbench.restoration.weights import Description, save_weights
from petbench.training.fit import fit

TRAIN = {
    "network": {"spatial_dims": 3, "channels": [4, 8], "normalisation": "none"},
    "optimiser": {"restorer": {"name": "adam", "lr": 1e-3}},
    "batch_size": 2,
    "seed": 0,
    "precision": "fp32",
    "steps": 2,
}
PREPROCESS = {
    "registration": {"transform": "rigid", "fixed": "standard", "minimum_overlap": 0.6, "seed": 1},
    "grid": {"shape": [48, 56, 40]},
    "scaling": {"mode": "low_dose", "percentile": 99.5, "smooth_mm": 6.0, "mr_percentile": 99.5},
}
DOMAIN = {"window": [16, 16, 16], "stride": [16, 16, 16]}
VOXEL_MM = [4.0, 4.0, 4.0]


class Identity(Restorer):
    """Gives back the low dose, and remembers the batches it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def restore(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        given = low_dose if low_dose is not None else mr
        assert given is not None
        self.batches.append(len(given))
        return given


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def identity() -> Identity:
    return Identity()


@pytest.fixture(scope="session")
def describe() -> Callable[..., Description]:
    def make(**changes: Any) -> Description:
        common = {"module": "m_unet", "train": TRAIN, "preprocess": PREPROCESS, "window": DOMAIN["window"], "voxel_mm": VOXEL_MM}
        return Description(**(common | {"dataset": "mni", "dose": "drf4", "fold": "0", "code": "abc"} | changes))

    return make


@pytest.fixture(scope="session")
def untrained(tmp_path_factory, describe) -> str:
    """Weights as they were drawn."""
    path = tmp_path_factory.mktemp("untrained") / "model.safetensors"
    torch.manual_seed(0)
    save_weights(path, build("m_unet", TRAIN).weights(), describe())
    return str(path)


@pytest.fixture(scope="session")
def subject(tmp_path_factory) -> dict[str, str]:
    """A phantom's images: standard and low dose (a blur with noise), T1 in its own space, and what `prepare` makes of them."""
    folder = tmp_path_factory.mktemp("subject")
    phantom = make_subject({"working_mm": 4.0, "t1": {"voxel_mm": 4.0}}, (64, 64, 48), (4.0, 4.0, 4.0), seed=5)
    like = volume(phantom.activity, phantom.affine)
    blurred = gaussian_filter(phantom.activity, 0.6)
    for kind, counts in {"standard_dose": 100, "low_dose": 400}.items():
        data = gaussian_filter(np.random.default_rng(counts).poisson(blurred / counts) * np.float32(counts), 0.4)
        write_volume(folder / f"{kind}.nii.gz", data, like=like)
    write_volume(folder / "t1.nii.gz", phantom.t1, like=volume(phantom.t1, phantom.t1_affine))
    images = {kind: str(folder / f"{kind}.nii.gz") for kind in ("low_dose", "standard_dose")}
    out = {kind: str(folder / f"{kind}.npy") for kind in ("low_dose", "standard_dose", "mr", "index")}
    # an MR on the PET grid, for this purpose as good as a registered one
    prepare(images | {"mr": images["standard_dose"]}, PREPROCESS, DOMAIN, out | {"parameters": str(folder / "prepared.json")})
    return images | {"t1": str(folder / "t1.nii.gz"), "prepared": str(folder / "prepared.json")}


@pytest.fixture(scope="session")
def trained(tmp_path_factory, subject, describe) -> str:
    """Weights after two steps on the subject."""
    folder = tmp_path_factory.mktemp("trained")
    out = {kind: str(folder / kind) for kind in ("history", "cost")} | {"weights": str(folder / "model.safetensors")}
    fit(describe(), [subject["prepared"]], ["low_dose", "mr", "standard_dose"], folder / "checkpoints", "cpu", 1, out)
    return out["weights"]

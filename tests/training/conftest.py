from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from petbench.files import write_json
from petbench.preprocess.windows import window_starts
from petbench.restoration.weights import Description

WINDOW, STRIDE = [16, 16, 16], [8, 8, 8]
ADAM = {"name": "adam", "lr": 2.0e-3, "betas": [0.9, 0.999]}
COMMON = {"batch_size": 2, "seed": 3, "precision": "bf16", "steps": 6}
TRAIN: dict[str, dict[str, Any]] = {
    "m2diff": COMMON
    | {
        "diffusion": {
            "timesteps": 50,
            "schedule": {"name": "cosine", "offset": 0.008},
            "prediction": "x0",
            "variance": "learned",
            "vlb_weight": 0.001,
            "range": [0.0, 1.0],
        },
        "network": {
            "spatial_dims": 3,
            "width": 4,
            "multipliers": [1, 2],
            "blocks": 1,
            "attention": [2],
            "heads": 2,
            "head": "plain",
            "dropout": {"encoder": 0.2, "pet_decoder": 0.2, "mr_decoder": 0.2},
            "hff": "concat",
            "bottleneck": "separate",
            "decoders": 2,
        },
        "loss": {"recovery": 0.4, "consistency": 0.2},
        "mr_dropout": 0.5,
        "mr_flag": "sample",
        "mr_head": "spared",
        "optimiser": {"restorer": ADAM},
        "ema": 0.9,
    },
    "m_unet": COMMON
    | {
        "network": {"spatial_dims": 3, "channels": [4, 8], "normalisation": "batch"},
        "optimiser": {"restorer": ADAM | {"name": "adamw", "weight_decay": 0.01}},
        "schedule": {"milestones": [0.5], "gamma": 0.1},
        "ema": 0.9,
    },
    "mak_gan": COMMON
    | {
        "network": {
            "spatial_dims": 3,
            "channels": [4, 8],
            "encoder": "mke",
            "interaction": "aki",
            "heads": 2,
            "mke_ratio": [2, 1, 1],
            "aki_ratio": [1, 1, 1],
            "aki_identity": True,
            "kernel_size": 3,
            "prior_grid": [8, 4],
            "prior_hidden": 4,
            "prior_residual": True,
            "expansion": 2,
            "decoder": [8, 4],
            "image_skip": "features",
            "image_features": 4,
            "normalisation": "none",
            "residual": True,
        },
        "discriminator": {"channels": 4, "layers": 1, "normalisation": "batch"},
        "loss": {"objective": "bce", "adversarial": 1.0, "l1": 100.0, "edge": 50.0},
        "image_pool": 3,
        "initialisation": 0.02,
        "optimiser": {"generator": ADAM, "discriminator": ADAM},
        "clip_gradient": 1.0,
        "ema": 0.5,
    },
}


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def prepare_subject() -> Callable[..., str]:
    """Write what `prepare` would of a made-up subject; the path of its `prepared.json`."""

    def write(
        folder: Path, seed: int, shape: tuple[int, int, int] = (24, 16, 20), window: list[int] = WINDOW, stride: list[int] = STRIDE
    ) -> str:
        rng = np.random.default_rng(seed)
        folder.mkdir(parents=True)
        standard = gaussian_filter(rng.random(shape), 2)
        standard = (standard - standard.min()) / np.ptp(standard)
        volumes = {"standard_dose": standard, "low_dose": standard + 0.1 * rng.normal(size=shape), "mr": 1 - standard}
        for kind, data in volumes.items():
            np.save(folder / f"{kind}.npy", data.astype(np.float32))
        np.save(folder / "index.npy", window_starts(shape, window, stride))
        write_json(folder / "prepared.json", {"window": window, "voxel_mm": [2.0, 2.0, 2.0], "scaling": {}, "seed": seed})
        return str(folder / "prepared.json")

    return write


@pytest.fixture(scope="session")
def prepared(tmp_path_factory, prepare_subject) -> list[str]:
    folder = tmp_path_factory.mktemp("prepared")
    return [prepare_subject(folder / f"sub-{seed:02d}", seed) for seed in (1, 2)]


@pytest.fixture(scope="session")
def describe() -> Callable[..., Description]:
    """The description of a tiny training; keywords change its `train` block, None removes a key."""

    def make(module: str, code: str = "abc", **changes: Any) -> Description:
        train = {key: value for key, value in (TRAIN[module] | changes).items() if value is not None}
        return Description(module, train, {}, WINDOW, [2.0, 2.0, 2.0], "mni", "drf4", "0", code)

    return make


@pytest.fixture(scope="session")
def outputs() -> Callable[[Path], dict[str, str]]:
    return lambda folder: {
        kind: str(folder / name) for kind, name in {"weights": "model.safetensors", "history": "history.tsv", "cost": "cost.json"}.items()
    }

"""Method entries as the tests of methods read them."""

from pathlib import Path
from typing import Any

import yaml

CONFIG = Path(__file__).parents[2] / "config"


def merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    deeper = {key for key, value in over.items() if isinstance(base.get(key), dict) and isinstance(value, dict)}
    return base | {key: merged(base[key], value) if key in deeper else value for key, value in over.items()}


def entry(name: str) -> dict[str, Any]:
    own = yaml.safe_load((CONFIG / "methods" / f"{name}.yaml").read_text())
    parent = own.pop("extends", None)
    return merged(entry(parent), own) if parent else own


TINY = {
    "m_unet": {"network": {"channels": [4, 8]}},
    "mb_unet": {"network": {"channels": [4, 8]}},
    "pix2pixhd": {"network": {"width": 4, "halvings": 2, "blocks": 1}, "discriminator": {"channels": 4, "layers": 2}},
    "ea_gan": {"network": {"channels": [4, 8, 8]}, "discriminator": {"channels": 4, "layers": 1}},
    "hi_net": {"network": {"channels": [4, 8]}, "discriminator": {"channels": [4, 8]}},
    "fbsem": {"network": {"layers": 3, "channels": 4}, "unrolling": {"iterations": 2, "subsets": 2}},
    "cncl": {"network": {"channels": [4, 8]}, "discriminator": {"channels": [4, 8]}},
    "mak_gan": {
        "network": {
            "channels": [4, 8],
            "decoder": [4, 4],
            "heads": 2,
            "expansion": 2,
            "prior_grid": [8, 4],
            "prior_hidden": 4,
            "image_features": 4,
        },
        "discriminator": {"channels": 4, "layers": 2},
    },
    "mtrans_gan": {
        "network": {
            "channels": [8, 16],
            "convolutions": [1, 1],
            "tokens": 8,
            "layers": 1,
            "heads": 2,
            "hidden": 8,
            "dropout": 0.0,
            "positions": [6, 6, 6],
        },
        "discriminator": {"channels": 4, "layers": 2},
    },
    "la_gan": {
        "network": {"modalities": 2, "regions": 2, "channels": [4, 8]},
        "discriminator": {"channels": [2, 4], "normalisation": "none", "size": 1},
    },
    "cvt_gan": {
        "network": {
            "stem": 4,
            "channels": [8, 8],
            "depths": [1, 1],
            "heads": [2, 2],
            "decoder_heads": [2],
            "expansion": 2,
            "dropout": [0.0, 0.0],
        },
        "discriminator": {
            "convolutions": [4, 8],
            "strides": [2, 1],
            "channels": [8],
            "heads": [2],
            "expansion": 2,
            "dropout": 0.0,
            "convolution_dropout": 0.0,
        },
    },
    "pcsa_gan": {
        "network": {"filters": [[1, 2, 3], [4, 4]], "deep": 8, "residual_blocks": 1},
        "discriminator": {"channels": [2, 4, 4, 8]},
    },
    "tpa_gan": {
        "network": {"filters": [2, 4], "deep": [8, 8], "residual_blocks": 2},
        "discriminator": {"channels": [2, 4, 4]},
        "classifier": {"width": 4, "growth": 4, "layers": [1, 1]},
    },
    "cgan_unet": {"network": {"channels": [4, 8]}, "discriminator": {"channels": [2, 4, 4, 8]}},
    "hgan": {"network": {"channels": 4, "residual_blocks": 1}, "discriminator": {"channels": 4, "layers": 2}},
    "gla_gan": {
        "network": {"channels": [4, 8], "local_channels": [4, 4], "features": 4},
        "discriminator": {"channels": [2, 4, 4, 8]},
    },
    "cycle_wgan": {
        "network": {"width": 4, "halvings": 1, "blocks": 1},
        "critic": {"channels": [4, 8], "size": [2, 2], "hidden": 16},
        "critic_steps": 3,
    },
    "pt_wgan": {"network": {"channels": 4}, "critic": {"channels": [4, 8], "size": [2, 2, 1], "hidden": 16}, "critic_steps": 3},
    "mean_pet": {},
    "gaussian": {"widths": [0.5, 1.0, 2.0]},
    "nlm": {"strengths": [0.5, 1.0, 2.0], "patch_size": 3, "patch_distance": 1},
    "iddpm": {"network": {"width": 4, "multipliers": [1, 2], "blocks": 1, "attention": [2], "heads": 2, "dropout": 0.0}},
    "m2diff": {
        "network": {
            "width": 4,
            "multipliers": [1, 2],
            "blocks": 1,
            "attention": [2],
            "heads": 2,
            "dropout": {"encoder": 0.0, "pet_decoder": 0.0, "mr_decoder": 0.0},
        }
    },
}

TINY["map_reconstruction"] = {"strengths": [0.03, 0.3]}
TINY["csrd"] = {"network": {"width": 8, "multipliers": [1, 2], "blocks": 1, "dropout": 0.0}}
TINY["cdm"] = {"network": {"coarse": 4, "denoiser": 4, "multipliers": [1, 2], "blocks": 1, "guide": {"width": 4, "multipliers": [1, 2]}}}
FUSION = {"channels": 4, "encoder_blocks": 1, "decoder_blocks": 1, "heads": 2, "window": 4, "nodes": 2}
TINY["mfdiff"] = {"fusion": FUSION, "network": TINY["iddpm"]["network"]}
TINY["mfdiff_regression"] = {"fusion": FUSION, "network": {"channels": [4, 8]}}


def tiny(name: str) -> dict[str, Any]:
    """The `train` block of an entry at the smallest widths."""
    whole = entry(name)
    removed = {key for key, value in whole["train"].items() if value is None}
    small = {key: value for key, value in TINY[whole["module"]].items() if key not in removed}
    return merged(whole["train"], small | {"initialisation": None})

"""Ensembles: one subject's volumes, restored by several methods, fused into one."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from petbench.data.nifti import read_volume, same_grid, write_volume
from petbench.errors import InputError
from petbench.files import read_json, write_json


def mean(volumes: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
    """Voxel-wise average; also the average in any linear transform's domain."""
    return np.asarray(np.mean(volumes, axis=0))


SUMMED = ("parameters", "gmac_modules", "gflop", "restore_seconds")

RULES: dict[str, Callable[[Sequence[NDArray[np.floating]]], NDArray[np.floating]]] = {"mean": mean}


def fuse(images: Sequence[str], sidecars: Sequence[str], rule: str, out: Mapping[str, str]) -> None:
    """Fuse one subject's volumes restored by several methods into one.

    Args:
        images: Restored NIfTI images of one subject.
        sidecars: Their sidecars; the fused cost is their sum.
        rule: `mean`, the voxel-wise average.
        out: `image` and `sidecar`.

    Raises:
        InputError: the volumes are not on one grid.
    """
    volumes = [read_volume(path) for path in images]
    for path, image in zip(images, volumes, strict=True):
        if not same_grid(image, volumes[0]):
            raise InputError(f"{path}: its grid is not that of {images[0]}; restore both from the same PET image.")
    write_volume(out["image"], RULES[rule]([np.asarray(volume.dataobj) for volume in volumes]), like=volumes[0])
    costs = [read_json(path) for path in sidecars]
    write_json(
        out["sidecar"],
        {
            "Description": f"{rule.capitalize()} of volumes restored by several methods; a research result, not for diagnosis",
            "Sources": sorted({source for cost in costs for source in cost["Sources"]}),
            **{key: sum(cost[key] for cost in costs) for key in SUMMED},
            "restore_peak_mb": max(cost["restore_peak_mb"] for cost in costs),
            "device": "; ".join(sorted({cost["device"] for cost in costs})),
        },
    )

"""Ensembles: one subject's volumes, restored by several methods, fused into one."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from petbench.data.nifti import read_volume, write_volume
from petbench.files import read_json, write_json


def mean(volumes: Sequence[NDArray[np.floating]]) -> NDArray[np.floating]:
    """Voxel-wise average; also the average in any linear transform's domain."""
    return np.asarray(np.mean(volumes, axis=0))


RULES: dict[str, Callable[[Sequence[NDArray[np.floating]]], NDArray[np.floating]]] = {"mean": mean}


def fuse(images: Sequence[str], sidecars: Sequence[str], rule: str, out: Mapping[str, str]) -> None:
    """Fuse one subject's volumes restored by several methods into one.

    Args:
        images: Restored NIfTI images of one subject.
        sidecars: Their sidecars; the fused cost is their sum.
        rule: `mean`, the voxel-wise average.
        out: `image` and `sidecar`.
    """
    volumes = [read_volume(path) for path in images]
    write_volume(out["image"], RULES[rule]([np.asarray(volume.dataobj) for volume in volumes]), like=volumes[0])
    costs = [read_json(path) for path in sidecars]
    write_json(
        out["sidecar"],
        {
            "Description": f"{rule.capitalize()} of volumes restored by several methods; a research result, not for diagnosis",
            "Sources": sorted({source for cost in costs for source in cost["Sources"]}),
            "restore_seconds": sum(cost["restore_seconds"] for cost in costs),
            "restore_peak_mb": max(cost["restore_peak_mb"] for cost in costs),
            "device": costs[0]["device"],
        },
    )

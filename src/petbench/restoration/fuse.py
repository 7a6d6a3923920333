"""Ensembles: one subject's volumes, restored by several methods, fused into one."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pywt
from numpy.typing import NDArray

from petbench.data.nifti import read_volume, same_grid, write_volume
from petbench.errors import InputError
from petbench.files import read_json, write_json
from petbench.restoration.costs import together

Volume = NDArray[np.floating]

WAVELET, LEVEL = "db2", 2
"""Defaults of `wavelet` and `level`."""


def mean(volumes: Sequence[Volume]) -> Volume:
    """Voxel-wise average; also the average in any linear transform's domain."""
    return np.asarray(np.mean(volumes, axis=0))


def dwt(volumes: Sequence[Volume], wavelet: str = WAVELET, level: int = LEVEL) -> Volume:
    """Fuse in the domain of a 3D discrete wavelet transform.

    The coarsest approximations are averaged; of each detail coefficient the one of largest magnitude is kept, the first of equal ones.
    Averaging the details too would be the plain mean, as the transform is linear.

    Args:
        volumes: Arrays (x, y, z) of one shape; sizes may be odd.
        wavelet: Name of a discrete wavelet of PyWavelets.
        level: How often the approximation is split.

    Raises:
        InputError: the volumes are too small for so many levels of the wavelet.
    """
    shape = volumes[0].shape
    most = pywt.dwtn_max_level(shape, wavelet)
    if level > most:
        raise InputError(f"restore/level: {level} levels of {wavelet} need larger volumes than {shape}; take at most {most}.")
    # Mirrored at its borders, a transform of any size is undone exactly, but for one voxel more where a size is odd.
    parts = [pywt.wavedecn(np.asarray(volume, dtype=np.float64), wavelet, mode="symmetric", level=level) for volume in volumes]
    fused: list[Any] = [mean([part[0] for part in parts])]
    for details in zip(*(part[1:] for part in parts), strict=True):
        fused.append({band: _largest([detail[band] for detail in details]) for band in details[0]})
    return np.asarray(pywt.waverecn(fused, wavelet, mode="symmetric")[tuple(slice(size) for size in shape)])


def _largest(coefficients: Sequence[Volume]) -> Volume:
    """Element-wise, the one of largest magnitude."""
    stacked = np.stack(coefficients)
    return np.asarray(np.take_along_axis(stacked, np.argmax(np.abs(stacked), axis=0)[None], axis=0)[0])


def fuse(images: Sequence[str], sidecars: Sequence[str], settings: Mapping[str, Any], out: Mapping[str, str]) -> None:
    """Fuse one subject's volumes restored by several methods into one.

    Args:
        images: Restored NIfTI images of one subject.
        sidecars: Their sidecars; the fused cost is their sum.
        settings: The entry's `restore` block: `fuse`, `mean` or `dwt`, and for the latter optionally `wavelet` and `level`.
        out: `image` and `sidecar`.

    Raises:
        InputError: the volumes are not on one grid, or too small for the wavelet.
    """
    volumes = [read_volume(path) for path in images]
    for path, image in zip(images, volumes, strict=True):
        if not same_grid(image, volumes[0]):
            raise InputError(f"{path}: its grid is not that of {images[0]}; restore both from the same PET image.")
    arrays = [np.asarray(volume.dataobj) for volume in volumes]
    if settings["fuse"] == "dwt":
        fused = dwt(arrays, settings.get("wavelet", WAVELET), settings.get("level", LEVEL))
        how = "Wavelet fusion"
    else:
        fused, how = mean(arrays), "Mean"
    write_volume(out["image"], fused, like=volumes[0])
    costs = [read_json(path) for path in sidecars]
    write_json(
        out["sidecar"],
        {
            "Description": f"{how} of volumes restored by several methods; a research result, not for diagnosis",
            **{key: costs[0][key] for key in ("Units", "Scale", "SkullStripped") if key in costs[0]},
            "Sources": sorted({source for cost in costs for source in cost["Sources"]}),
            "Unrestored": list(dict.fromkeys(reason for cost in costs for reason in cost.get("Unrestored", []))),
            **together(costs),
        },
    )

"""A subject's predicted kernels on disk, so that the scans of one subject share one prediction."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.files import atomic
from petbench.positron_range.stored_kernels import Block

PARTS = ("voxels", "which", "roots", "scales")


def identity_of(medium: NDArray[np.floating], weights: Sequence[NDArray[np.generic]], how: Sequence[object]) -> str:
    """A digest of all that predicted kernels depend on: the medium (x, y, z), the network's weights, and how kernels are stored."""
    found = hashlib.sha256(repr([medium.shape, *how]).encode())
    for array in (medium, *weights):
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def write_kernels(path: str | Path, blocks: Sequence[Block], left: NDArray[np.int64], identity: str) -> None:
    """Write stored kernels, and the voxels `left` for whose kernels there was no memory, as HDF5."""
    import h5py

    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        for number, block in enumerate(blocks):
            for part in PARTS:
                file[f"{number}/{part}"] = getattr(block, part)
        file["left"] = left
        file.attrs.update({"blocks": len(blocks), "identity": identity})


def read_kernels(path: str | Path, identity: str) -> tuple[list[Block], NDArray[np.int64]]:
    """Read what `write_kernels` wrote.

    Raises:
        InputError: the file is missing, cut short, or holds the kernels of another medium or predictor.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            own, left = str(file.attrs["identity"]), file["left"][:]
            blocks = [Block(*(file[f"{number}/{part}"][:] for part in PARTS)) for number in range(int(file.attrs["blocks"]))]
    except (OSError, KeyError) as error:
        raise InputError(f"{path}: no readable set of predicted kernels ({error}); predict them again.") from None
    if own != identity:
        raise InputError(f"{path}: its kernels were predicted for another attenuation, predictor or setting; predict them again.")
    return blocks, left

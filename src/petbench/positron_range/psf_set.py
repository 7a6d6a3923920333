"""Sets of point spread functions: how many positrons annihilated in each voxel around a source, for many media."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.files import atomic


@dataclass(frozen=True)
class Origin:
    """What all point spread functions of a set have in common; only sets that agree in it can be joined.

    Args:
        isotope: As in `petbench.physics.isotopes`.
        voxel_mm: Edge of the cubic voxels.
        source: `point`, in the middle of the middle voxel, or `voxel`, uniform in it.
        data: Geant4's data: `embedded`, `download` or a folder.
        physics: Physics list, production cut and step limits, in one line.
        versions: Of opengate and Geant4.
        seed: The simulation's.
    """

    isotope: str
    voxel_mm: float
    source: str
    data: str
    physics: str
    versions: str
    seed: int


@dataclass(frozen=True)
class PsfSet:
    """N point spread functions on K^3 voxels, K odd, the source in the middle.

    Args:
        names: Each medium's own.
        mu: Attenuation per cm at 511 keV, (N, K, K, K) float32.
        counts: Annihilations, (N, K, K, K) uint32.
        outside: Annihilations further away, and positrons that left the world, (N,) uint32.
        positrons: Positrons started, (N,) uint32.
        origin: How they were simulated.
    """

    names: tuple[str, ...]
    mu: NDArray[np.float32]
    counts: NDArray[np.uint32]
    outside: NDArray[np.uint32]
    positrons: NDArray[np.uint32]
    origin: Origin

    @property
    def kernel_size(self) -> int:
        """K."""
        return int(self.counts.shape[-1])


def write_psf_set(path: str | Path, psfs: PsfSet) -> None:
    """Write a set as HDF5: datasets `name`, `mu`, `counts`, `outside`, `positrons`; the origin's fields as attributes."""
    import h5py

    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        one = (1, *psfs.counts.shape[1:])
        file.create_dataset("name", data=list(psfs.names), dtype=h5py.string_dtype())
        file.create_dataset("mu", data=psfs.mu.astype(np.float32), compression="gzip", chunks=one)
        file.create_dataset("counts", data=psfs.counts.astype(np.uint32), compression="gzip", shuffle=True, chunks=one)
        file.create_dataset("outside", data=psfs.outside.astype(np.uint32))
        file.create_dataset("positrons", data=psfs.positrons.astype(np.uint32))
        for field in fields(Origin):
            file.attrs[field.name] = getattr(psfs.origin, field.name)
        file.attrs["sha256"] = _checksum(psfs)


def _checksum(psfs: PsfSet) -> str:
    """SHA-256 of all that a set holds."""
    found = hashlib.sha256(json.dumps([psfs.names, asdict(psfs.origin)]).encode())
    for array, kind in ((psfs.mu, "<f4"), (psfs.counts, "<u4"), (psfs.outside, "<u4"), (psfs.positrons, "<u4")):
        found.update(f"{array.shape}".encode())
        found.update(np.ascontiguousarray(array, dtype=kind).tobytes())
    return found.hexdigest()


def read_psf_set(path: str | Path) -> PsfSet:
    """Read a set and check that it is what was written.

    Raises:
        InputError: the file is missing, cut short, lacks a part, or is not what its checksum is of.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            origin = Origin(**{field.name: _plain(file.attrs[field.name]) for field in fields(Origin)})
            names = tuple(file["name"].asstr()[:])
            psfs = PsfSet(names, file["mu"][:], file["counts"][:], file["outside"][:], file["positrons"][:], origin)
            written = str(file.attrs["sha256"])
    # HDF5 tells of damage in many ways
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"{path}: no readable set of point spread functions ({reason}); simulate it again.") from None
    if written != _checksum(psfs):
        raise InputError(f"{path}: is damaged, its checksum is not that of what it holds; copy or simulate it again.")
    number, size = len(psfs.names), psfs.kernel_size
    shapes = [array.shape for array in (psfs.mu, psfs.counts, psfs.outside, psfs.positrons)]
    found = psfs.counts.reshape(number, -1).sum(axis=1, dtype=np.uint64) + psfs.outside
    if shapes != [(number, size, size, size)] * 2 + [(number,)] * 2 or size % 2 == 0 or np.any(found != psfs.positrons):
        raise InputError(f"{path}: its annihilations do not add up to its positrons; simulate it again.")
    return psfs


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def merge_psf_sets(paths: Sequence[str | Path], out: str | Path) -> None:
    """Join the chunks of one simulation into one file, in the order given.

    Raises:
        InputError: a chunk cannot be read, comes from another simulation or grid, or repeats a medium.
    """
    parts = [read_psf_set(path) for path in paths]
    first, seen = parts[0], set[str]()
    for path, part in zip(paths, parts, strict=True):
        differing = [field.name for field in fields(Origin) if getattr(part.origin, field.name) != getattr(first.origin, field.name)]
        differing += ["kernel size"] if part.kernel_size != first.kernel_size else []
        if differing:
            raise InputError(f"{path}: its {differing[0]} is not that of {paths[0]}; join only chunks of one simulation.")
        repeated = seen.intersection(part.names)
        if repeated:
            raise InputError(f"{path}: the medium {min(repeated)} is in another chunk too; join each chunk once.")
        seen.update(part.names)
    names = tuple(name for part in parts for name in part.names)
    mu, counts, outside, positrons = (
        np.concatenate([getattr(part, key) for part in parts]) for key in ("mu", "counts", "outside", "positrons")
    )
    write_psf_set(out, PsfSet(names, mu, counts, outside, positrons, first.origin))

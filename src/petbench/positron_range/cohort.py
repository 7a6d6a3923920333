"""Which media a set of point spread functions is simulated in, as an entry says, and the file they wait in for GATE."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from petbench.errors import InputError
from petbench.files import atomic
from petbench.physics.materials import material
from petbench.positron_range.media import (
    FIRST_INDEX,
    GEOMETRIC,
    Labels,
    Media,
    RandomMedia,
    geometric_phantom,
    homogeneous_medium,
    official_medium,
    random_medium,
)


def make_media(entry: Mapping[str, Any]) -> Media:
    """Make the media of an entry.

    Args:
        entry: `materials` (names; lung, water, rib_bone if left out), `size` (31) and `voxel_mm` (2.0) of the grid, and `media`, a list of
            groups: `{kind: random, seed, count}` with any key of `RandomMedia` and `first` (0), the index of its first medium;
            `{kind: official, seed, count}` with `first`, random media as the authors' code draws them; `{kind: homogeneous}`, one of each
            material; `{kind: geometric}` with `phantoms` (all) and `first_index`.

    Raises:
        InputError: an unknown material, kind or key, an even or empty grid, no media, or two of one name.
    """
    materials = tuple(entry.get("materials", ("lung", "water", "rib_bone")))
    for name in materials:
        material(name)
    size, voxel_mm = int(entry.get("size", 31)), float(entry.get("voxel_mm", 2.0))
    if size < 1 or size % 2 == 0 or voxel_mm <= 0:
        raise InputError(f"media/size: the grid needs an odd number of voxels of a positive size, not {size} of {voxel_mm} mm.")
    made = [named for group in entry["media"] for named in _group(group, materials, size, voxel_mm)]
    names = tuple(name for name, _ in made)
    if not names or len(set(names)) < len(names):
        raise InputError("media: the groups make no medium, or one twice; give each random group its own seed or `first`.")
    return Media(np.stack([labels for _, labels in made]), names, materials, voxel_mm)


def _group(group: Mapping[str, Any], materials: Sequence[str], size: int, voxel_mm: float) -> Iterator[tuple[str, Labels]]:
    rest = dict(group)
    kind = rest.pop("kind", None)
    if kind in ("random", "official"):
        if not {"seed", "count"} <= set(rest):
            raise InputError(f"media: a group of {kind} media needs its seed and count; add them.")
        seed, count, first = int(rest.pop("seed")), int(rest.pop("count")), int(rest.pop("first", 0))
        if len(materials) < 2:
            raise InputError("media/materials: random media need at least two materials.")
        numbers = range(first, first + count)
        if kind == "official":
            _refuse(rest)
            yield from ((f"official-{seed}-{index:05d}", official_medium(seed, index, size, len(materials))) for index in numbers)
            return
        how = RandomMedia.from_entry(rest)
        yield from ((f"random-{seed}-{index:05d}", random_medium(seed, index, size, len(materials), how)) for index in numbers)
    elif kind == "homogeneous":
        _refuse(rest)
        yield from ((name, homogeneous_medium(label, size)) for label, name in enumerate(materials))
    elif kind == "geometric":
        phantoms, first_index = rest.pop("phantoms", GEOMETRIC), int(rest.pop("first_index", FIRST_INDEX))
        _refuse(rest)
        labels = {name: label for label, name in enumerate(materials)}
        if (size, voxel_mm) != (31, 2.0) or not {"lung", "water", "rib_bone"} <= set(labels):
            raise InputError("media/geometric: experiment 1's phantoms are 31 voxels of 2 mm of lung, water and rib_bone; change the grid.")
        yield from ((f"geometric-{name}", geometric_phantom(name, labels, first_index)) for name in phantoms)
    else:
        raise InputError(f"media/kind: {kind!r} is unknown; choose random, official, homogeneous or geometric.")


def _refuse(rest: Mapping[str, Any]) -> None:
    if rest:
        raise InputError(f"media: unknown key {next(iter(rest))!r}; take it out.")


def write_media(path: str | Path, media: Media) -> None:
    """Write media to an HDF5 file: `labels` (N, S, S, S) uint8 and `name`; attributes `materials` and `voxel_mm`."""
    import h5py

    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("labels", data=media.labels, compression="gzip", chunks=(1, *media.labels.shape[1:]))
        file.create_dataset("name", data=list(media.names), dtype=h5py.string_dtype())
        file.attrs["materials"] = list(media.materials)
        file.attrs["voxel_mm"] = media.voxel_mm


def read_media(path: str | Path) -> Media:
    """Read the media that `write_media` wrote.

    Raises:
        InputError: the file is missing, cut short, or holds something else.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            names = tuple(file["name"].asstr()[:])
            return Media(file["labels"][:], names, tuple(file.attrs["materials"]), float(file.attrs["voxel_mm"]))
    except (OSError, KeyError) as error:
        raise InputError(f"{path}: no readable set of media ({error}); make it again.") from None

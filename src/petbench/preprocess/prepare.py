"""From a subject's images to the normalised volumes that methods read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.acquired import acquired
from petbench.data.affines import edges_mm
from petbench.data.nifti import Image, read_volume, same_grid, voxel_mm
from petbench.errors import InputError
from petbench.files import atomic, checksum, write_json
from petbench.preprocess.grid import grid_of, share_inside, to_grid
from petbench.preprocess.intensity import scales
from petbench.preprocess.likeness import measure
from petbench.preprocess.regions import regions
from petbench.preprocess.windows import EMPTY_BELOW, filled_slices, thin_axis, window_starts


@dataclass(frozen=True)
class Prepared:
    """A subject on the working grid, scaled.

    Attributes:
        volumes: `low_dose`, `mr` and `standard_dose`, as far as the subject has them, each (x, y, z) float32.
        affine: Affine of the working grid, (4, 4).
        scales: What each volume was divided by, in its own units.
        measures: What tells how like others the subject is, see `petbench.preprocess.likeness`; empty where there is no low dose.
    """

    volumes: dict[str, NDArray[np.float32]]
    affine: NDArray[np.float64]
    scales: dict[str, float]
    measures: dict[str, float] = field(default_factory=dict)


def normalise(images: Mapping[str, Image], names: Mapping[str, str], preprocess: Mapping[str, Any]) -> Prepared:
    """Bring images to the working grid and scale them.

    Args:
        images: `low_dose`, `mr` (in PET space) and optionally `standard_dose`, all on the subject's PET grid.
        names: Their files, for messages.
        preprocess: `grid` (see `grid_of`) and `scaling` (see `scales`).

    Raises:
        InputError: the images are not on one grid, or one is empty.
    """
    pet = images["low_dose"]
    for kind, image in images.items():
        if not same_grid(image, pet):
            raise InputError(
                f"{names[kind]}: its grid (shape {image.shape}) is not that of {names['low_dose']} (shape {pet.shape});"
                " resample it to the PET image first."
            )
    shape, affine = grid_of(pet, preprocess["grid"])
    data = {kind: to_grid(image, shape, affine) for kind, image in images.items()}
    divisors = scales(data["low_dose"], data["mr"], data.get("standard_dose"), preprocess["scaling"], names, edges_mm(affine).tolist())
    volumes = {kind: np.asarray(values / divisors[kind], dtype=np.float32) for kind, values in data.items()}
    own, edges = voxel_mm(pet).tolist(), edges_mm(affine).tolist()
    measures = measure(volumes["low_dose"], volumes["mr"], edges, own, share_inside(pet, shape, affine))
    return Prepared(volumes, affine, divisors, measures)


def prepare(
    paths: Mapping[str, str],
    preprocess: Mapping[str, Any],
    domain: Mapping[str, Any],
    out: Mapping[str, str],
) -> None:
    """Write a subject's normalised volumes, its window index and how to go back.

    Args:
        paths: NIfTI files of `low_dose`, `standard_dose` and `mr`.
        preprocess: The data set entry's block of that name.
        domain: `window` and `stride` in voxels, and for windows one voxel thick optionally the `slices` that they are cut at and
            `empty_below` (see `training_starts`).
        out: Files to write: the three volumes (`.npy`, memory-mapped by readers), `index` (`.npy`, first voxels of windows) and
            `parameters` (JSON, with what the low dose's sidecar says of the `scan`).
    """
    prepared = normalise({kind: read_volume(path) for kind, path in paths.items()}, paths, preprocess)
    _write(prepared, paths, preprocess, domain, out, {"scan": acquired(paths["low_dose"])})


def prepare_maps(
    paths: Mapping[str, str],
    preprocess: Mapping[str, Any],
    domain: Mapping[str, Any],
    out: Mapping[str, str],
    diagnosis: int | None = None,
) -> None:
    """The same of a subject whose PET is made of MR: its images are already on the working grid, and fill [0, 1].

    Args:
        paths: NIfTI files of `mr` and, where the subject has PET, `standard_dose`, as `petbench.preprocess.structural` writes them.
        preprocess: See `prepare`.
        domain: See `prepare`.
        out: See `prepare`; without `low_dose`, and optionally `regions`: labels of `petbench.preprocess.regions` on the grid (`.npy`).
        diagnosis: What a training may be told of the subject: 1 for a patient, 0 for a control; None where it is not to be told.

    Raises:
        InputError: the images are not on one grid.
    """
    images = {kind: read_volume(path) for kind, path in paths.items()}
    for kind, image in images.items():
        if not same_grid(image, images["mr"]):
            raise InputError(f"{paths[kind]}: its grid is not that of {paths['mr']}; make both anew.")
    volumes = {kind: np.asarray(image.dataobj, dtype=np.float32) for kind, image in images.items()}
    affine = np.asarray(images["mr"].affine, dtype=np.float64)
    if "regions" in out:
        save_array(out["regions"], regions(volumes["mr"].shape, affine))
    told = {} if diagnosis is None else {"diagnosis": diagnosis}
    _write(Prepared(volumes, affine, dict.fromkeys(volumes, 1.0)), paths, preprocess, domain, out, told)


def _write(
    prepared: Prepared,
    paths: Mapping[str, str],
    preprocess: Mapping[str, Any],
    domain: Mapping[str, Any],
    out: Mapping[str, str],
    told: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    for kind, data in prepared.volumes.items():
        save_array(out[kind], data)
    shape = prepared.volumes["mr"].shape
    starts, left_out = training_starts(prepared.volumes.get("low_dose", prepared.volumes["mr"]), domain)
    save_array(out["index"], starts)
    write_json(
        out["parameters"],
        {
            "affine": prepared.affine.tolist(),
            "shape": list(shape),
            "voxel_mm": [float(edge) for edge in edges_mm(prepared.affine)],
            "scaling": preprocess["scaling"],
            "scales": prepared.scales,
            "measures": prepared.measures,
            "window": list(domain["window"]),
            "stride": list(domain["stride"]),
            "slices": domain.get("slices"),
            "empty_below": emptiness(domain),
            "windows": len(starts),
            "windows_left_out": left_out,
            # Snakemake takes a small file of equal content for unchanged: the content must tell the volumes apart.
            "volumes": {kind: checksum(out[kind]) for kind in (*prepared.volumes, "regions") if kind in out},
            "sources": {kind: {"file": Path(path).name, "sha256": checksum(path)} for kind, path in paths.items()},
            **told,
        },
    )


def training_starts(low_dose: NDArray[np.float32], domain: Mapping[str, Any]) -> tuple[NDArray[np.int32], int]:
    """First voxels of a subject's training windows.

    Slices that are nearly empty teach nothing and are left out, unless their positions are listed one by one. The low dose decides, not the
    reference. Restoring leaves them as they are, too, see `petbench.restoration.extent`.

    Args:
        low_dose: Volume (x, y, z).
        domain: `window`, `stride`, and optionally `slices` and `empty_below`, see `window_starts` and `filled_slices`.

    Returns:
        Array (number of windows, 3), and how many windows were left out.
    """
    slices = domain.get("slices")
    starts = window_starts(low_dose.shape, domain["window"], domain["stride"], slices)
    axis, empty_below = thin_axis(domain["window"]), emptiness(domain)
    if axis is None or empty_below is None:
        return starts, 0
    kept = starts[filled_slices(low_dose, axis, empty_below)[starts[:, axis]]]
    return kept, len(starts) - len(kept)


def emptiness(domain: Mapping[str, Any]) -> float | None:
    """The share of the fullest slice's sum below which a slice is empty; none where windows are no slices, or listed one by one."""
    if thin_axis(domain["window"]) is None or isinstance(domain.get("slices"), list):
        return None
    return float(domain.get("empty_below", EMPTY_BELOW))


def save_array(path: str | Path, data: NDArray[np.generic]) -> None:
    """Write an array as `.npy`, atomically."""
    with atomic(path) as temporary, open(temporary, "wb") as file:
        np.save(file, data)

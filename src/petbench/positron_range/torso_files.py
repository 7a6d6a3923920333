"""A torso on disk: the embedded one or a supplied one (such as XCAT's volumes), written as NIfTI on the scanner's grid and read again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.nifti import read_volume, volume, voxel_mm, write_volume
from petbench.errors import InputError
from petbench.physics.scanner import Scanner, image_affine
from petbench.physics.simulate import check_values, checked
from petbench.positron_range.long_tables import write_long_table
from petbench.positron_range.measures import lesion_parts
from petbench.positron_range.torso import MATERIALS, Torso, TorsoSettings, embedded_torso

IMAGES = ("activity", "mu", "lesions")
LITTLE_ENDIAN_FLOAT = np.dtype("<f4")


def write_torso(entry: Mapping[str, Any], scanner: Scanner, out: Mapping[str, str | Path]) -> None:
    """Make or read the torso of an entry and write it on the scanner's grid.

    Args:
        entry: Either the keys of `TorsoSettings`, or `supplied`: paths of `activity` (Bq/ml, or any unit), `mu` (attenuation at 511 keV)
            and `lesions` (labels 1, 2, ...; 0 elsewhere), each NIfTI, or raw little-endian float32 with x fastest as XCAT writes it, which
            needs `shape` and `voxel_mm` too; `mu_factor` (1) brings `mu` to per cm.
        scanner: Its image grid and field of view.
        out: Files to write: `activity`, `mu`, `lesions` (`.nii.gz`), and `table` (TSV): a row a lesion and part of it, with its true
            mean activity.

    Raises:
        InputError: the entry or a supplied volume is not usable, or the body leaves the field of view.
    """
    if "supplied" in entry:
        torso = supplied_torso(entry["supplied"], scanner)
    else:
        torso = embedded_torso(TorsoSettings.from_entry(entry), scanner.image_shape, scanner.voxel_mm)
    affine = image_affine(scanner)
    checked(volume(torso.activity, affine), "activity", scanner)
    for name in IMAGES:
        data = getattr(torso, name)
        write_volume(out[name], data, volume(data, affine))
    rows = [
        {
            "lesion": lesion,
            "part": part,
            "voxels": int(mask.sum()),
            "volume_ml": float(mask.sum() * np.prod(torso.voxel_mm) / 1000),
            "true_bq_ml": float(torso.activity[mask].mean(dtype=np.float64)),
        }
        for lesion in torso.lesion_names
        for part, mask in lesion_parts(torso.lesions == int(lesion), torso.labels, MATERIALS).items()
    ]
    write_long_table(out["table"], rows)


def read_torso(paths: Mapping[str, str | Path]) -> Torso:
    """Read the `activity`, `mu` and `lesions` that `write_torso` wrote.

    Raises:
        InputError: a file is missing or damaged, or they are of several grids.
    """
    images = {name: read_volume(paths[name]) for name in IMAGES}
    for name in IMAGES[1:]:
        if images[name].shape != images["activity"].shape or not np.allclose(images[name].affine, images["activity"].affine, atol=1e-3):
            raise InputError(f"{paths[name]}: is not on the grid of {paths['activity']}; write the torso again.")
    activity, mu, lesions = (np.asarray(images[name].dataobj, dtype=np.float32) for name in IMAGES)
    x_mm, y_mm, z_mm = (float(edge) for edge in voxel_mm(images["activity"]))
    return Torso(activity, mu, lesions.astype(np.uint8), (x_mm, y_mm, z_mm))


def supplied_torso(supplied: Mapping[str, Any], scanner: Scanner) -> Torso:
    """Read volumes of a phantom such as XCAT; `write_torso` says which.

    Raises:
        InputError: one is missing, of another grid than the scanner's, negative or not finite, mu is outside the known materials, or there
            is no lesion, or one without activity.
    """
    missing = [name for name in IMAGES if name not in supplied]
    if missing:
        raise InputError(f"torso/supplied/{missing[0]}: is missing; give the path of that volume.")
    activity, mu, lesions = (_read(supplied, name, scanner) for name in IMAGES)
    mu = mu * np.float32(supplied.get("mu_factor", 1.0))
    check_values(activity, "activity")
    if lesions.min() < 0 or lesions.max() > 255 or (lesions != np.rint(lesions)).any() or not lesions.any():
        raise InputError(f"{supplied['lesions']}: lesions are whole numbers from 1 to 255, 0 elsewhere, and at least one; mend the labels.")
    torso = Torso(activity, mu, lesions.astype(np.uint8), scanner.voxel_mm)
    cold = [name for name in torso.lesion_names if not activity[torso.lesions == int(name)].any()]
    if cold:
        raise InputError(f"{supplied['lesions']}: lesion {cold[0]} has no activity, so nothing to recover; take it out.")
    try:
        shares = np.bincount(torso.labels.ravel(), minlength=len(MATERIALS)) / torso.labels.size
    except InputError as error:
        raise InputError(f"{supplied['mu']}: {error} (mu_factor brings XCAT's attenuation a pixel to per cm)") from None
    print("torso: share of voxels by material: " + ", ".join(f"{name} {share:.3f}" for name, share in zip(MATERIALS, shares, strict=True)))
    return torso


def _read(supplied: Mapping[str, Any], name: str, scanner: Scanner) -> NDArray[np.float32]:
    path = Path(supplied[name])
    if path.name.endswith((".nii", ".nii.gz")):
        image = read_volume(path)
        # Where the phantom's origin lies does not matter, but its axes must run as the scanner's.
        same = image.shape == scanner.image_shape and np.allclose(image.affine[:3, :3], np.diag(scanner.voxel_mm), atol=1e-3)
        data = np.asarray(image.dataobj, dtype=np.float32)
    else:
        data = _read_raw(path, supplied)
        same = data.shape == scanner.image_shape and np.allclose(supplied["voxel_mm"], scanner.voxel_mm, atol=1e-3)
    if not same:
        grid = f"{scanner.image_shape} voxels of {scanner.voxel_mm} mm"
        raise InputError(f"{path}: is not on the scanner's grid of {grid}, axes to the right, front and head; resample it.")
    if not np.isfinite(data).all():
        raise InputError(f"{path}: holds values that are not finite; set them to zero first.")
    return data


def _read_raw(path: Path, supplied: Mapping[str, Any]) -> NDArray[np.float32]:
    if not {"shape", "voxel_mm"} <= set(supplied):
        raise InputError(f"torso/supplied: {path.name} is no NIfTI, and a raw volume needs shape and voxel_mm; add them.")
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path.")
    shape = tuple(int(n) for n in supplied["shape"])
    if path.stat().st_size != np.prod(shape) * LITTLE_ENDIAN_FLOAT.itemsize:
        raise InputError(f"{path}: holds {path.stat().st_size} bytes, which is no float32 volume of {shape}; correct torso/supplied/shape.")
    return np.fromfile(path, LITTLE_ENDIAN_FLOAT).reshape(shape, order="F").astype(np.float32)

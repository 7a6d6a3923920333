"""Experiment 3: a lab's own acquisition, reconstructed with and without positron-range correction (DDConv, section III-D, figures 8, 9)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.nifti import Image, read_frames, read_volume, volume
from petbench.errors import InputError
from petbench.files import write_json
from petbench.physics.acquisition import read_acquisition
from petbench.physics.doses import Block
from petbench.physics.scanner import Scanner, image_affine
from petbench.physics.simulate import checked
from petbench.positron_range.corrected_reconstruction import Stopwatch, reconstructed, sidecar, write_images
from petbench.positron_range.long_tables import write_long_table
from petbench.positron_range.measures import axis_profiles
from petbench.positron_range.strategies import check_strategies, strategy_operator
from petbench.positron_range.study import ROWS, check_reconstruction, parted

Array = NDArray[np.float32]


def correct_scan(
    acquisition: str | Path,
    mu: str | Path,
    scanner: Scanner,
    files: Mapping[str, str | Path],
    reconstruction: Block,
    out: Mapping[str, Mapping[str, str | Path]],
    resample: bool = False,
    settings: Mapping[str, Any] | None = None,
    threads: int | None = None,
    device: str = "cpu",
    penalty: Block | None = None,
    mr: str | Path | None = None,
) -> None:
    """Reconstruct a scan with each strategy and write the images and their sidecars.

    Kernels are predicted from `mu` once a strategy; attenuation itself is corrected by the factors in the acquisition. The image grid is
    the scanner entry's: its voxels must be those that the predictor was trained for, to one percent.

    Args:
        acquisition: The scan (docs/acquisition.md), sinogram or list mode, with or without time of flight.
        mu: NIfTI of the attenuation at 511 keV per cm, in the scanner's space.
        scanner: The geometry.
        files: `weights`, a trained predictor, and `kernels`, a set of point spread functions with the homogeneous materials.
        reconstruction: As for `corrected_reconstruction.check_reconstruction`; images `at` several iterations lie along a fourth axis.
        out: By strategy, one of `study.ROWS`, the `image` (`.nii.gz`) and `sidecar` (`.json`) to write.
        resample: Whether to interpolate `mu` and `mr` where they are on another grid than the scanner's.
        settings: Keys of `DDConvSettings`.
        threads: Threads to run on, None for all.
        device: `cpu` or `cuda`.
        penalty: As for `check_penalty`.
        mr: NIfTI of an MR in the scanner's space, whose edges `bowsher` takes; None for those of `mu`.

    Raises:
        InputError: the acquisition is not the scanner's, mu is off the grid or no attenuation, or the predictor or kernels are of another
            isotope or voxel size.
    """
    check_strategies(list(out))
    check_reconstruction(reconstruction)
    scan, attenuation = read_acquisition(acquisition, scanner), read_mu(mu, scanner, resample)
    anatomy = attenuation if mr is None else read_anatomy(mr, scanner, resample)
    # All operators first, so that what does not fit is said before hours of reconstruction.
    operators, seconds = {}, {}
    for strategy in sorted(out, key=ROWS.index):
        watch = Stopwatch()
        operators[strategy] = strategy_operator(
            parted(strategy)[0], attenuation, scanner.voxel_mm, scan.isotope, files, settings, device, threads
        )
        seconds[strategy] = {"kernels": watch.lap()}
    for strategy in list(operators):
        watch = Stopwatch()
        rough = parted(strategy)[1]
        penalised = None if rough is None else (rough, penalty or {}, anatomy)
        images = reconstructed(scan, operators.pop(strategy), reconstruction, scanner, threads, device, penalised)
        seconds[strategy]["reconstruction"] = watch.lap()
        write_images(out[strategy]["image"], list(images.values()), scanner)
        write_json(out[strategy]["sidecar"], sidecar(scan, reconstruction, scanner, strategy, files, seconds[strategy], device, penalty))


def read_mu(path: str | Path, scanner: Scanner, resample: bool = False) -> Array:
    """Read an attenuation map on the scanner's grid, (x, y, z) per cm at 511 keV.

    Args:
        path: The NIfTI.
        scanner: Its image grid.
        resample: Whether to interpolate a map of another grid, linearly, air beyond it; its world is then taken to be the scanner's.

    Raises:
        InputError: the map is not readable, off the grid, negative, or no attenuation.
    """
    image = read_volume(path)
    try:
        return checked(resampled(image, scanner) if resample else image, "attenuation", scanner)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def read_anatomy(path: str | Path, scanner: Scanner, resample: bool = False) -> Array:
    """Read an anatomical image on the scanner's grid, (x, y, z); arguments as for `read_mu`.

    Raises:
        InputError: it is not readable, or off the grid.
    """
    image = read_volume(path)
    image = resampled(image, scanner) if resample else image
    if image.shape != scanner.image_shape or not np.allclose(image.affine, image_affine(scanner), atol=1e-2):
        raise InputError(f"{path}: is not on the scanner's image grid; register it, and set resample where its space is the scanner's.")
    return np.asarray(image.dataobj, dtype=np.float32)


def resampled(image: Image, scanner: Scanner) -> Image:
    """An image interpolated linearly on the scanner's grid, zero beyond it."""
    from scipy.ndimage import affine_transform

    affine = image_affine(scanner)
    index = np.linalg.inv(image.affine) @ affine
    data = np.asarray(image.dataobj, dtype=np.float32)
    values = affine_transform(data, index[:3, :3], index[:3, 3], scanner.image_shape, order=1, mode="constant", cval=0.0)
    return volume(values.astype(np.float32), affine)


def write_profiles(images: Mapping[str, str | Path], place_mm: Sequence[float], out: str | Path) -> None:
    """Write profiles of corrected images along the three axes through a place, such as a tumour: figure 9.

    Args:
        images: By strategy, files of `correct_scan`; of several iterations the last.
        place_mm: In the scanner's space, mm to the right, front and head.
        out: The table (TSV): model, axis, position_mm, value.

    Raises:
        InputError: an image is not readable, or the place lies outside it.
    """
    rows = []
    for strategy, path in images.items():
        data, affine = read_frames(path)
        data = data[..., -1] if data.ndim == 4 else data
        voxel = np.rint(np.linalg.solve(affine, [*place_mm, 1.0])[:3]).astype(int)
        if (voxel < 0).any() or (voxel >= data.shape).any():
            raise InputError(f"profiles/place_mm: {list(place_mm)} lies outside {path}; give a place within the field of view.")
        edges = [float(edge) for edge in np.diag(affine)[:3]]
        found = axis_profiles(data, voxel.tolist(), edges)
        rows += [{"model": strategy, "axis": row["axis"], "position_mm": row["position_mm"], "value": row["line"]} for row in found]
    write_long_table(out, rows)

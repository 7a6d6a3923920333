"""Reconstruction with positron range in the forward model: H = A(mu) P R B(mu), R the resolution (DDConv, equations 3 and 4).

B acts before the resolution in the forward model and its exact transpose after it in the back projection. What experiments 2 and 3 share.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.nifti import volume, write_volume
from petbench.errors import InputError
from petbench.files import checksum
from petbench.physics.acquisition import Acquisition
from petbench.physics.dose_images import estimate_of
from petbench.physics.doses import Block
from petbench.physics.events import Sinogram
from petbench.physics.linear import LinearOperator
from petbench.physics.penalised import Penalised
from petbench.physics.penalties import RelativeDifference, bowsher, relative_difference
from petbench.physics.scanner import Scanner, image_affine
from petbench.physics.simulate import resolution
from petbench.positron_range.operators import NoCorrection
from petbench.positron_range.study import PENALTIES, check_penalty, check_reconstruction, parted

Array = NDArray[np.float32]


def reconstructed(
    scan: Acquisition,
    operator: LinearOperator,
    reconstruction: Block,
    scanner: Scanner,
    threads: int | None = None,
    device: str = "cpu",
    penalised: tuple[str, Block, Array] | None = None,
) -> dict[int, Array]:
    """Reconstruct a scan by EM (or OSEM), or with a penalty, in list mode where its data are, without any filter afterwards.

    Args:
        scan: Counts with their model; the counts of a sinogram may be expected ones.
        operator: B(mu) of a strategy.
        reconstruction: As for `check_reconstruction`.
        scanner: The geometry.
        threads: Threads of the projector, None for all.
        device: `cpu`, or a torch device such as `cuda`.
        penalised: Name of a penalty, a block as for `check_penalty`, and the image whose edges `bowsher` spares, (x, y, z); None for EM.

    Returns:
        Activity in Bq/ml, (x, y, z), by iteration.

    Raises:
        InputError: the block, the number of subsets or the scan is not usable.
    """
    at = check_reconstruction(reconstruction)
    images: dict[int, Array] = {}

    def keep(iteration: int, image: Any, _: float) -> None:
        images[iteration] = np.array(image if isinstance(image, np.ndarray) else image.cpu().numpy(), dtype=np.float32)

    # The identity would cost a copy of the image, and needs no counterpart on the device.
    ranges = () if isinstance(operator, NoCorrection) else (operator,)
    operators = (*ranges, *resolution(reconstruction.get("psf_mm", 4.4), scanner, threads))
    options: dict[str, Any] = {"callback": keep, "at": at, "progress": None}
    subsets = int(reconstruction.get("subsets", 1))
    if penalised is not None:
        name, block, anatomy = penalised
        subsets = int(block.get("subsets", subsets))
        options["penalty"] = penalty_of(name, block, anatomy, scanner, threads)
    last = estimate_of(scan, operators, at[-1], subsets, scanner, threads, device, **options)
    # Without any events nothing is iterated, and every estimate is the last one, zero.
    return {iteration: images.get(iteration, last) for iteration in at}


def penalty_of(
    name: str, block: Block, anatomy: Array, scanner: Scanner, threads: int | None = None
) -> tuple[RelativeDifference, Penalised]:
    """A penalty, and how it is used.

    Args:
        name: `rdp` or `bowsher`.
        block: As for `check_penalty`.
        anatomy: The image whose edges `bowsher` spares, (x, y, z).
        scanner: Whose voxels it is of.
        threads: Threads to run on, None for numba's own number.

    Raises:
        InputError: the name or a key is unknown, or a value out of range.
    """
    if name not in PENALTIES:
        raise InputError(f"penalty: {name!r} is unknown; choose one of {', '.join(PENALTIES)}.")
    check_penalty(block)
    settings = Penalised(**{key: value for key, value in block.items() if key in Penalised.__dataclass_fields__})
    gamma = float(block.get("gamma", 2.0))
    if name == "rdp":
        return relative_difference(scanner.voxel_mm, gamma, threads=threads), settings
    return bowsher(anatomy, scanner.voxel_mm, int(block.get("similar", 9)), gamma, threads=threads), settings


def write_images(path: str | Path, images: Sequence[Array], scanner: Scanner) -> None:
    """Write images of the scanner's grid as one NIfTI, several along a fourth axis."""
    data = images[0] if len(images) == 1 else np.stack(images, axis=-1)
    write_volume(path, data, volume(data, image_affine(scanner)))


class Stopwatch:
    """Seconds since it was made or last read."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def lap(self) -> float:
        """Read it and start anew."""
        now = time.monotonic()
        seconds, self._start = now - self._start, now
        return round(seconds, 3)


def sidecar(
    scan: Acquisition,
    reconstruction: Block,
    scanner: Scanner,
    strategy: str,
    files: Mapping[str, str | Path],
    seconds: Mapping[str, float],
    device: str,
    penalty: Block | None = None,
) -> dict[str, Any]:
    """Sidecar of corrected images, in BIDS terms where there are any.

    Args:
        scan: What was reconstructed.
        reconstruction: As for `check_reconstruction`.
        scanner: The geometry.
        strategy: One of `study.ROWS`.
        files: What the strategy took its kernels from.
        seconds: What preparing the operator (`kernels`) and the reconstruction took.
        device: Where it ran.
        penalty: As for `check_penalty`, where there is one.
    """
    iterations, psf_mm, subsets = check_reconstruction(reconstruction), reconstruction.get("psf_mm", 4.4), reconstruction.get("subsets", 1)
    (correction, rough), used = parted(strategy), penalty or {}
    subsets = used.get("subsets", subsets) if rough else subsets
    method = f"{rough.upper()}-{used.get('algorithm', Penalised.algorithm).upper()}" if rough else "OSEM" if subsets > 1 else "MLEM"
    content = {
        "Modality": "PT",
        "ManufacturersModelName": scanner.name,
        "TracerRadionuclide": scan.isotope,
        "Units": "Bq/mL",
        "Counts": scan.data.counts,
        "FrameDuration": None if scan.seconds is None else [scan.seconds],
        "AcquisitionMode": "sinogram" if isinstance(scan.data, Sinogram) else "list mode",
        "AcquisitionGeometry": scan.geometry,
        "TimeOfFlight": scan.tof,
        "AcquisitionName": scan.metadata.get("name"),
        "AcquisitionSeed": scan.metadata.get("seed"),
        "ReconMethodName": ("PSF-" if psf_mm > 0 else "") + ("TOF-" if scan.tof else "") + method,
        "ReconMethodParameterLabels": ["iterations", "subsets", "psf"],
        "ReconMethodParameterUnits": ["none", "none", "mm"],
        "ReconMethodParameterValues": [iterations[-1], subsets, psf_mm],
        "ReconFilterType": "none",
        "ReconDevice": device,
        "Iterations": iterations,
        "Penalty": {"name": rough, "strength": Penalised.strength, **used} if rough else None,
        "PositronRangeCorrection": correction,
        "PositronRangeFiles": {name: checksum(path) for name, path in sorted(files.items())} if correction != "none" else {},
        "SecondsKernels": seconds["kernels"],
        "SecondsReconstruction": seconds["reconstruction"],
    }
    return {key: value for key, value in content.items() if value is not None}

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
from petbench.files import checksum
from petbench.physics.acquisition import Acquisition
from petbench.physics.dose_images import estimate_of
from petbench.physics.doses import Block
from petbench.physics.events import Sinogram
from petbench.physics.linear import LinearOperator
from petbench.physics.scanner import Scanner, image_affine
from petbench.physics.simulate import resolution
from petbench.positron_range.operators import NoCorrection
from petbench.positron_range.study import check_reconstruction

Array = NDArray[np.float32]


def reconstructed(
    scan: Acquisition, operator: LinearOperator, reconstruction: Block, scanner: Scanner, threads: int | None = None, device: str = "cpu"
) -> dict[int, Array]:
    """Reconstruct a scan by EM (or OSEM), in list mode where its data are, without any filter afterwards.

    Args:
        scan: Counts with their model; the counts of a sinogram may be expected ones.
        operator: B(mu) of a strategy.
        reconstruction: As for `check_reconstruction`.
        scanner: The geometry.
        threads: Threads of the projector, None for all.
        device: `cpu`, or a torch device such as `cuda`.

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
    last = estimate_of(scan, operators, at[-1], int(reconstruction.get("subsets", 1)), scanner, threads, device, **options)
    # Without any events nothing is iterated, and every estimate is the last one, zero.
    return {iteration: images.get(iteration, last) for iteration in at}


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
) -> dict[str, Any]:
    """Sidecar of corrected images, in BIDS terms where there are any.

    Args:
        scan: What was reconstructed.
        reconstruction: As for `check_reconstruction`.
        scanner: The geometry.
        strategy: Of positron-range correction.
        files: What the strategy took its kernels from.
        seconds: What preparing the operator (`kernels`) and the reconstruction took.
        device: Where it ran.
    """
    iterations, psf_mm, subsets = check_reconstruction(reconstruction), reconstruction.get("psf_mm", 4.4), reconstruction.get("subsets", 1)
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
        "ReconMethodName": ("PSF-" if psf_mm > 0 else "") + ("TOF-" if scan.tof else "") + ("OSEM" if subsets > 1 else "MLEM"),
        "ReconMethodParameterLabels": ["iterations", "subsets", "psf"],
        "ReconMethodParameterUnits": ["none", "none", "mm"],
        "ReconMethodParameterValues": [iterations[-1], subsets, psf_mm],
        "ReconFilterType": "none",
        "ReconDevice": device,
        "Iterations": iterations,
        "PositronRangeCorrection": strategy,
        "PositronRangeFiles": {name: checksum(path) for name, path in sorted(files.items())} if strategy != "none" else {},
        "SecondsKernels": seconds["kernels"],
        "SecondsReconstruction": seconds["reconstruction"],
    }
    return {key: value for key, value in content.items() if value is not None}

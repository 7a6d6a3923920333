"""From the acquisition file of a subject to the planes that a network reads, on the subject's working grid and in its scale."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.nifti import Image, read_volume
from petbench.errors import InputError
from petbench.files import atomic, checksum, read_json, write_json
from petbench.physics.acquisition import Acquisition, read_acquisition
from petbench.physics.dose_images import at_dose, dose_of_scan
from petbench.physics.doses import Block
from petbench.physics.events import Sinogram
from petbench.physics.operators import ForwardModel
from petbench.physics.plane_scans import PARTS
from petbench.physics.projector import DirectProjector
from petbench.physics.scanner import Scanner
from petbench.physics.simulate import resolution


def write_planes(
    paths: Mapping[str, str],
    dose: Block,
    reconstruction: Block,
    scanner: Mapping[str, Any],
    seed: int,
    out: Mapping[str, str],
    threads: int | None = None,
) -> None:
    """Write a subject's scan at one dose plane by plane, for its working grid and in the scale of its low dose.

    What the low dose shows beside the grid in its planes is projected and becomes background, so that counts keep their level. Planes of
    the grid beyond the scanner's hold nothing: no counts, and factors of zero.

    Args:
        paths: `acquisition` (as `petbench.physics.dose_images.reconstruct` takes it), `image`, the low dose reconstructed from it (NIfTI),
            and `prepared`, the `prepared.json` of its working grid.
        dose: Block of the dose.
        reconstruction: Of it `psf_mm`, the resolution that is modelled.
        scanner: The scanner's entry.
        seed: The subject's seed.
        out: Files to write: `data` (`.npy`, memory-mapped by readers) and `parameters` (JSON, beside it).
        threads: Threads of the projector, None for all.

    Raises:
        InputError: the scan is no sinogram of direct planes without time of flight, or the working grid does not lie on the scanner's
            voxels about its axis.
    """
    geometry = Scanner.from_entry(dict(scanner))
    scan = read_acquisition(paths["acquisition"], geometry)
    if scan.geometry != "direct" or scan.tof or not isinstance(scan.data, Sinogram):
        raise InputError(f"{paths['acquisition']}: is no sinogram of direct planes, which a network takes; simulate it as one.")
    low = at_dose(scan, dose_of_scan(scan, dose, seed, paths["acquisition"]), seed)
    prepared, image = read_json(paths["prepared"]), read_volume(paths["image"])
    corner = _corner(image, np.asarray(prepared["affine"]), prepared["shape"], paths["prepared"])
    assert isinstance(low.data, Sinogram)
    background = low.data.background + _beside(low, image, corner, prepared["shape"], reconstruction, geometry, threads)
    factors = low.factors * np.float32(low.scale * prepared["scales"]["low_dose"])
    data = np.zeros((prepared["shape"][2], len(PARTS), *low.data.prompts.shape[1::-1]), dtype=np.float32)
    seen, planes = _shared(corner[2], len(data), image.shape[2])
    for number, part in enumerate((low.data.prompts, background, factors)):
        data[seen, number] = part[:, :, planes].T
    with atomic(out["data"]) as temporary, open(temporary, "wb") as file:
        np.save(file, data)
    write_json(
        out["parameters"],
        {
            "parts": list(PARTS),
            "scanner": dict(scanner),
            "psf_mm": float(reconstruction["psf_mm"]),
            "shape": prepared["shape"],
            "counts": int(low.data.prompts[:, :, planes].sum(dtype=np.int64)),
            # Snakemake takes a small file of equal content for unchanged: the content must tell the data apart.
            "volumes": {"acquisition": checksum(out["data"])},
        },
    )


def _corner(image: Image, affine: NDArray[np.float64], shape: Sequence[int], where: str) -> tuple[int, int, int]:
    """The scanner's voxel at which a working grid begins, which must have the scanner's voxels and axis."""
    index = np.linalg.inv(image.affine) @ affine
    corner = np.round(index[:3, 3]).astype(int)
    if not np.allclose(index, np.block([[np.eye(3), corner[:, None]], [np.zeros((1, 3)), np.ones((1, 1))]]), atol=1e-3):
        raise InputError(f"{where}: its voxels are not the scanner's, on which scans are reconstructed; remove preprocess/grid/voxel_mm.")
    middles = 2 * corner[:2] + np.asarray(shape[:2]) - np.asarray(image.shape[:2])
    if middles.any():
        raise InputError(
            f"{where}: a grid of {list(shape)} voxels has another axis than the scanner's {list(image.shape)}; let both be even or both"
            " odd in the plane (preprocess/grid/shape)."
        )
    return int(corner[0]), int(corner[1]), int(corner[2])


def _shared(first: int, size: int, planes: int) -> tuple[slice, slice]:
    """Slices of a grid and of the scanner's planes that are the same, of a grid of so many slices that begins at a plane."""
    begin, end = max(0, first), max(0, min(planes, first + size))
    return slice(begin - first, max(begin, end) - first), slice(begin, max(begin, end))


def _beside(
    low: Acquisition,
    image: Image,
    corner: Sequence[int],
    shape: Sequence[int],
    reconstruction: Block,
    scanner: Scanner,
    threads: int | None,
) -> NDArray[np.float32] | np.float32:
    """Expected counts of what an image shows in the planes of a working grid, beside it."""
    outside = np.array(image.dataobj, dtype=np.float32)
    x, y = (slice(max(0, first), first + size) for first, size in zip(corner[:2], shape[:2], strict=True))
    outside[x, y] = 0
    if not outside.any():
        return np.float32(0)
    projector = DirectProjector(scanner, threads=threads)
    model = ForwardModel(projector, low.factors, low.scale, resolution(reconstruction["psf_mm"], scanner, threads))
    expected: NDArray[np.float32] = model(np.maximum(outside, 0))
    return expected

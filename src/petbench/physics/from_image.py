"""Low doses of data that come as images only: an existing PET image takes the place of a phantom."""

from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.nifti import Image, write_volume
from petbench.errors import InputError
from petbench.files import write_json
from petbench.physics.acquisition import Acquisition
from petbench.physics.counts import thin
from petbench.physics.dose_images import at_dose, image_of, sidecar
from petbench.physics.doses import STANDARD, TOLERANCE_DB, Block, check_target, derived_seed, resolve_dose
from petbench.physics.events import Sinogram
from petbench.physics.operators import FWHM_PER_SIGMA
from petbench.physics.scanner import Scanner, image_affine
from petbench.physics.simulate import OUTSIDE, acquire, check_values

Array = NDArray[np.float32]

SMALLEST_FRACTION = 1e-5
MOST_TRIALS = 25
EDGE = 1e-3  # voxels, the rounding of affines


def from_image(
    image: Image,
    scanner: Scanner,
    simulation: Block,
    dose: Block,
    name: str,
    reconstruction: Block,
    seed: int,
    out_image: str | Path,
    out_sidecar: str | Path,
    attenuation: Image | None = None,
    threads: int | None = None,
    device: str = "cpu",
) -> None:
    """Make the low dose of a standard-dose PET image and write it on the image's own grid.

    The image is brought to the scanner's grid, its middle to the middle of the field of view, projected, scaled to the counts of the
    standard dose, drawn, thinned in sinogram space and reconstructed. It has the resolution and noise of the scan it came from
    already, and its scatter and randoms are corrected: `psf_mm` and both fractions of `simulation` are usually 0.

    Args:
        image: Activity in Bq/ml or any other unit, which the result shares.
        scanner: The geometry to simulate.
        simulation: As for `petbench.physics.simulate.acquire`.
        dose: Block of a dose (`petbench.physics.doses.resolve_dose`); or `psnr`, the PSNR in dB of the result against the image that is
            to be met (R the maximum of the image, over the whole volume), and optionally `tolerance_db` (0.1).
        name: Name of the dose; independent draws of different names have noise of their own.
        reconstruction: As for `petbench.physics.dose_images.reconstruct`.
        seed: The subject's seed.
        out_image: `.nii.gz` to write.
        out_sidecar: `.json` to write; names the fraction of the counts that was kept.
        attenuation: Linear attenuation at 511 keV per cm in the same space; None for none.
        threads: Threads of the projector, None for all.
        device: Where it is reconstructed: `cpu`, or a torch device such as `cuda`.

    Raises:
        InputError: an image is negative or empty or does not fit the field of view, a number is out of range, or no fraction of the
            counts has the PSNR asked for.
    """
    if "psnr" in dose:
        check_target(dose, simulation)
    reference = np.asarray(image.dataobj, dtype=np.float32)
    check_values(reference, "activity")
    _check_inside(image, reference, scanner)
    truth = _to_scanner(image, image, scanner)
    mu = None if attenuation is None else _to_scanner(attenuation, image, scanner)
    if mu is not None:
        check_values(mu, "attenuation")

    standard = resolve_dose(STANDARD, simulation, seed)
    wanted = standard if "psnr" in dose else resolve_dose(dose, simulation, seed)
    drawn, label = (wanted, name) if wanted.draw == "independent" else (standard, "standard")
    scan = acquire(truth, mu, scanner, simulation, drawn, seed, label, threads)

    def result(low: Acquisition) -> Array:
        return _from_scanner(image_of(low, reconstruction, scanner, threads, device), image, scanner)

    found: dict[str, Any] = {}
    if "psnr" in dose:
        low, fraction, found = _thinned_to(dose, scan, lambda trial: psnr(result(trial), reference), seed)
        wanted = resolve_dose({"fraction": fraction}, simulation, seed)
    else:
        low = at_dose(scan, wanted, seed)
    estimate = result(low)
    write_volume(out_image, estimate, image)
    content = sidecar(scan, low, wanted, reconstruction, scanner, device) | {"SimulatedFrom": "a reconstructed image", **found}
    content |= {"Units": "arbitrary", "PSNR": psnr(estimate, reference)}
    if attenuation is None:
        content["AttenuationCorrection"] = "none, no attenuation simulated"
    write_json(out_sidecar, content)


def psnr(image: Array, reference: Array) -> float:
    """Peak signal-to-noise ratio in dB over the whole volume, R the maximum of the reference."""
    error = np.mean((image.astype(np.float64) - reference) ** 2)
    return float(10 * np.log10(float(reference.max()) ** 2 / error))


def _thinned_to(
    wanted: Block, scan: Acquisition, psnr_of: Callable[[Acquisition], float], seed: int
) -> tuple[Acquisition, float, dict[str, Any]]:
    """Thin a scan until its image meets a PSNR, by bisection on the logarithm of the fraction kept.

    The counts kept at every fraction contain those kept at smaller ones: of the counts between the two ends of the interval, each is
    kept with the probability (f - low) / (high - low). So all trials share their random numbers, trials draw together as the interval
    shrinks, and the counts of each are an exact thinning of the scan.

    Returns:
        The thinned scan, the fraction of the counts that it kept, and what the sidecar says of the search.
    """
    target, tolerance = float(wanted["psnr"]), float(wanted.get("tolerance_db", TOLERANCE_DB))
    assert isinstance(scan.data, Sinogram)  # `check_target` refuses list mode
    background = scan.data.background
    fraction, prompts, low = 1.0, scan.data.prompts, scan
    reached, trials = psnr_of(low), 1
    if reached < target - tolerance:
        raise InputError(f"doses/psnr: all counts reach {reached:.2f} dB and {target:g} are asked for; raise simulation/counts.")
    at_least, fewest = 0.0, np.zeros_like(prompts)
    at_most, most = fraction, prompts
    while abs(reached - target) > tolerance:
        if trials == MOST_TRIALS:
            raise InputError(
                f"doses/psnr: no fraction of the counts above {SMALLEST_FRACTION:g} meets {target:g} dB within {tolerance:g} dB"
                f" (the last, {fraction:.3g}, reached {reached:.2f}); lower simulation/counts or raise tolerance_db."
            )
        fraction, trials = sqrt(max(at_least, SMALLEST_FRACTION) * at_most), trials + 1
        share = (fraction - at_least) / (at_most - at_least)
        prompts = fewest + thin(most - fewest, share, derived_seed(seed, f"trial {trials}"))
        low = replace(scan, data=Sinogram(prompts, background * np.float32(fraction)), scale=scan.scale * fraction)
        reached = psnr_of(low)
        if reached > target:
            at_most, most = fraction, prompts
        else:
            at_least, fewest = fraction, prompts
    return low, fraction, {"TargetPSNR": target, "TargetPSNRTolerance": tolerance, "Trials": trials}


def _check_inside(image: Image, data: Array, scanner: Scanner) -> None:
    """Check that the image's activity lies in the cylinder that the scanner sees, once their middles coincide."""
    x, y, z = _places(np.linalg.inv(_scanner_to_world(image, scanner)) @ image.affine, image.shape)
    middle = (np.asarray(scanner.image_shape) - 1) / 2
    radius = scanner.fov_mm / 2 / scanner.voxel_mm[0]
    outside = ((x - middle[0]) ** 2 + (y - middle[1]) ** 2 > radius**2) | (np.abs(z - middle[2]) > scanner.image_shape[2] / 2)
    share = float(data[outside].sum(dtype=np.float64) / data.sum(dtype=np.float64))
    if share > OUTSIDE:
        raise InputError(
            f"activity: {100 * share:.2g} % of it lies outside what {scanner.name} sees, a cylinder {scanner.fov_mm:g} mm wide and"
            f" {scanner.image_shape[2] * scanner.voxel_mm[2]:g} mm long; crop the image or take a larger scanner."
        )


def _scanner_to_world(image: Image, scanner: Scanner) -> NDArray[np.float64]:
    """Voxels of the scanner's grid to the image's world, the scanner's middle at the image's middle, (4, 4)."""
    shift = np.eye(4)
    shift[:3, 3] = (image.affine @ [*((np.asarray(image.shape) - 1) / 2), 1.0])[:3]
    return np.asarray(shift @ image_affine(scanner))


def _to_scanner(image: Image, like: Image, scanner: Scanner) -> Array:
    """An image on the scanner's grid, which lies about the middle of `like`; smoothed first along axes whose voxels get larger."""
    from scipy import ndimage

    data = np.asarray(image.dataobj, dtype=np.float32)
    index = np.linalg.inv(image.affine) @ _scanner_to_world(like, scanner)
    step = np.abs(index[:3, :3]).max(axis=1)  # new voxels in old ones along each of the old axes
    smooth = ndimage.gaussian_filter(data, np.sqrt(np.maximum(step**2 - 1, 0.0)) / FWHM_PER_SIGMA, mode="nearest")
    return _resampled(smooth, index, scanner.image_shape)


def _from_scanner(data: Array, like: Image, scanner: Scanner) -> Array:
    """An image on the scanner's grid, interpolated linearly on the grid of `like`; zero beyond the scanner's."""
    return _resampled(data, np.linalg.inv(_scanner_to_world(like, scanner)) @ like.affine, like.shape)


def _resampled(data: Array, index: NDArray[np.float64], shape: tuple[int, ...]) -> Array:
    """Interpolate linearly at the places that `index`, (4, 4), gives the voxels of a grid; voxels end half an edge from their centre."""
    from scipy import ndimage

    values = ndimage.affine_transform(data, index[:3, :3], index[:3, 3], shape, order=1, mode="nearest")
    for place, size in zip(_places(index, shape), data.shape, strict=True):
        values *= np.abs(place - (size - 1) / 2) <= size / 2 + EDGE
    return np.asarray(values, dtype=np.float32)


def _places(index: NDArray[np.float64], shape: tuple[int, ...]) -> list[NDArray[np.float64]]:
    """Where an affine, (4, 4), maps the voxels of a grid, an array for each axis."""
    grid = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij", sparse=True)
    return [np.asarray(row[3] + sum(step * axis for step, axis in zip(row[:3], grid, strict=True))) for row in index[:3]]

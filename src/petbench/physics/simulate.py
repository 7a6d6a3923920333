"""From a subject's true activity to the PET image of any dose: simulate the scan once, reconstruct it a dose at a time."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.nifti import Image, volume, write_volume
from petbench.errors import InputError
from petbench.files import write_json
from petbench.physics.acquisition import Acquisition, read_acquisition, write_acquisition
from petbench.physics.counts import check_fraction, expectation, poisson, thin
from petbench.physics.isotopes import isotope
from petbench.physics.operators import ForwardModel, GaussianBlur, attenuation_factors
from petbench.physics.projector import DirectProjector
from petbench.physics.reconstruction import osem, post_filter
from petbench.physics.scanner import Scanner, image_affine

Array = NDArray[np.float32]


def simulate(
    activity: Image,
    attenuation: Image,
    scanner: Scanner,
    simulation: dict[str, Any],
    seed: int,
    out: str | Path,
    threads: int | None = None,
) -> None:
    """Simulate the standard-dose scan of a subject and write its acquisition.

    ybar = s A(mu) P PSF x + randoms + scatter, y ~ Poisson(ybar), with s such that the prompts expected are those asked for.

    Args:
        activity: True activity in Bq/ml on the scanner's image grid.
        attenuation: Linear attenuation at 511 keV per cm on the same grid.
        scanner: The geometry.
        simulation: `counts`, `psf_mm`, `randoms_fraction` (of prompts), `scatter_fraction` (of trues), and optionally
            `scatter_fwhm_mm` (150) and `isotope` (F18).
        seed: The subject's seed.
        out: `.npz` file to write.
        threads: Threads of the projector, None for all.

    Raises:
        InputError: an image is off the grid, negative or empty, or a number is out of range.
    """
    truth = _checked(activity, "activity", scanner)
    mu = _checked(attenuation, "attenuation", scanner)
    if not truth.any():
        raise InputError("activity: is zero everywhere; give the subject some uptake.")
    if mu.max() > 1.0:
        raise InputError(f"attenuation: rises to {mu.max():.3g} per cm, beyond any tissue; give it per cm, not per mm or in HU.")
    projector = DirectProjector(scanner, threads=threads)
    factors = attenuation_factors(projector, mu)
    model = ForwardModel(projector, factors, image_operators=_resolution(simulation["psf_mm"], scanner))
    expected = expectation(
        model(truth),
        scanner,
        counts=simulation["counts"],
        randoms_fraction=simulation["randoms_fraction"],
        scatter_fraction=simulation["scatter_fraction"],
        scatter_fwhm_mm=simulation.get("scatter_fwhm_mm", 150.0),
    )
    prompts = poisson(expected.prompts, derived_seed(seed, "standard"))
    metadata = {
        "scanner": scanner.name,
        "isotope": isotope(simulation.get("isotope", "F18")).name,
        "counts": int(prompts.sum(dtype=np.int64)),
        "seed": int(seed),
        "simulation": simulation,
    }
    write_acquisition(out, Acquisition(prompts, factors, expected.background, expected.scale, expected.prompts, metadata))


def reconstruct(
    acquisition: str | Path,
    dose: dict[str, Any],
    reconstruction: dict[str, Any],
    scanner: Scanner,
    seed: int,
    out_image: str | Path,
    out_sidecar: str | Path,
    threads: int | None = None,
) -> None:
    """Reconstruct an acquisition at one dose by OSEM and write the image in Bq/ml and its BIDS sidecar.

    The share of the counts belongs to the forward model, so that every dose estimates the same activity.

    Args:
        acquisition: File of `simulate`.
        dose: `fraction` of the standard dose in (0, 1], and optionally `draw`: `thinning` (default) keeps each count of the standard
            dose with that probability, as a shorter scan does; `independent` draws a new scan at that count level.
        reconstruction: `iterations`, `subsets`, `psf_mm` (resolution modelled, 0 for none), `post_filter_mm` (0 for none).
        scanner: The geometry.
        seed: The subject's seed; every dose derives its own from it.
        out_image: `.nii.gz` to write.
        out_sidecar: `.json` to write.
        threads: Threads of the projector, None for all.

    Raises:
        InputError: the acquisition does not fit the scanner, or a number is out of range.
    """
    scan = read_acquisition(acquisition, scanner)
    fraction = float(dose["fraction"])
    draw = dose.get("draw", "thinning")
    counts = dose_counts(scan, fraction, draw, seed)
    model = ForwardModel(
        DirectProjector(scanner, threads=threads),
        scan.attenuation,
        scale=scan.scale * fraction,
        image_operators=_resolution(reconstruction["psf_mm"], scanner),
        background=scan.background * np.float32(fraction),
    )
    estimate = osem(model, counts, reconstruction["iterations"], reconstruction["subsets"])
    image = post_filter(estimate, reconstruction["post_filter_mm"], scanner)
    write_volume(out_image, image, volume(image, image_affine(scanner)))
    write_json(out_sidecar, sidecar(scan, scanner, fraction, draw, int(counts.sum(dtype=np.int64)), reconstruction))


def dose_counts(scan: Acquisition, fraction: float, draw: str, seed: int) -> NDArray[np.uint32]:
    """Prompts of a dose, shape (radial bins, views, planes); a fraction of one is the standard dose itself, however drawn.

    Raises:
        InputError: the fraction is outside (0, 1], the draw is unknown, or the expectation it needs is not known.
    """
    check_fraction(fraction)
    if draw not in ("thinning", "independent"):
        raise InputError(f"dose/draw: {draw!r} is neither thinning nor independent.")
    if fraction == 1:
        return scan.prompts
    own = derived_seed(seed, f"{draw} {fraction:.9g}")
    if draw == "thinning":
        return thin(scan.prompts, fraction, own)
    if scan.expected is None:
        raise InputError("dose/draw: a measured scan has no known expectation to draw from; use thinning.")
    return poisson(scan.expected * np.float32(fraction), own)


def sidecar(scan: Acquisition, scanner: Scanner, fraction: float, draw: str, counts: int, reconstruction: dict[str, Any]) -> dict[str, Any]:
    """BIDS sidecar of a reconstructed image."""
    psf_mm, filter_mm = float(reconstruction["psf_mm"]), float(reconstruction["post_filter_mm"])
    return {
        "Modality": "PT",
        "ManufacturersModelName": scanner.name,
        "TracerRadionuclide": scan.metadata.get("isotope", "unknown"),
        "Units": "Bq/mL",
        "DoseFraction": fraction,
        "DoseDraw": "standard" if fraction == 1 else draw,
        "Counts": counts,
        "StandardDoseCounts": int(scan.prompts.sum(dtype=np.int64)),
        "AcquisitionSeed": scan.metadata.get("seed"),
        "ReconMethodName": "PSF-OSEM" if psf_mm > 0 else "OSEM",
        "ReconMethodParameterLabels": ["iterations", "subsets", "psf"],
        "ReconMethodParameterUnits": ["none", "none", "mm"],
        "ReconMethodParameterValues": [reconstruction["iterations"], reconstruction["subsets"], psf_mm],
        "ReconFilterType": "Gaussian" if filter_mm > 0 else "none",
        "ReconFilterSize": filter_mm,
        "AttenuationCorrection": "known attenuation map at 511 keV",
        "ScatterCorrectionMethod": "known expectation",
        "RandomsCorrectionMethod": "known expectation",
        "ImageDecayCorrected": False,
    }


def derived_seed(seed: int, purpose: str) -> int:
    """A seed of its own for one purpose, so that no two draws of a subject share their random numbers."""
    return int(np.random.SeedSequence([seed, zlib.crc32(purpose.encode())]).generate_state(1, np.uint64)[0])


def _resolution(psf_mm: float, scanner: Scanner) -> tuple[GaussianBlur, ...]:
    return (GaussianBlur(psf_mm, scanner.voxel_mm),) if psf_mm > 0 else ()


def _checked(image: Image, name: str, scanner: Scanner) -> Array:
    data = np.asarray(image.dataobj, dtype=np.float32)
    if data.shape != scanner.image_shape or not np.allclose(image.affine, image_affine(scanner), atol=1e-3):
        raise InputError(
            f"{name}: is not on the image grid of {scanner.name}, {scanner.image_shape} voxels of {scanner.voxel_mm} mm; resample it."
        )
    if not np.isfinite(data).all() or data.min() < 0:
        raise InputError(f"{name}: holds values that are negative or not finite; set them to zero first.")
    return data

"""From a subject's true activity to the scan of it: expected counts, their noise, and the acquisition file."""

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from petbench.data.nifti import Image
from petbench.errors import InputError
from petbench.physics.acquisition import Acquisition, write_acquisition
from petbench.physics.counts import expectation, plane_weights, poisson
from petbench.physics.doses import DEFAULT_ISOTOPE, STANDARD, Block, Dose, check_simulation, derived_seed, resolve_dose
from petbench.physics.events import Events, Sinogram, events_from_sinogram
from petbench.physics.isotopes import isotope
from petbench.physics.operators import ForwardModel, GaussianBlur, attenuation_factors
from petbench.physics.planes import planes_of
from petbench.physics.projectors import projector_of
from petbench.physics.scanner import Scanner, field_of_view, image_affine

Array = NDArray[np.float32]

OUTSIDE = 0.001  # of all activity may lie outside the field of view, as rounding and blurred edges put some there
DENSEST_PER_CM = 1.0  # attenuation beyond any tissue or implant at 511 keV


def simulate(
    activity: Image,
    attenuation: Image,
    scanner: Scanner,
    simulation: Block,
    seed: int,
    out: str | Path,
    dose: Block = STANDARD,
    name: str = "standard",
    threads: int | None = None,
) -> None:
    """Simulate one scan of a subject and write its acquisition: of the standard dose, or of a dose drawn independently of it.

    Args:
        activity: True activity in Bq/ml at the start of the scan, on the scanner's image grid.
        attenuation: Linear attenuation at 511 keV per cm on the same grid.
        scanner: The geometry.
        simulation: As in `acquire`.
        seed: The subject's seed.
        out: `.h5` file to write.
        dose: Block of the dose (`petbench.physics.doses.resolve_dose`).
        name: Name of the dose; scans of different names have noise of their own.
        threads: Threads of the projector, None for all.

    Raises:
        InputError: an image is off the grid, negative or empty, a number is out of range, or the dose is one to be thinned.
    """
    truth = checked(activity, "activity", scanner)
    mu = checked(attenuation, "attenuation", scanner)
    resolved = resolve_dose(dose, simulation, seed)
    if resolved.draw == "thinning" and resolved.fraction < 1:
        raise InputError(f"doses/{name}: is thinned from the standard dose and has no scan of its own; set draw to independent.")
    write_acquisition(out, acquire(truth, mu, scanner, simulation, resolved, seed, name, threads), scanner)


def acquire(
    truth: Array,
    mu: Array | None,
    scanner: Scanner,
    simulation: Block,
    dose: Dose,
    seed: int,
    name: str = "standard",
    threads: int | None = None,
) -> Acquisition:
    """Simulate one scan: ybar = s A(mu) P PSF x + randoms + scatter, y ~ Poisson(ybar), with s such that the prompts are those asked for.

    Memory: 16 bytes a bin at most, TOF bins counted, and in list mode some 40 bytes an event on top.

    Args:
        truth: True activity in Bq/ml at the start of the scan, shape (x, y, z).
        mu: Linear attenuation at 511 keV per cm, shape (x, y, z); None for none.
        scanner: The geometry.
        simulation: `counts` (expected prompts of the standard dose), `psf_mm`, `randoms_fraction` (of prompts), `scatter_fraction` (of
            trues), and optionally `scatter_fwhm_mm` (150), `isotope` (F18), `geometry` (direct), `tof` (false), `seconds`, `activity`
            (MBq), `counts_scope` (volume) and `format` (sinogram).
        dose: The dose relative to the standard dose.
        seed: The subject's seed.
        name: Name of the scan, from which its random numbers derive.
        threads: Threads of the projector, None for all.

    Raises:
        InputError: a number is out of range, the scanner cannot do what is asked, or it sees no activity.
    """
    check_simulation(simulation, scanner)
    geometry, scope = simulation.get("geometry", "direct"), simulation.get("counts_scope", "volume")
    factors = line_factors(mu, scanner, geometry, threads)
    projector = projector_of(scanner, geometry, simulation.get("tof", False), threads)
    model = ForwardModel(projector, factors, image_operators=resolution(simulation["psf_mm"], scanner, threads))
    line_integrals = model(truth)
    if scope == "slice":
        weights = plane_weights(line_integrals).astype(np.float32)
        factors *= weights
        line_integrals *= weights if line_integrals.ndim == 3 else weights[:, None]
    expected = expectation(
        line_integrals,
        scanner,
        counts=simulation["counts"],
        randoms_fraction=simulation["randoms_fraction"],
        scatter_fraction=simulation["scatter_fraction"],
        scatter_fwhm_mm=simulation.get("scatter_fwhm_mm", 150.0),
        geometry=geometry,
        scope=scope,
        fraction=dose.fraction,
        randoms_ratio=dose.randoms_ratio,
    )
    prompts = poisson(expected.trues, derived_seed(seed, name), expected.background)
    sinogram = Sinogram(prompts, expected.background)
    data: Sinogram | Events = sinogram
    emitter = isotope(simulation.get("isotope", DEFAULT_ISOTOPE)).name
    if simulation.get("format", "sinogram") == "list_mode":
        data = events_from_sinogram(sinogram, dose.seconds or simulation["seconds"], emitter, derived_seed(seed, f"{name} times"))
    metadata = {
        "seed": int(seed),
        "name": name,
        "simulation": dict(simulation),
        "dose": asdict(dose),
        "expected": expected.total,
        "software": f"petbench {version('petbench')}",
    }
    return Acquisition(data, factors, expected.scale, geometry, emitter, dose.seconds, metadata)


def line_factors(mu: Array | None, scanner: Scanner, geometry: str, threads: int | None) -> Array:
    """What multiplies the trues of every line: attenuation factors, times the ring pairs of its plane in oblique geometry.

    Shape (radial bins, views, planes) in the order of memory (views, radial bins, planes).
    """
    pairs = planes_of(scanner, geometry).ring_pairs.astype(np.float32)
    projector = projector_of(scanner, geometry, threads=threads)
    if mu is not None:
        return np.asarray(attenuation_factors(projector, mu) * pairs)
    bins, views, _ = projector.sinogram_shape
    return np.tile(pairs, (views, bins, 1)).swapaxes(0, 1)


def resolution(psf_mm: float, scanner: Scanner, threads: int | None = None) -> tuple[GaussianBlur, ...]:
    """Image operators of a resolution, FWHM; none for 0.

    Raises:
        InputError: the width is negative or not finite.
    """
    if not 0 <= psf_mm < np.inf:
        raise InputError(f"psf_mm: {psf_mm} is negative or not finite; give the FWHM in mm, 0 for none.")
    return (GaussianBlur(psf_mm, scanner.voxel_mm, threads),) if psf_mm > 0 else ()


def checked(image: Image, name: str, scanner: Scanner) -> Array:
    """Values of an activity or attenuation image, shape (x, y, z), once they are found fit for a simulation.

    Raises:
        InputError: the image is off the scanner's grid, holds values that are negative or not finite, is no activity or attenuation,
            or lies outside the field of view.
    """
    data = np.asarray(image.dataobj, dtype=np.float32)
    if data.shape != scanner.image_shape or not np.allclose(image.affine, image_affine(scanner), atol=1e-3):
        raise InputError(
            f"{name}: is not on the image grid of {scanner.name}, {scanner.image_shape} voxels of {scanner.voxel_mm} mm; resample it."
        )
    check_values(data, name)
    if name == "activity":
        outside = float(data[~field_of_view(scanner)].sum(dtype=np.float64) / data.sum(dtype=np.float64))
        if outside > OUTSIDE:
            raise InputError(
                f"activity: {100 * outside:.2g} % of it lies outside the field of view of {scanner.fov_mm:g} mm, where nothing is seen;"
                " widen fov_mm or shrink the subject."
            )
    return data


def check_values(data: Array, name: str) -> None:
    """Check the values of an `activity` or `attenuation` image.

    Raises:
        InputError: some are negative or not finite, all activity is zero, or attenuation is beyond any tissue.
    """
    if not np.isfinite(data).all() or data.min() < 0:
        raise InputError(f"{name}: holds values that are negative or not finite; set them to zero first.")
    if name == "activity" and not data.any():
        raise InputError("activity: is zero everywhere; give the subject some uptake.")
    if name == "attenuation" and data.max() > DENSEST_PER_CM:
        raise InputError(f"attenuation: rises to {data.max():.3g} per cm, beyond any tissue; give it per cm, not per mm or in HU.")

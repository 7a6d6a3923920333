"""From the acquisition file of a subject to its PET image at one dose, with a sidecar that says how it came about."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.nifti import volume, write_volume
from petbench.errors import InputError
from petbench.files import write_json
from petbench.physics.acquisition import Acquisition, read_acquisition
from petbench.physics.doses import Block, Dose, derived_seed, is_independent, resolve_dose
from petbench.physics.events import Sinogram, thinned
from petbench.physics.operators import ForwardModel, Operator
from petbench.physics.penalised import Penalised, listmode_penalised, penalised
from petbench.physics.penalties import RelativeDifference
from petbench.physics.projectors import projector_of
from petbench.physics.reconstruction import listmode_osem, osem, post_filter
from petbench.physics.scanner import Scanner, image_affine
from petbench.physics.simulate import resolution

Array = NDArray[np.float32]

TRACERS = {"F18": "FDG"}
"""What carries an isotope in the heads that are simulated."""
SCATTER = "known expectation: trues smoothed along radial bins and planes, scaled to a share of the trues"
RANDOMS = "known expectation: the same in every bin, in proportion to the ring pairs of its plane"


def reconstruct(
    acquisition: str | Path,
    dose: Block,
    reconstruction: Block,
    scanner: Scanner,
    seed: int,
    out_image: str | Path,
    out_sidecar: str | Path,
    threads: int | None = None,
    device: str = "cpu",
) -> None:
    """Reconstruct an acquisition at one dose by OSEM and write the image in Bq/ml and its BIDS sidecar.

    Args:
        acquisition: File of `petbench.physics.simulate`: of the standard dose, or the dose's own where it is drawn independently.
        dose: Block of the dose (`petbench.physics.doses.resolve_dose`).
        reconstruction: `iterations`, `subsets`, `psf_mm` (resolution modelled, 0 for none), `post_filter_mm` (0 for none).
        scanner: The geometry.
        seed: The subject's seed; every dose derives its own from it.
        out_image: `.nii.gz` to write.
        out_sidecar: `.json` to write.
        threads: Threads of the projector, None for all.
        device: `cpu`, or a torch device such as `cuda`.

    Raises:
        InputError: the acquisition does not fit the scanner or the dose, or a number is out of range.
    """
    scan = read_acquisition(acquisition, scanner)
    resolved = dose_of_scan(scan, dose, seed, str(acquisition))
    low = at_dose(scan, resolved, seed)
    image = image_of(low, reconstruction, scanner, threads, device)
    write_volume(out_image, image, volume(image, image_affine(scanner)))
    write_json(out_sidecar, sidecar(scan, low, resolved, reconstruction, scanner, device))


def dose_of_scan(scan: Acquisition, block: Block, seed: int, path: str) -> Dose:
    """Work out a dose block against the scan that its image is made from.

    Raises:
        InputError: the block is impossible, or the scan is another dose's.
    """
    own = scan.metadata.get("dose", {})
    standard = {"counts": scan.data.counts, "seconds": scan.seconds, "isotope": scan.isotope} | scan.metadata.get("simulation", {})
    dose = resolve_dose(block, {key: value for key, value in standard.items() if value is not None}, seed)
    if is_independent(block):
        if own != vars(dose):
            raise InputError(f"{path}: is not the scan of the dose {dose.kind} {dose.value:g}, drawn independently; simulate that dose.")
    elif own.get("draw") == "independent":
        raise InputError(f"{path}: is the scan of one dose alone, and others are thinned from the standard dose; give its acquisition.")
    return dose


def at_dose(scan: Acquisition, dose: Dose, seed: int) -> Acquisition:
    """The scan of a dose: thinned from the standard dose's, whose count scale falls with its counts; an independent one as it is."""
    if dose.draw == "independent":
        return scan
    data = thinned(scan.data, dose, derived_seed(seed, f"thinning {dose.fraction:.9g}"))
    return replace(scan, data=data, scale=scan.scale * dose.fraction, seconds=dose.seconds if dose.kind == "seconds" else scan.seconds)


def image_of(
    scan: Acquisition, reconstruction: Block, scanner: Scanner, threads: int | None = None, device: str = "cpu", **options: Any
) -> Array:
    """Reconstruct a scan by OSEM, in list mode where its data are, and filter the image.

    The count scale belongs to the forward model, so that every dose estimates the same activity.

    Args:
        scan: The counts of one dose with their model.
        reconstruction: As for `reconstruct`.
        scanner: The geometry.
        threads: Threads of the projector, None for all.
        device: `cpu`, or a torch device such as `cuda`.
        **options: Further arguments of `osem` and `listmode_osem`, such as `callback`, `at` and `progress`.

    Returns:
        Activity in Bq/ml, shape (x, y, z); zero everywhere if there are no events.

    Raises:
        InputError: a number is out of range, or there are fewer events than subsets.
    """
    operators = resolution(reconstruction["psf_mm"], scanner, threads)
    iterations, subsets = reconstruction["iterations"], reconstruction["subsets"]
    estimate = estimate_of(scan, operators, iterations, subsets, scanner, threads, device, **options)
    return post_filter(estimate, reconstruction["post_filter_mm"], scanner, threads)


def estimate_of(
    scan: Acquisition,
    image_operators: tuple[Operator, ...],
    iterations: int,
    subsets: int,
    scanner: Scanner,
    threads: int | None = None,
    device: str = "cpu",
    penalty: tuple[RelativeDifference, Penalised] | None = None,
    **options: Any,
) -> Array:
    """Reconstruct a scan with some image operators by OSEM or with a penalty, in list mode where its data are, without any filter.

    Args:
        scan: Counts with their model.
        image_operators: As for `ForwardModel`.
        iterations: Passes through the data.
        subsets: Subsets of views or events.
        scanner: The geometry.
        threads: Threads of the projector, None for all.
        device: `cpu`, or a torch device such as `cuda`.
        penalty: Of roughness, and how it is used; None for OSEM.
        **options: As for `image_of`.

    Returns:
        Activity in Bq/ml, shape (x, y, z); zero everywhere if there are no events.

    Raises:
        InputError: a number is out of range, or there are fewer events than subsets.
    """
    if isinstance(scan.data, Sinogram):
        projector = projector_of(scanner, scan.geometry, scan.tof, threads)
        model = _on(device, ForwardModel(projector, scan.factors, scan.scale, image_operators, scan.data.background))
        estimate = (
            osem(model, scan.data.prompts, iterations, subsets, **options)
            if penalty is None
            else penalised(model, scan.data.prompts, *penalty, iterations, subsets, **options)
        )
    elif scan.data.counts == 0:  # the estimate of no counts, which has no subsets to come from
        estimate = np.zeros(scanner.image_shape, dtype=np.float32)
    else:
        from petbench.physics.listmode import ListModeProjector

        events = scan.data
        lines = ForwardModel(projector_of(scanner, scan.geometry, threads=threads), scan.factors, scan.scale, image_operators)
        sensitivity = _on(device, lines).sensitivity()
        listed = ListModeProjector(scanner, scan.geometry, events.radial, events.view, events.plane, events.tof, threads)
        factors = scan.factors[events.radial, events.view, events.plane]
        model = _on(device, ForwardModel(listed, factors, scan.scale, image_operators, events.background))
        estimate = (
            listmode_osem(model, sensitivity, iterations, subsets, **options)
            if penalty is None
            else listmode_penalised(model, sensitivity, *penalty, iterations, subsets, **options)
        )
    return estimate if isinstance(estimate, np.ndarray) else np.asarray(estimate.cpu().numpy())


def _on(device: str, model: ForwardModel) -> ForwardModel:
    return model if device == "cpu" else model.to(device)


def sidecar(
    scan: Acquisition, low: Acquisition, dose: Dose, reconstruction: Block, scanner: Scanner, device: str = "cpu"
) -> dict[str, Any]:
    """BIDS sidecar of a reconstructed image.

    Args:
        scan: The scan it was drawn from.
        low: The scan it was reconstructed from, at its dose.
        dose: The dose.
        reconstruction: As for `reconstruct`.
        scanner: The geometry.
        device: Where it was reconstructed.
    """
    simulation = scan.metadata.get("simulation", {})
    psf_mm, filter_mm = float(reconstruction["psf_mm"]), float(reconstruction["post_filter_mm"])
    content = {
        "Modality": "PT",
        "Manufacturer": "petbench",
        "ManufacturersModelName": scanner.name,
        "TracerName": TRACERS.get(scan.isotope, scan.isotope),
        "TracerRadionuclide": scan.isotope,
        **_injected(dose),
        "Units": "Bq/mL",
        **_dose(scan, low, dose),
        **_timing(low, dose),
        "AcquisitionMode": "list mode" if not isinstance(scan.data, Sinogram) else "sinogram",
        "AcquisitionGeometry": scan.geometry,
        "TimeOfFlight": scan.tof,
        "AcquisitionSeed": scan.metadata.get("seed"),
        "SimulatedPSF": simulation.get("psf_mm"),
        "SimulatedPSFUnits": "mm" if "psf_mm" in simulation else None,
        "ReconMethodName": ("PSF-" if psf_mm > 0 else "") + ("TOF-" if scan.tof else "") + "OSEM",
        "ReconMethodParameterLabels": ["iterations", "subsets", "psf"],
        "ReconMethodParameterUnits": ["none", "none", "mm"],
        "ReconMethodParameterValues": [reconstruction["iterations"], reconstruction["subsets"], psf_mm],
        "ReconDevice": device,
        "ReconFilterType": "Gaussian" if filter_mm > 0 else "none",
        "ReconFilterSize": filter_mm,
        "AttenuationCorrection": "known attenuation map at 511 keV",
        "ScatterCorrectionMethod": SCATTER if simulation.get("scatter_fraction", 1) > 0 else "none, no scatter simulated",
        "RandomsCorrectionMethod": RANDOMS if simulation.get("randoms_fraction", 1) > 0 else "none, no randoms simulated",
        "SoftwareVersions": scan.metadata.get("software"),
    }
    return {key: value for key, value in content.items() if value is not None}


def _injected(dose: Dose) -> dict[str, Any]:
    """What was injected; BIDS asks for all of it, in numbers, also where none is simulated."""
    unknown = dict.fromkeys(("InjectedMass", "InjectedMassUnits", "SpecificRadioactivity", "SpecificRadioactivityUnits"), "n/a")
    told = {"InjectedRadioactivity": dose.activity_mbq or 0.0, "InjectedRadioactivityUnits": "MBq", "ModeOfAdministration": "bolus"}
    return told | unknown | {"InjectionStart": 0.0}


def _dose(scan: Acquisition, low: Acquisition, dose: Dose) -> dict[str, Any]:
    """What dose it is, and the counts measured and expected."""
    shares = {"trues": dose.fraction, "scatter": dose.fraction, "randoms": dose.randoms_ratio}
    # the totals on file are those of the scan itself, which an independent dose has to itself
    expected = {
        name: total * (shares[name] if dose.draw == "thinning" else 1.0) for name, total in scan.metadata.get("expected", {}).items()
    }
    whole = dose.draw == "thinning" and dose.fraction == 1
    return {
        "DoseKind": dose.kind,
        "DoseValue": dose.value,
        "DoseFraction": dose.fraction,
        # an independent scan may have its own share of randoms, of which ExpectedRandoms tells
        "DoseRandomsRatio": None if dose.kind == "counts" and dose.draw == "independent" else dose.randoms_ratio,
        "DoseDraw": "standard" if whole else dose.draw,
        "Counts": low.data.counts,
        **{f"Expected{name.capitalize()}": total for name, total in expected.items()},
        "StandardDoseCounts": scan.data.counts if dose.draw == "thinning" else None,
        "StandardDoseExpectedCounts": _standard_expected(scan, dose),
        "CountsScope": scan.metadata.get("simulation", {}).get("counts_scope"),
    }


def _standard_expected(scan: Acquisition, dose: Dose) -> float | None:
    """Expected prompts of the whole standard dose."""
    expected = scan.metadata.get("expected")
    if not expected:
        return None
    if dose.draw == "thinning":
        return float(sum(expected.values()))
    return float((expected["trues"] + expected["scatter"]) / dose.fraction + expected["randoms"] / dose.randoms_ratio)


def _timing(low: Acquisition, dose: Dose) -> dict[str, Any]:
    """Duration and what instant the activity is of: without a duration no decay is simulated, and there is no clock."""
    missing = [("InjectedRadioactivity", dose.activity_mbq), ("FrameDuration", low.seconds)]
    return {
        "TimeZero": "00:00:00",
        "ScanStart": 0.0,
        "FrameTimesStart": [0.0],
        "FrameDuration": [low.seconds or 0.0],
        "ImageDecayCorrected": low.seconds is not None,
        "ImageDecayCorrectionTime": 0.0,
        "NotSimulated": [name for name, value in missing if value is None] or None,
    }

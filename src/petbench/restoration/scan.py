"""Restore a lab's own scan with trained weights: registration, scaling, restoration, and a page to check it by."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from petbench.data.acquired import acquired, unlike
from petbench.data.bids import entities, read_sidecar
from petbench.data.nifti import Image, canonical, read_acquired, voxel_mm, write_volume
from petbench.device import device_name
from petbench.dicom.suv import factor_of
from petbench.errors import InputError
from petbench.evaluation.suv import suv_of
from petbench.files import checksum, write_json
from petbench.methods.base import ACQUISITION, Restorer
from petbench.methods.diffusion import Sampled, Sampler
from petbench.preprocess.grid import HEAD_SMOOTH_MM
from petbench.preprocess.intensity import head_mask
from petbench.preprocess.likeness import BOUNDS, Distance, distances
from petbench.preprocess.places import placed_among
from petbench.preprocess.plausible import check_pet
from petbench.preprocess.prepare import normalise
from petbench.preprocess.registration import register
from petbench.preprocess.windows import EMPTY_BELOW, half
from petbench.restoration.extent import BLEND, put_back, slices_restored
from petbench.restoration.progress import resumable
from petbench.restoration.restore import stitch
from petbench.restoration.scan_page import write_page
from petbench.restoration.weights import Description, load_restorer

SLICES_AT_ONCE = 16
MOST_OUTSIDE = 0.02
"""Share of the head that may lie outside the working grid, beyond what did of those trained on."""


def restore_scan(
    pet: str,
    mr: str,
    weights: str,
    device: str,
    threads: int,
    out: Mapping[str, str],
    sampling_steps: int | None = None,
    partial: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
    code: str = "",
    allow_unlike: bool = False,
) -> None:
    """Restore one scan on the working grid that the weights were trained on, and bring it back to its own grid and units.

    The scan is registered, scaled and windowed as the training subjects were; its voxels are resampled where theirs differ in size.
    A method that samples does so without further noise (`scan_sampler`), so that a scan always gives the same image. Slices without
    signal, which training leaves out, and what lies outside the working grid stay the low dose, as the sidecar says.

    Args:
        pet: Low-dose PET (NIfTI).
        mr: T1-weighted MR of the same subject, in its own space.
        weights: `model.safetensors`.
        device: `cpu` or `cuda`.
        threads: CPU threads.
        out: Files to write: `image` (NIfTI), `sidecar` (JSON) and `page` (HTML).
        sampling_steps: Evaluations of the network of a method that samples; 50, or as many steps as it was trained with if fewer, when left
            out.
        partial: Folder where an interrupted restoration keeps its windows; none keeps nothing.
        checkpoint_seconds: Time between writes to it.
        code: Hash of the code: what other code kept is not gone on with.
        allow_unlike: Go on with a scan farther from those trained on than `petbench.preprocess.likeness.BOUNDS`, or whose sidecar tells of
            another tracer, scanner or dose.

    Raises:
        InputError: a file is missing or damaged, its header does not say where voxels lie, the PET is none of a head, the MR does not fit
            it, the head does not fit the working grid, the scan is unlike those trained on, the weights are not petbench's, or give no
            units, or another process restores the same.
    """
    torch.set_num_threads(threads)
    restorer, description = load_restorer(weights, device)
    if description.preprocess["scaling"]["mode"] == "min_max":
        raise InputError(
            f"{weights}: makes PET of MR in MNI space, in normalised units, and restores no low dose;"
            " list the scans as MR-only subjects of a data set (docs/data.md)."
        )
    if description.preprocess["scaling"]["mode"] == "own_range":
        raise InputError(
            f"{weights}: was trained on images scaled to their own range (preprocess/scaling/mode), which tells"
            " nothing of a restored image's activity; train with mode low_dose."
        )
    placed = placed_among(description.inputs)
    if more := sorted(set(description.inputs) - {"low_dose", "mr", *placed}):
        if more[0] == ACQUISITION:
            raise InputError(f"{weights}: reconstructs scans, and an image is given; give the weights of a method that restores images.")
        raise InputError(
            f"{weights}: restores a low dose with its {more[0]}, which another method makes first and a scan alone does not have;"
            " give the weights of that method."
        )
    contradicted = list(unlike(acquired(pet), description.scans))
    if contradicted and not allow_unlike:
        raise InputError(
            f"{pet}: its sidecar says {'; '.join(contradicted)}, which {weights} was trained on; take weights of such scans, or go on with"
            " allow_unlike=true."
        )
    image, unregistered = read_acquired(pet), read_acquired(mr)
    check_pet(image, pet)
    if np.array_equal(np.asarray(unregistered.dataobj), np.asarray(image.dataobj)):
        raise InputError(f"{mr}: its voxels are those of {pet}; give the subject's T1-weighted MR.")
    settings = description.preprocess["registration"]
    registered = register(image, unregistered, settings, threads=1, names={"pet": pet, "mr": mr})
    anatomy = registered.image
    grid = description.preprocess["grid"] | {"voxel_mm": description.voxel_mm}
    names = {"low_dose": pet, "mr": mr}
    prepared = normalise({"low_dose": image, "mr": anatomy}, names, {"grid": grid, "scaling": description.preprocess["scaling"]})
    apart = _unlike(prepared.measures, description, pet, weights, allow_unlike)
    low_dose, anatomy_scaled = (prepared.volumes[kind] for kind in ("low_dose", "mr"))
    slices = slices_restored(low_dose, low_dose.shape, description.window, description.domain.get("empty_below", EMPTY_BELOW))
    sampler = _sampler(restorer, sampling_steps)
    at_once = SLICES_AT_ONCE if 1 in description.window else 1
    # Noise follows from what the scan is, not from what its file is called.
    content = hashlib.sha256(np.ascontiguousarray(image.dataobj).tobytes()).hexdigest()
    identity = {"weights": checksum(weights), "sampler": None if sampler is None else asdict(sampler), "content": content}
    with resumable(partial, identity | {"device": device, "code": code}, (low_dose, anatomy_scaled), checkpoint_seconds) as progress:
        scaled = stitch(
            restorer,
            low_dose,
            anatomy_scaled,
            description.window,
            half(description.window),
            at_once,
            device,
            sampler,
            content,
            slices=slices,
            progress=progress,
            placed=placed,
        )
        restored, extent = put_back(scaled * prepared.scales["low_dose"], prepared.affine, image, slices, BLEND)
        write_volume(out["image"], restored, like=image)
        facts = _facts(description, image, weights, device) | extent | {"Registration": registered.facts}
        facts |= {"Scale": prepared.scales["low_dose"], "HeadInside": prepared.measures.get("head_inside", 1.0)}
        facts |= {"Likeness": {one.measure: asdict(one) for one in apart} or "the weights do not say what they were trained on"}
        if isinstance(description.domain.get("slices"), list):
            facts["TrainedOnSlices"] = description.domain["slices"]
        if sampler is not None:
            facts |= {"Sampler": sampler.label, "SamplingSteps": sampler.evaluations}
        facts |= {"PETSHA256": checksum(pet), "MRSHA256": checksum(mr)}
        if contradicted:
            facts["UnlikeTraining"] = contradicted
        facts = _told(pet, mr) | facts | {"SUV": _suv(pet, image, restored)}
        write_json(out["sidecar"], facts)
        write_page(out["page"], image, anatomy, restored, facts, apart)


def _unlike(measures: Mapping[str, float], description: Description, pet: str, weights: str, allowed: bool) -> list[Distance]:
    """How far a scan is from those trained on; too far ends here, unless told to go on, and so does a head that is not all seen."""
    inside = measures.get("head_inside", 1.0)
    if inside < min([1.0, *(person["head_inside"] for person in description.people if "head_inside" in person)]) - MOST_OUTSIDE:
        grid = f"{description.preprocess['grid']['shape']} voxels of {[round(edge, 3) for edge in description.voxel_mm]} mm"
        raise InputError(f"{pet}: {1 - inside:.0%} of the head lies outside the working grid of {weights} ({grid}); take a larger grid's.")
    found = distances(measures, description.people)
    if (beyond := [one for one in found if one.beyond]) and not allowed:
        said = "; ".join(f"{one}, bound {BOUNDS[one.measure]:g}" for one in beyond)
        raise InputError(
            f"{pet}: is unlike the scans that {weights} was trained on ({said});"
            " take weights trained on scans like it, or go on with allow_unlike=true."
        )
    return found


def _told(pet: str, mr: str) -> dict[str, Any]:
    """What BIDS asks of a derivative's sidecar; of the scan's own only its units are kept."""
    other = "" if entities(mr).get("ses") == entities(pet).get("ses") else f" with MR of session {entities(mr).get('ses', 'none')}"
    return {
        "Description": f"Restored PET{other}; a research result, not for diagnosis",
        "Sources": [Path(pet).name, Path(mr).name],
        "Units": str(read_sidecar(pet).get("Units", "n/a")),
        "SkullStripped": False,
    }


def _suv(pet: str, image: Image, restored: NDArray[np.float32]) -> dict[str, Any] | str:
    """SUV of the head in the low dose and as restored, or why there is none."""
    try:
        factor = factor_of(read_sidecar(pet))
    except InputError as reason:
        return str(reason)
    low_dose = np.asarray(image.dataobj, dtype=np.float32)
    head = head_mask(ndimage.gaussian_filter(low_dose, HEAD_SMOOTH_MM / voxel_mm(image)))
    measured = {"LowDose": low_dose, "Restored": restored}
    found = {name: suv_of(factor * values, head, voxel_mm(image)) for name, values in measured.items()}
    return {"Factor": factor} | {name: {key: round(value, 4) for key, value in one.items()} for name, one in found.items()}


def _sampler(restorer: Restorer, steps: int | None) -> Sampler | None:
    if not isinstance(restorer, Sampled):
        if steps is not None:
            raise InputError("sampling_steps: this method does not sample; leave it out.")
        return None
    return restorer.scan_sampler(steps)


def _facts(description: Description, image: Image, weights: str, device: str) -> dict[str, Any]:
    same = np.allclose(voxel_mm(canonical(image)), description.voxel_mm)
    return {
        "Method": description.module,
        "TrainedOn": f"data set {description.dataset}, dose {description.dose}, fold {description.fold}",
        "WeightsSHA256": checksum(weights),
        "VoxelsResampled": not same,
        "WorkingVoxelMm": description.voxel_mm,
        "Device": device_name(device),
    }

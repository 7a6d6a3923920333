"""Restore a lab's own scan with trained weights: registration, scaling, restoration, and a page to check it by."""

import base64
import hashlib
import io
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from petbench.data.acquired import acquired, unlike
from petbench.data.bids import entities, read_sidecar
from petbench.data.nifti import Image, canonical, read_volume, voxel_mm, write_volume
from petbench.device import device_name
from petbench.errors import InputError
from petbench.files import atomic, checksum, write_json
from petbench.methods.base import Restorer
from petbench.methods.diffusion import Diffusion, Sampler
from petbench.preprocess.prepare import normalise
from petbench.preprocess.registration import overlay, register
from petbench.preprocess.windows import EMPTY_BELOW, half
from petbench.restoration.extent import BLEND, put_back, slices_restored
from petbench.restoration.progress import resumable
from petbench.restoration.restore import stitch
from petbench.restoration.weights import Description, load_restorer

SLICES_AT_ONCE = 16


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
    A method that samples does so by DDIM without further noise, so that a scan always gives the same image. Slices without signal, which
    training leaves out, and what lies outside the working grid stay the low dose, as the sidecar says.

    Args:
        pet: Low-dose PET (NIfTI).
        mr: T1-weighted MR of the same subject, in its own space.
        weights: `model.safetensors`.
        device: `cpu` or `cuda`.
        threads: CPU threads.
        out: Files to write: `image` (NIfTI), `sidecar` (JSON) and `page` (HTML).
        sampling_steps: Steps of a method that samples; 50, or as many as it was trained with if fewer, when left out.
        partial: Folder where an interrupted restoration keeps its windows; none keeps nothing.
        checkpoint_seconds: Time between writes to it.
        code: Hash of the code: what other code kept is not gone on with.
        allow_unlike: Go on with a scan whose sidecar tells of another tracer, scanner or dose than the weights were trained on.

    Raises:
        InputError: a file is missing or damaged, the scan was acquired otherwise than those trained on, the MR does not fit the PET, the
            weights are not petbench's, or give no units, or another process restores the same.
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
    if more := sorted(set(description.inputs) - {"low_dose", "mr"}):
        raise InputError(
            f"{weights}: restores a low dose with its {more[0]}, which another method makes first and a scan alone does not have;"
            " give the weights of that method."
        )
    apart = list(unlike(acquired(pet), description.scans))
    if apart and not allow_unlike:
        raise InputError(
            f"{pet}: its sidecar says {'; '.join(apart)}, which {weights} was trained on; take weights of such scans, or go on with"
            " allow_unlike=true."
        )
    image = read_volume(pet)
    settings = description.preprocess["registration"]
    anatomy = register(image, read_volume(mr), settings, threads=1, names={"pet": pet, "mr": mr})
    grid = description.preprocess["grid"] | {"voxel_mm": description.voxel_mm}
    names = {"low_dose": pet, "mr": mr}
    prepared = normalise({"low_dose": image, "mr": anatomy}, names, {"grid": grid, "scaling": description.preprocess["scaling"]})
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
        )
        restored, extent = put_back(scaled * prepared.scales["low_dose"], prepared.affine, image, slices, BLEND)
        write_volume(out["image"], restored, like=image)
        facts = _facts(description, image, weights, device) | extent
        if isinstance(description.domain.get("slices"), list):
            facts["TrainedOnSlices"] = description.domain["slices"]
        if sampler is not None:
            facts |= {"Sampler": sampler.label, "SamplingSteps": sampler.steps}
        facts |= {"PETSHA256": checksum(pet), "MRSHA256": checksum(mr)}
        if apart:
            facts["UnlikeTraining"] = apart
        write_json(out["sidecar"], _told(pet, mr) | facts)
        _write_page(out["page"], image, anatomy, restored, facts)


def _told(pet: str, mr: str) -> dict[str, Any]:
    """What BIDS asks of a derivative's sidecar; of the scan's own only its units are kept."""
    other = "" if entities(mr).get("ses") == entities(pet).get("ses") else f" with MR of session {entities(mr).get('ses', 'none')}"
    return {
        "Description": f"Restored PET{other}; a research result, not for diagnosis",
        "Sources": [Path(pet).name, Path(mr).name],
        "Units": str(read_sidecar(pet).get("Units", "n/a")),
        "SkullStripped": False,
    }


def _sampler(restorer: Restorer, steps: int | None) -> Sampler | None:
    if not isinstance(restorer, Diffusion):
        if steps is not None:
            raise InputError("sampling_steps: this method does not sample; leave it out.")
        return None
    return Sampler("ddim", min(50, restorer.process.timesteps) if steps is None else steps, seed=0)


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


def _write_page(path: str | Path, low_dose: Image, anatomy: Image, restored: NDArray[np.float32], facts: Mapping[str, Any]) -> None:
    with tempfile.TemporaryDirectory(prefix="petbench-") as folder:
        picture = Path(folder) / "registration.png"
        overlay(low_dose, anatomy, picture)
        registration = picture.read_bytes()
    rows = "".join(f"<tr><th>{escape(key)}</th><td>{escape(str(value))}</td></tr>" for key, value in facts.items())
    pictures = [
        (
            _planes(low_dose, np.asarray(low_dose.dataobj), restored),
            "Low dose, restored, and their difference, in three central planes. What is not restored is the low dose: no difference.",
        ),
        (registration, "Edges of the registered MR over the low-dose PET: they must follow the head."),
    ]
    figures = "".join(
        f'<figure><img src="data:image/png;base64,{base64.b64encode(data).decode()}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for data, caption in pictures
    )
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Restored PET: check</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}}img{{max-width:100%}}
th{{text-align:left;padding-right:1.5rem;vertical-align:top}}figure{{margin:1.5rem 0}}figcaption{{color:#555}}</style></head>
<body><h1>Restored PET</h1>
<p>A research result, not for diagnosis.
The weights hold for scans like those that trained them: tracer, dose, scanner and reconstruction.</p>
{figures}<table>{rows}</table></body></html>
"""
    with atomic(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _planes(grid: Image, low_dose: NDArray[np.float32], restored: NDArray[np.float32]) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    top = float(np.percentile(low_dose, 99.8))
    figure = Figure(figsize=(9, 9), layout="constrained")
    FigureCanvasAgg(figure)
    columns: list[tuple[str, NDArray[np.float32], str, float, float]] = [
        ("low dose", low_dose, "gray_r", 0.0, top),
        ("restored", restored, "gray_r", 0.0, top),
    ]
    columns.append(("restored - low dose", restored - low_dose, "RdBu_r", -top / 2, top / 2))
    spacing = voxel_mm(grid)
    for row, axis in zip(figure.subplots(3, 3), (2, 1, 0), strict=True):
        rest = [other for other in range(3) if other != axis]
        for place, (title, data, colours, low, high) in zip(row, columns, strict=True):
            plane = np.take(data, data.shape[axis] // 2, axis=axis).T
            place.imshow(plane, origin="lower", cmap=colours, vmin=low, vmax=high, aspect=spacing[rest[1]] / spacing[rest[0]])
            place.set_title(title, fontsize=9)
            place.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=80, format="png")
    return buffer.getvalue()

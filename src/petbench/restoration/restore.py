"""Restore a subject: sliding windows, overlaps blended, back on the subject's grid in its own units."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from petbench.data.bids import read_sidecar
from petbench.data.nifti import Image, read_volume, write_volume
from petbench.device import device_name, peak_mb
from petbench.errors import InputError
from petbench.evaluation.complexity import complexity
from petbench.files import atomic, checksum, digest, open_array, read_json, write_json
from petbench.methods.base import ACQUISITION, Restorer, blank
from petbench.methods.diffusion import Sampled, Sampler
from petbench.physics.plane_scans import ScanFile, open_scan
from petbench.preprocess.places import cut, placed_among
from petbench.preprocess.windows import half, spatial_shape, taper, thin_axis, window_slices, window_starts
from petbench.restoration.costs import together
from petbench.restoration.extent import BLEND, Slices, grid_slices, put_back, slices_restored
from petbench.restoration.progress import Progress, resumable
from petbench.restoration.weights import Description, load_restorer

SLICES = "filled"
"""Default of `restore/slices`."""
UNSMOOTHED = {"smooth_mm": 0.0}
"""What weights do not say that were trained before low doses were smoothed for their scale."""


def stitch(
    restorer: Restorer,
    low_dose: NDArray[np.float32] | None,
    mr: NDArray[np.float32] | None,
    window: Sequence[int],
    stride: Sequence[int],
    batch_size: int,
    device: str,
    sampler: Sampler | None = None,
    subject: str = "",
    blend: str = BLEND,
    slices: Slices | None = None,
    progress: Progress | None = None,
    more: Mapping[str, NDArray[np.float32]] | None = None,
    placed: Sequence[str] = (),
    scan: ScanFile | None = None,
) -> NDArray[np.float32]:
    """Restore a volume window by window; where windows overlap, their weighted mean is taken.

    In 32-bit floats (on a GPU with PyTorch's TF32 convolutions), however the method was trained: bfloat16 would leave the output
    eight significant bits.

    Args:
        restorer: A trained method in evaluation mode, on `device`.
        low_dose: Scaled low-dose PET, (x, y, z), or none where the method does without.
        mr: Scaled MR of the same shape, likewise.
        window: Window in voxels, (3,); one voxel thick for slices.
        stride: Step in voxels, (3,).
        batch_size: Windows restored at once; the result does not depend on it beyond rounding.
        device: `cpu` or `cuda`.
        sampler: How a method that samples draws; none for the others.
        subject: Whose volume it is: the noise of a window follows from the sampler's seed, the subject and the window's place alone.
        blend: Weights of a window: `taper` (see `petbench.preprocess.windows.taper`) or `average`, 1 everywhere, which shows seams.
        slices: Which slices are restored; all when left out. The others are the low dose.
        progress: What an interrupted restoration of the same has kept, and where this one keeps its own; none for neither.
        more: Further inputs by name, scaled and of the same shape (see `Restorer.restore`).
        placed: Inputs that follow from where a window lies, of `petbench.preprocess.places`.
        scan: The scan of the volume, of a method that reconstructs.

    Returns:
        Scaled restored PET, (x, y, z).

    Raises:
        InputError: the method samples and there is no sampler, or the reverse; or the sampler is another method's, or has more steps than
            the method was trained with.
    """
    draw = _drawing(restorer, sampler, subject)
    progress = progress or Progress()
    volumes = {kind: volume for kind, volume in (("low_dose", low_dose), ("mr", mr)) if volume is not None} | dict(more or {})
    whole = next(iter(volumes.values())).shape
    starts = window_starts(whole, window, stride)
    if slices is not None:
        starts = starts[slices.restored[starts[:, slices.axis]]]
    share = taper(window) if blend == "taper" else np.ones(tuple(window))
    total = np.zeros(whole) if progress.total is None else progress.total
    with torch.inference_mode():
        for first in range(progress.windows, len(starts), batch_size):
            corners = starts[first : first + batch_size]
            inputs: dict[str, Any] = {
                kind: torch.from_numpy(np.stack([cut(kind, volumes, corner, window) for corner in corners])).to(device)
                for kind in (*volumes, *placed)
            }
            if scan is not None:
                inputs[ACQUISITION] = scan.windows(corners[:, 2], window[2]).to(device)
            restored = draw(inputs.pop("low_dose", None), inputs.pop("mr", None), corners, **inputs).cpu().numpy()
            for corner, part in zip(corners, restored, strict=True):
                total[window_slices(corner, window)] += part.reshape(tuple(window)) * share
            progress.keep(total, first + len(corners))
    weight = np.zeros(whole)
    for corner in starts:
        weight[window_slices(corner, window)] += share
    unrestored = np.zeros(whole) if low_dose is None else low_dose
    return np.where(weight > 0, total / np.where(weight > 0, weight, 1), unrestored).astype(np.float32)


def _drawing(restorer: Restorer, sampler: Sampler | None, subject: str) -> Callable[..., torch.Tensor]:
    """Restores windows given their first voxels."""
    if isinstance(restorer, Sampled) != (sampler is not None):
        mend = "give its entry restore/sampler" if sampler is None else "remove restore/sampler from its entry"
        raise InputError(f"restore: this method {'samples' if sampler is None else 'does not sample'}; {mend}.")
    if not isinstance(restorer, Sampled) or sampler is None:
        return lambda low_dose, mr, corners, **more: restorer.restore(low_dose, mr, **more)
    if sampler.name not in restorer.samplers:
        fitting = " or ".join(restorer.samplers)
        raise InputError(f"restore/sampler/name: {sampler.name} does not draw images of this method; choose {fitting}.")

    def sample(low_dose: torch.Tensor | None, mr: torch.Tensor | None, corners: NDArray[np.int32], **more: torch.Tensor) -> torch.Tensor:
        seeds = [int(digest([sampler.seed, subject, corner.tolist()])[:15], 16) for corner in corners]
        return restorer.sample(low_dose, mr, sampler, [torch.Generator().manual_seed(seed) for seed in seeds], **more)

    return sample


@dataclass(frozen=True)
class Restored:
    """A subject restored on the working grid.

    Attributes:
        volume: Scaled, (x, y, z).
        parameters: What `prepared.json` says of the subject.
        slices: Which slices were restored; none for all.
        weights: What the weights were trained as.
        facts: What restoring cost, with what making its context did, and how.
    """

    volume: NDArray[np.float32]
    parameters: dict[str, Any]
    slices: Slices | None
    weights: Description
    facts: dict[str, Any]


def restore(
    prepared: str,
    pet: str,
    weights: str,
    settings: Mapping[str, Any],
    device: str,
    threads: int,
    out: Mapping[str, str],
    evaluated: Mapping[str, Any] | None = None,
    partial: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
    code: str = "",
    context: str | None = None,
    context_sidecar: str | None = None,
    acquisition: str | None = None,
) -> None:
    """Restore one subject with trained weights.

    What is not restored is the low dose to the last bit, and the sidecar says where and why: outside the working grid, and of a method that
    restores slices those without signal, which training leaves out, and those that are not asked for.

    Args:
        prepared: The subject's `prepared.json`; its volumes lie beside it.
        pet: The low-dose image itself, which gives grid and units; for PET made of MR alone the MR, which gives the grid.
        weights: `model.safetensors`.
        settings: The entry's `restore` block: `inputs`, `batch_size`, and where given `stride` (half a window when left out), `sampler`,
            `blend` and `slices`.
        device: `cpu` or `cuda`.
        threads: CPU threads.
        out: `image` (NIfTI) and `sidecar` (JSON, with the cost of the network and of this restoration, those of its context added). For a
            method that samples the operations are those of one evaluation of its network, and the sidecar names `sampler` and
            `sampling_steps`, the evaluations.
        evaluated: `slices` of the image that are evaluated and the `axis` that they are stacked along; none for all.
        partial: Folder where an interrupted restoration keeps its windows; none keeps nothing.
        checkpoint_seconds: Time between writes to it.
        code: Hash of the code: what other code kept is not gone on with.
        context: The subject's context, as `restore_context` writes it, for a method that takes one.
        context_sidecar: What is said of it.
        acquisition: The subject's `acquisition.json`, for a method that reconstructs.

    Raises:
        InputError: the weights were trained on windows, voxels or a scaling other than the subject was prepared with, the sampler
            does not fit the method, or another process restores the same.
    """
    image, subject = read_volume(pet), Path(pet).name.split("_")[0]
    given = (
        prepared,
        subject,
        weights,
        settings,
        device,
        threads,
        context,
        context_sidecar,
        acquisition,
        partial,
        checkpoint_seconds,
        code,
    )
    with _restored(*given, image, evaluated) as done:
        normalised = done.parameters["scaling"]["mode"] == "min_max"
        scale = 1.0 if normalised else done.parameters["scales"].get("standard_dose", done.parameters["scales"]["low_dose"])
        affine = np.asarray(done.parameters["affine"])
        restored, extent = put_back(done.volume * scale, affine, image, done.slices, settings.get("blend", BLEND))
        write_volume(out["image"], restored, like=image)
        write_json(
            out["sidecar"],
            {
                "Description": f"Restored by {done.weights.module}; a research result, not for diagnosis",
                **(
                    {"Units": "arbitrary", "Scale": "normalised: a PET image fills [0, 1]; no activity concentration"}
                    if normalised
                    else {"Units": str(read_sidecar(pet).get("Units", "n/a"))}
                ),
                "SkullStripped": False,
                "Sources": [Path(pet).name],
                **extent,
                **done.facts,
            },
        )


def restore_context(
    prepared: str,
    subject: str,
    weights: str,
    settings: Mapping[str, Any],
    device: str,
    threads: int,
    out: Mapping[str, str],
    context: str | None = None,
    context_sidecar: str | None = None,
    acquisition: str | None = None,
    partial: str | Path | None = None,
    checkpoint_seconds: float = 60.0,
    code: str = "",
) -> None:
    """Restore one subject as another method sees it: scaled as its low dose is, on the working grid, in 32-bit floats.

    Args:
        prepared: See `restore`, as all that is not named here.
        subject: Name of the subject, `sub-...`.
        weights: See `restore`.
        settings: See `restore`.
        device: See `restore`.
        threads: See `restore`.
        out: `volume` (`.npy`, memory-mapped by readers) and `sidecar` (JSON, with costs).
        context: The context of this one itself, for a method that takes one.
        context_sidecar: See `restore`.
        acquisition: See `restore`.
        partial: See `restore`.
        checkpoint_seconds: See `restore`.
        code: See `restore`.

    Raises:
        InputError: see `restore`.
    """
    given = (
        prepared,
        subject,
        weights,
        settings,
        device,
        threads,
        context,
        context_sidecar,
        acquisition,
        partial,
        checkpoint_seconds,
        code,
    )
    with _restored(*given) as done:
        with atomic(out["volume"]) as temporary, open(temporary, "wb") as file:
            np.save(file, done.volume)
        write_json(out["sidecar"], done.facts)


@contextmanager
def _restored(
    prepared: str,
    subject: str,
    weights: str,
    settings: Mapping[str, Any],
    device: str,
    threads: int,
    context: str | None,
    context_sidecar: str | None,
    acquisition: str | None,
    partial: str | Path | None,
    checkpoint_seconds: float,
    code: str,
    image: Image | None = None,
    evaluated: Mapping[str, Any] | None = None,
) -> Iterator[Restored]:
    """Restore a subject on the working grid; what is kept of an interrupted restoration is forgotten once the block has ended well."""
    torch.set_num_threads(threads)
    parameters = read_json(prepared)
    restorer, description = load_restorer(weights, device)
    _check_fit(description, parameters, weights, prepared)
    folder = Path(prepared).parent
    low_dose, mr = (open_array(folder / f"{kind}.npy") if kind in settings["inputs"] else None for kind in ("low_dose", "mr"))
    more = {} if context is None else {"context": open_array(context)}
    scan = None if acquisition is None else open_scan(acquisition)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    window = description.window
    sampler = Sampler(**settings["sampler"]) if "sampler" in settings else None
    slices = None if settings.get("slices", SLICES) == "all" else slices_of(parameters, folder, image, evaluated)
    identity: dict[str, Any] = {"weights": checksum(weights), "settings": settings, "prepared": parameters, "evaluated": evaluated}
    identity |= {"subject": subject, "device": device, "code": code}
    with resumable(partial, identity, (low_dose, mr, *more.values(), None if scan is None else scan.data), checkpoint_seconds) as progress:
        volume = stitch(
            restorer,
            low_dose,
            mr,
            window,
            settings.get("stride", half(window)),
            settings["batch_size"],
            device,
            sampler,
            subject,
            settings.get("blend", BLEND),
            slices,
            progress,
            more,
            placed_among(settings["inputs"]),
            scan,
        )
        # Taken before operations are counted, which forgoes fused attention and so takes more.
        spent = {"restore_seconds": progress.seconds, "restore_cpu_seconds": progress.cpu_seconds, "restore_peak_mb": peak_mb(device)}
        images, blanks = blank(settings["inputs"], spatial_shape(window), device)
        beside: dict[str, Any] = blanks | ({} if scan is None else {ACQUISITION: 0.0 * scan.windows([0], window[2]).to(device)})
        cost = complexity(restorer, images, **beside)
        facts = {
            "Weights": {
                "module": description.module,
                "dataset": description.dataset,
                "dose": description.dose,
                "fold": description.fold,
            },
            "RestoredWindows": progress.windows,
            **cost,
            **spent,
            "device": device_name(device),
            **({} if sampler is None else {"sampler": sampler.label, "sampling_steps": sampler.evaluations}),
        }
        if context_sidecar is not None:
            before = read_json(context_sidecar)
            facts |= {"Context": before["Weights"]} | together([before, facts])
        yield Restored(volume, parameters, slices, description, facts)


def slices_of(parameters: Mapping[str, Any], folder: Path, image: Image | None, evaluated: Mapping[str, Any] | None) -> Slices | None:
    """Which slices of a prepared subject are restored: those with signal, of the evaluated ones, or else of those listed for training."""
    axis = thin_axis(parameters["window"])
    if axis is None:
        return None
    wanted = parameters["slices"] if isinstance(parameters["slices"], list) else None
    if image is not None and evaluated is not None and evaluated["axis"] == axis:
        wanted = grid_slices(image, np.asarray(parameters["affine"]), axis, evaluated["slices"])
    low_dose = open_array(folder / "low_dose.npy") if "low_dose" in parameters["scales"] else None
    return slices_restored(low_dose, parameters["shape"], parameters["window"], parameters["empty_below"], wanted)


def _check_fit(description: Description, parameters: Mapping[str, Any], weights: str, prepared: str) -> None:
    found = {"window": parameters["window"], "scaling": UNSMOOTHED | parameters["scaling"]}
    trained = {"window": list(description.window), "scaling": UNSMOOTHED | description.preprocess["scaling"]}
    for key, value in trained.items():
        if found[key] != value:
            raise InputError(
                f"{weights}: was trained with {key} {value}, and {prepared} has {found[key]}; give the data set the {key} of its weights."
            )
    if not np.allclose(parameters["voxel_mm"], description.voxel_mm, rtol=0.01):
        raise InputError(
            f"{weights}: was trained on voxels of {description.voxel_mm} mm, and {prepared} has {parameters['voxel_mm']};"
            " give the data set preprocess/grid/voxel_mm."
        )

"""What a method makes of its inputs: held-out people restored with their own images, and with some of them swapped or taken away."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from petbench.data.nifti import Image, canonical, read_volume
from petbench.evaluation.definitions import RELIANCE
from petbench.evaluation.metrics import psnr
from petbench.evaluation.regions import brain_from_image, brain_from_labels
from petbench.evaluation.settings import Settings, selection
from petbench.evaluation.table import write_table
from petbench.files import open_array, read_json
from petbench.methods.diffusion import Sampler
from petbench.preprocess.grid import box_of, grid_of
from petbench.preprocess.places import placed_among
from petbench.preprocess.windows import half
from petbench.restoration.extent import BLEND, Slices, put_back
from petbench.restoration.restore import SLICES, slices_of, stitch
from petbench.restoration.weights import load_restorer

if TYPE_CHECKING:
    import pandas as pd

Volume = NDArray[np.float32]
Inputs = Mapping[str, Volume]
OWN = "own"


def measure_reliance(
    out: str | Path,
    *,
    dataset: str,
    dose: str,
    method: str,
    fold: str,
    subjects: Sequence[str],
    people: Sequence[str],
    weights: str,
    prepared: Sequence[str],
    others: Sequence[str],
    low_dose: Sequence[str],
    standard_dose: Sequence[str],
    labels: Sequence[str] | None = None,
    restoring: Mapping[str, Any],
    grid: Mapping[str, Any],
    settings: Settings,
    device: str,
    threads: int,
) -> "pd.DataFrame":
    """Restore a fold's subjects with own and with swapped images, measure each as `evaluate` would, and write the long table.

    Args:
        out: The TSV to write, see `petbench.evaluation.table`; of a method that is not given an input, what swapping it does is NaN.
        dataset: Data set, dose, method and fold, as in the table.
        dose: See `dataset`.
        method: See `dataset`.
        fold: See `dataset`.
        subjects: Names; every other list has one entry a subject, in this order.
        people: The person that each subject shows.
        weights: `model.safetensors` that saw none of them.
        prepared: `prepared.json` of each subject.
        others: `prepared.json` of the other person whose images stand in for its own.
        low_dose: The low-dose image itself, which gives grid and units.
        standard_dose: NIfTI of the standard dose, on the same grid, as are `labels`.
        labels: NIfTI label maps of phantoms; the brain is taken from them.
        restoring: The method's `restore` block. Samplers draw the noise that they restore the subject with, so that it makes no difference.
        grid: The working grid, whose voxels are measured.
        settings: The choices of the data set entry.
        device: `cpu` or `cuda`.
        threads: CPU threads.

    Returns:
        The table written.
    """
    import pandas as pd

    torch.set_num_threads(threads)
    restorer, description = load_restorer(weights, device)
    sampler = Sampler(**restoring["sampler"]) if "sampler" in restoring else None
    window, blend, rows = description.window, restoring.get("blend", BLEND), []
    placed = placed_among(restoring["inputs"])
    kinds = [kind for kind in restoring["inputs"] if kind not in placed]
    evaluated = None if settings.slices is None else {"slices": settings.slices, "axis": settings.slice_axis}
    for place, subject in enumerate(subjects):
        own, other = (_inputs(path, kinds) for path in (prepared[place], others[place]))
        parameters, onto = read_json(prepared[place]), canonical(read_volume(low_dose[place]))
        scale, affine = parameters["scales"]["standard_dose"], np.asarray(parameters["affine"])
        whole = restoring.get("slices", SLICES) == "all"
        slices = None if whole else slices_of(parameters, Path(prepared[place]).parent, onto, evaluated)

        def restored(low_dose: Volume | None, mr: Volume | None, subject: str = subject, slices: Slices | None = slices) -> Volume:
            return stitch(
                restorer,
                low_dose,
                mr,
                window,
                restoring.get("stride", half(window)),
                restoring["batch_size"],
                device,
                sampler,
                f"sub-{subject}",
                blend,
                slices,
                placed=placed,
            )

        made = swapped(restored, own, other)
        images = {case: put_back(volume * scale, affine, onto, slices, blend)[0] for case, volume in made.items()}
        reference = canonical(read_volume(standard_dose[place]))
        seen = replace(settings, box=box_of(reference, *grid_of(reference, grid)))
        for region, (masked, target, mask) in _regions(images, reference, labels[place] if labels else None, seen).items():
            values = relied_on(masked, target, mask)
            rows += [(subject, people[place], region, name, values.get(name, math.nan)) for name in RELIANCE]
    table = pd.DataFrame(rows, columns=["subject", "person", "region", "metric", "value"]).assign(
        dataset=dataset, dose=dose, method=method, fold=fold, reference="standard_dose"
    )
    write_table(out, table)
    return table


def swapped(restore: Callable[[Volume | None, Volume | None], Volume], own: Inputs, other: Inputs) -> dict[str, Volume]:
    """What a method makes of a subject's images, and of each swap that concerns an input of it.

    Args:
        restore: Restores a low dose and an MR; what the method is not given is None.
        own: `low_dose` and `mr` of the subject, as far as the method is given them.
        other: The same of another person.

    Returns:
        Restored volumes: `own`; with an MR `other_mr` and `no_mr` (zeros); with a low dose `other_pet`.
    """
    low_dose, mr = own.get("low_dose"), own.get("mr")
    made = {OWN: restore(low_dose, mr)}
    if mr is not None:
        made |= {"other_mr": restore(low_dose, other["mr"]), "no_mr": restore(low_dose, np.zeros_like(mr))}
    if low_dose is not None:
        made["other_pet"] = restore(other["low_dose"], mr)
    return made


def relied_on(images: Mapping[str, NDArray[Any]], reference: NDArray[Any], mask: NDArray[np.bool_] | None) -> dict[str, float]:
    """PSNR of each case, the loss of PSNR against the subject's own images, and the change of the output over its root mean square.

    Args:
        images: Restored images by case, see `swapped`.
        reference: The standard dose, of the same shape and units.
        mask: Region, or None for every voxel.
    """
    own = images[OWN] if mask is None else images[OWN][mask]
    values = {f"psnr_{case}": psnr(image, reference, mask) for case, image in images.items()}
    for case in images.keys() - {OWN}:
        change = (images[case] if mask is None else images[case][mask]) - own
        values[f"loss_{case}"] = values["psnr_own"] - values[f"psnr_{case}"]
        values[f"change_{case}"] = float(np.linalg.norm(change.astype(np.float64)) / np.linalg.norm(own.astype(np.float64)))
    return values


def _inputs(prepared: str, kinds: Sequence[str]) -> dict[str, Volume]:
    return {kind: open_array(Path(prepared).parent / f"{kind}.npy") for kind in kinds}


def _regions(
    images: Mapping[str, Volume], reference: Image, labels: str | None, settings: Settings
) -> dict[str, tuple[dict[str, Volume], Volume, NDArray[np.bool_] | None]]:
    """By region what is measured: restored images, reference and mask, cut to the part that is evaluated."""
    target = reference.get_fdata(dtype=np.float32)
    if labels is None:
        brain = brain_from_image(target, settings.mask_threshold)
    else:
        brain = brain_from_labels(np.rint(canonical(read_volume(labels)).get_fdata(dtype=np.float32)).astype(np.int32))
    part = selection(settings, target.shape)
    cut = {case: image[part] for case, image in images.items()}
    return {"whole": (cut, target[part], None), "brain": (cut, target[part], brain[part])}

"""From restored images to the long-format metrics table of one dataset, dose and method."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.lesions import Lesion
from petbench.data.nifti import Image, canonical, read_volume, voxel_mm
from petbench.data.phantom_files import read_truth
from petbench.errors import InputError
from petbench.evaluation import metrics
from petbench.evaluation.definitions import COSTS, FRAME, LESION_REGIONS, STANDARD_ROW
from petbench.evaluation.quantification import LesionResult, lesion_results, regional_bias
from petbench.evaluation.regions import brain_from_image, brain_from_labels, tissue_masks
from petbench.evaluation.settings import Settings, selection
from petbench.evaluation.table import COLUMNS, write_table
from petbench.files import read_json
from petbench.preprocess.grid import box_of, grid_of

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[Any]
Mask = NDArray[np.bool_]
Row = tuple[str, str, str, float]

NOT_APPLICABLE = "n/a"


@dataclass(frozen=True)
class GroundTruth:
    """What a phantom knows of a subject, on the grid of its PET.

    Attributes:
        activity: True activity (x, y, z), Bq/ml.
        labels: Label map, see `petbench.evaluation.regions`.
        lesions: Its lesions.
    """

    activity: Array
    labels: Array
    lesions: Sequence[Lesion] = ()


def evaluate_subject(
    estimate: Array,
    standard_dose: Array,
    brain: Mask,
    voxel_mm: Array,
    truth: GroundTruth | None = None,
    settings: Settings | None = None,
) -> "pd.DataFrame":
    """Measure one restored image.

    Args:
        estimate: Restored image (x, y, z), in the units of the standard dose.
        standard_dose: The image the methods were to restore.
        brain: Region of that name, see `petbench.evaluation.regions`.
        voxel_mm: Voxel edge lengths.
        truth: What the phantom knows, if the subject is one.
        settings: The choices of the experiment.

    Returns:
        Rows with columns reference, region, metric, value.

    Raises:
        InputError: arrays do not match, hold values that are not finite, or leave nothing to measure.
    """
    import pandas as pd

    settings = settings or Settings()
    maps = {"estimate": estimate, "brain": brain} | ({"activity": truth.activity, "labels": truth.labels} if truth else {})
    for name, array in maps.items():
        if array.shape != standard_dose.shape:
            raise InputError(f"{name}: shape {array.shape} differs from the standard dose's {standard_dose.shape}; put it on that grid.")
    part = selection(settings, standard_dose.shape)
    regions = {"whole": None, "brain": brain[part]}
    references = {"standard_dose": standard_dose} | ({"true_activity": truth.activity} if truth else {})
    rows: list[Row] = []
    for reference, image in references.items():
        for region, mask in regions.items():
            rows += [(reference, region, name, value) for name, value in _similarity(estimate[part], image[part], mask, settings).items()]
        rows += [(reference, FRAME, name, value) for name, value in _of_frames(estimate[part], image[part], settings).items()]
    if truth:
        inside = np.zeros(standard_dose.shape, dtype=bool)
        inside[part] = True
        rows += [("true_activity", *row) for row in _quantification(estimate, truth, voxel_mm, inside, settings)]
    return pd.DataFrame(rows, columns=["reference", "region", "metric", "value"])


def evaluate(
    out: str | Path,
    *,
    dataset: str,
    dose: str,
    method: str,
    subjects: Sequence[str],
    folds: Sequence[str | int],
    people: Sequence[str] | None = None,
    restored: Sequence[str | Path],
    standard_dose: Sequence[str | Path],
    activity: Sequence[str | Path] | None = None,
    labels: Sequence[str | Path] | None = None,
    truth: Sequence[str | Path] | None = None,
    restore_costs: Sequence[str | Path] | None = None,
    train_costs: Sequence[str | Path] = (),
    grid: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
) -> "pd.DataFrame":
    """Measure every subject one method restored and write the long table.

    Args:
        out: The TSV to write, see `petbench.evaluation.table`.
        dataset: Name of the dataset entry.
        dose: Name of the low dose.
        method: Name of the method entry, `low_dose`, or `standard_dose`, whose metrics against itself are n/a.
        subjects: Names; every other list has one entry a subject, in this order.
        folds: The fold that left the subject out.
        people: The person each subject shows; None where each shows one of its own.
        restored: NIfTI restored by the method.
        standard_dose: NIfTI of the standard dose, on the same grid, as all that follow.
        activity: NIfTI of the true activity (phantoms; needs `labels`).
        labels: NIfTI label maps; the brain is taken from them.
        truth: JSON that `petbench.data.phantom_files.write_phantom_subject` wrote, with its lesions (phantoms).
        restore_costs: JSON with the costs of restoring the subject, see `petbench.evaluation.definitions.COSTS`.
        train_costs: JSON with the costs of each training, `fold-<fold>/*.json`. Several of one fold, such as the members of an ensemble,
            add up; of their peak memories the largest counts.
        grid: The working grid (see `petbench.preprocess.grid.grid_of`), whose voxels are evaluated; None for all.
        settings: The choices of the data set entry.

    Returns:
        The table written.

    Raises:
        InputError: lists differ in length, a file cannot be read, grids differ, or a subject cannot be measured.
    """
    import pandas as pd

    settings = settings or Settings()
    files: dict[str, Sequence[Any] | None] = {
        "folds": folds,
        "people": people,
        "restored": restored,
        "standard_dose": standard_dose,
        "activity": activity,
        "labels": labels,
        "truth": truth,
        "restore_costs": restore_costs,
    }
    for name, entries in files.items():
        if entries is not None and len(entries) != len(subjects):
            raise InputError(f"evaluate.{name}: has {len(entries)} entries for {len(subjects)} subjects; give one a subject.")
    tables: list[pd.DataFrame] = []
    for position, subject in enumerate(subjects):
        given = {name: entries[position] for name, entries in files.items() if entries is not None}
        table = _measure_files(given, settings, grid)
        if "restore_costs" in given:
            table = pd.concat([table, _costs(given["restore_costs"])], ignore_index=True)
        tables.append(table.assign(fold=str(given["folds"]), subject=subject, person=given.get("people", subject)))
    if train_costs:
        # Weights trained on a whole set serve every fold: one training, named once a fold.
        unique = dict.fromkeys(str(path) for path in train_costs)
        trained = pd.concat([_costs(path).assign(fold=Path(path).parent.name.removeprefix("fold-")) for path in unique])
        by_fold = trained.groupby(["fold", "reference", "region", "metric"], sort=False, as_index=False)["value"]
        total = by_fold.sum(min_count=1)
        tables.append(
            total.where(~total["metric"].str.endswith("_peak_mb"), by_fold.max()).assign(subject=NOT_APPLICABLE, person=NOT_APPLICABLE)
        )
    if not subjects:
        raise InputError("evaluate/subjects: is empty; name at least one subject.")
    table = pd.concat(tables, ignore_index=True).assign(dataset=dataset, dose=dose, method=method)[list(COLUMNS)]
    if method == STANDARD_ROW:  # how like itself an image is says nothing
        table.loc[table["reference"] == "standard_dose", "value"] = math.nan
    write_table(out, table)
    return table


def _measure_files(given: Mapping[str, Any], settings: Settings, grid: Mapping[str, Any] | None) -> "pd.DataFrame":
    """Read one subject's files and measure them; an error names the restored file."""
    kinds = [kind for kind in ("restored", "standard_dose", "activity", "labels") if kind in given]
    images: dict[str, Any] = {kind: canonical(read_volume(given[kind])) for kind in kinds}
    for name, image in images.items():
        _same_grid(given[name], image, given["standard_dose"], images["standard_dose"])
    arrays: dict[str, Array] = {name: image.get_fdata(dtype=np.float32) for name, image in images.items()}
    if "labels" in arrays:
        arrays["labels"] = np.rint(arrays["labels"]).astype(np.int32)
    elif "activity" in arrays:
        raise InputError(f"{given['activity']}: a true activity came without its label map; give labels too.")
    standard_dose = images["standard_dose"]
    if grid is not None:
        settings = replace(settings, box=box_of(standard_dose, *grid_of(standard_dose, grid)))
    known = None
    if "activity" in arrays:
        known = GroundTruth(arrays["activity"], arrays["labels"], read_truth(given["truth"]).lesions if "truth" in given else ())
    try:
        if "labels" in arrays:
            brain = brain_from_labels(arrays["labels"])
        else:  # a tracer of the brain leaves the scalp dark, which an MR does not
            brain = brain_from_image(arrays["standard_dose"], settings.mask_threshold)
        return evaluate_subject(arrays["restored"], arrays["standard_dose"], brain, voxel_mm(images["standard_dose"]), known, settings)
    except InputError as error:
        raise InputError(f"{given['restored']}: {error}") from None


def _similarity(estimate: Array, reference: Array, mask: Mask | None, settings: Settings) -> dict[str, float]:
    slicing: dict[str, Any] = {"axis": settings.slice_axis, "threshold": settings.slice_threshold}
    ranged = slicing | {"data_range": "slice" if settings.slice_range == "slice" else None}
    by_slice, used = metrics.slice_psnr(estimate, reference, mask, **ranged)
    return {
        "psnr": metrics.psnr(estimate, reference, mask),
        "ssim": metrics.ssim(estimate, reference, mask) if settings.contiguous else math.nan,
        "nmse": metrics.nmse(estimate, reference, mask),
        "mae": metrics.mae(estimate, reference, mask),
        "slice_psnr": by_slice,
        "slice_ssim": metrics.slice_ssim(estimate, reference, mask, **ranged)[0],
        "slice_nmse": metrics.slice_nmse(estimate, reference, mask, **slicing)[0],
        "lpips": _lpips(estimate, reference, mask, settings),
        "slices": used,
        "slices_left_out": reference.shape[settings.slice_axis] - used,
    }


def _of_frames(estimate: Array, reference: Array, settings: Settings) -> dict[str, float]:
    """What M2Diff's authors measure; see docs/metrics.md."""
    frames = metrics.frame_slices(estimate, reference, settings.slice_axis, settings.frame_threshold, settings.frame_object_share)
    distance = math.nan
    if settings.lpips is not None:
        from petbench.evaluation.perceptual import frame_lpips, load_lpips

        distance = frame_lpips(load_lpips(*settings.lpips), frames)
    return metrics.frame_metrics(frames) | {"frame_lpips": distance}


def _lpips(estimate: Array, reference: Array, mask: Mask | None, settings: Settings) -> float:
    if settings.lpips is None:
        return math.nan
    from petbench.evaluation.perceptual import load_lpips, slice_lpips

    peak = metrics.reference_maximum(reference, mask)
    used = metrics.used_slices(reference, mask, settings.slice_axis, settings.slice_threshold)
    return slice_lpips(load_lpips(*settings.lpips), estimate, reference, mask, used, settings.slice_axis, peak)


def _quantification(estimate: Array, truth: GroundTruth, voxel_mm: Array, inside: Mask, settings: Settings) -> list[tuple[str, str, float]]:
    rows = []
    for tissue, mask in tissue_masks(np.where(inside, truth.labels, 0)).items():
        rows.append((tissue, "bias", regional_bias(estimate, truth.activity, mask)))
    results = lesion_results(estimate, truth.activity, truth.labels, truth.lesions, voxel_mm, settings.lesions, inside)
    for result in results:
        region = f"lesion-{result.label}"
        if result.kind == "mr_only":
            rows.append((region, "bias", result.bias))
            rows.append((region, "false_contrast", result.false_contrast))
        else:
            rows.append((region, "recovery", result.recovery))
            rows.append((region, "contrast_recovery", result.contrast_recovery))
    for region in LESION_REGIONS:
        kind = region.removesuffix("_lesions")
        several = [result for result in results if result.kind == kind or (region == "lesions" and result.kind != "mr_only")]
        rows += _lesion_means(region, ["bias", "false_contrast"] if kind == "mr_only" else ["contrast_recovery"], several)
    return rows


def _lesion_means(region: str, quantities: Sequence[str], results: Sequence[LesionResult]) -> list[tuple[str, str, float]]:
    """A subject's mean over lesions, the value that statistics on subjects need, and how many the last quantity takes in."""
    if not results:
        return []
    rows = []
    for quantity in quantities:
        values = [value for value in (getattr(result, quantity) for result in results) if not math.isnan(value)]
        rows.append((region, quantity, float(np.mean(values)) if values else math.nan))
    return [*rows, (region, "lesions_used", len(values)), (region, "lesions_left_out", len(results) - len(values))]


def _same_grid(path: str | Path, image: Image, reference_path: str | Path, reference: Image) -> None:
    if image.shape != reference.shape:
        raise InputError(f"{path}: shape {image.shape} differs from {reference.shape} of {reference_path}; resample it to that grid.")
    # A thousandth of a millimetre: headers hold float32.
    if not np.allclose(image.affine, reference.affine, rtol=0, atol=1e-3):
        raise InputError(f"{path}: its affine differs from that of {reference_path}; resample it to that grid.")


def _costs(path: str | Path) -> "pd.DataFrame":
    import pandas as pd

    content = read_json(path)
    found = {name: content[name] for name in COSTS if isinstance(content, dict) and name in content}
    if not found:
        raise InputError(f"{path}: holds no cost; it needs one of {', '.join(COSTS)}.")
    for name, value in found.items():
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise InputError(f"{path}: {name} is {value!r}, not a number; write a number, or null where it was not measured.")
    rows = [(NOT_APPLICABLE, NOT_APPLICABLE, name, math.nan if value is None else float(value)) for name, value in found.items()]
    return pd.DataFrame(rows, columns=["reference", "region", "metric", "value"])

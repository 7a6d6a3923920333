"""What every number in a table means: one entry a metric, printed on the report page and checked against docs/metrics.md."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "zero", "one", "none"]


@dataclass(frozen=True)
class Metric:
    """One column of a results table.

    Attributes:
        name: Key in the `metric` column of the long table.
        title: Heading in a printed table.
        definition: One sentence.
        better: The direction, or the value, a good method moves towards; "none" for counts.
        format: Python format specification of a printed value.
        unit: Unit of the value, empty when it has none.
        regions: Regions that a subject's value is measured in, and that an experiment may name.
        truth: Whether it is measured against the true activity alone, which only phantoms have.
    """

    name: str
    title: str
    definition: str
    better: Better
    format: str
    unit: str = ""
    regions: tuple[str, ...] = ("whole", "brain")
    truth: bool = False


FRAME = "frame"
"""Region of metrics that choose their own part of each slice, whatever region an experiment names."""
LESION_REGIONS = ("lesions", "pet_only_lesions", "shared_lesions", "mr_only_lesions")
"""A subject's means over its lesions: all that PET shows, and each kind."""

_METRICS = (
    Metric(
        "psnr",
        "PSNR",
        "10 log10(R^2 / MSE) over the region's voxels, R the maximum of the unnormalised reference in the region.",
        "higher",
        ".2f",
        "dB",
    ),
    Metric(
        "ssim",
        "SSIM",
        "Mean over the region of the 3D structural similarity map, Gaussian window of sigma 1.5 voxels, same R as PSNR.",
        "higher",
        ".4f",
    ),
    Metric("nmse", "NMSE", "Sum of squared differences over sum of squared reference values in the region.", "lower", ".4f"),
    Metric("mae", "MAE", "Mean absolute difference over the region's voxels, in the units of the images.", "lower", ".4g", "image units"),
    Metric(
        "slice_psnr", "PSNR (slices)", "PSNR of each 2D slice that is not empty, averaged over a subject's slices.", "higher", ".2f", "dB"
    ),
    Metric(
        "slice_ssim",
        "SSIM (slices)",
        "2D structural similarity of each slice that is not empty, averaged over a subject's slices.",
        "higher",
        ".4f",
    ),
    Metric("slice_nmse", "NMSE (slices)", "NMSE of each 2D slice that is not empty, averaged over a subject's slices.", "lower", ".4f"),
    Metric(
        "slices",
        "Slices used",
        "Number of slices the slice-wise metrics average; slices with an empty reference are left out.",
        "none",
        ".0f",
    ),
    Metric("slices_left_out", "Slices left out", "Number of slices left out of the slice-wise metrics as empty.", "none", ".0f"),
    Metric(
        "lpips",
        "LPIPS",
        "Learned perceptual distance (AlexNet) of each slice that is not empty, averaged over a subject's slices.",
        "lower",
        ".4f",
    ),
    Metric(
        "frame_psnr",
        "PSNR (frame)",
        "PSNR of each slice as M2Diff's authors take it: over the whole frame, zero outside the head, R the slice's own range; "
        "averaged over a subject's slices that hold a head.",
        "higher",
        ".2f",
        "dB",
        (FRAME,),
    ),
    Metric(
        "frame_ssim",
        "SSIM (frame)",
        "2D structural similarity of each slice, over the same frame and with the same R, averaged over the same slices.",
        "higher",
        ".4f",
        regions=(FRAME,),
    ),
    Metric(
        "frame_nmse",
        "NMSE (frame)",
        "NMSE of each slice inside that head, averaged over the same slices.",
        "lower",
        ".4f",
        regions=(FRAME,),
    ),
    Metric(
        "frame_lpips",
        "LPIPS (frame)",
        "Learned perceptual distance (AlexNet) of each such frame in [0, 1], averaged over the same slices.",
        "lower",
        ".4f",
        regions=(FRAME,),
    ),
    Metric("frame_slices", "Slices used (frame)", "Number of slices that hold a head.", "none", ".0f", regions=(FRAME,)),
    Metric(
        "bias",
        "Bias",
        "Mean restored over mean true activity in the region, minus one; for MR-only lesions, uptake that MR alone put there.",
        "zero",
        "+.3f",
        regions=("csf", "grey", "white", "mr_only_lesions"),
        truth=True,
    ),
    Metric("recovery", "Recovery", "Mean restored over mean true activity in a lesion of the PET.", "one", ".3f", regions=(), truth=True),
    Metric(
        "contrast_recovery",
        "Contrast recovery",
        "Lesion-to-background contrast (L/B - 1) of the restored image over that of the true activity; "
        "the background is a shell of the same tissue around the lesion.",
        "one",
        ".3f",
        regions=LESION_REGIONS[:3],
        truth=True,
    ),
    Metric(
        "false_contrast",
        "False contrast",
        "Lesion-to-background ratio (L/B) of the restored image over that of the true activity, minus one, where only the MR has a lesion.",
        "zero",
        "+.3f",
        regions=LESION_REGIONS[3:],
        truth=True,
    ),
    Metric(
        "lesions_used",
        "Lesions used",
        "Number of lesions that a subject's mean over lesions takes in.",
        "none",
        ".0f",
        regions=LESION_REGIONS,
        truth=True,
    ),
    Metric(
        "lesions_left_out",
        "Lesions left out",
        "Number of lesions left out: hardly any true contrast, no background tissue near, or outside the evaluated part.",
        "none",
        ".0f",
        regions=LESION_REGIONS,
        truth=True,
    ),
    Metric("psnr_own", "PSNR, own", "PSNR of what a method makes of a subject's own PET and MR.", "higher", ".2f", "dB"),
    Metric("psnr_other_mr", "PSNR, other MR", "PSNR of what it makes of the subject's PET and another subject's MR.", "none", ".2f", "dB"),
    Metric("psnr_no_mr", "PSNR, no MR", "PSNR of what it makes of the subject's PET and an MR of zeros.", "none", ".2f", "dB"),
    Metric("psnr_other_pet", "PSNR, other PET", "PSNR of what it makes of another subject's PET and the own MR.", "none", ".2f", "dB"),
    Metric("loss_other_mr", "Loss, other MR", "PSNR with the own MR minus that with another subject's.", "none", "+.3f", "dB"),
    Metric("loss_no_mr", "Loss, no MR", "PSNR with the own MR minus that with an MR of zeros.", "none", "+.3f", "dB"),
    Metric("loss_other_pet", "Loss, other PET", "PSNR with the own PET minus that with another subject's.", "none", "+.3f", "dB"),
    Metric(
        "change_other_mr",
        "Change, other MR",
        "Root mean square of what another subject's MR changes in the output, over that of the output.",
        "none",
        ".2e",
    ),
    Metric(
        "change_no_mr",
        "Change, no MR",
        "Root mean square of what an MR of zeros changes in the output, over that of the output.",
        "none",
        ".2e",
    ),
    Metric(
        "change_other_pet",
        "Change, other PET",
        "Root mean square of what another subject's PET changes in the output, over that of the output.",
        "none",
        ".2e",
    ),
    Metric("accuracy", "ACC", "Share of people put into their own group, at a score of one half.", "higher", ".3f"),
    Metric("precision", "Precision", "Share of patients among those called patients.", "higher", ".3f"),
    Metric("specificity", "SPE", "Share of controls called controls.", "higher", ".3f"),
    Metric("sensitivity", "SEN", "Share of patients called patients.", "higher", ".3f"),
    Metric("f1", "F1", "Harmonic mean of precision and sensitivity.", "higher", ".3f"),
    Metric(
        "auc",
        "AUC",
        "Probability that a patient scores higher than a control, ties counted half: the area under the ROC curve.",
        "higher",
        ".3f",
    ),
    Metric("auc_gain", "AUC gain", "AUC minus that of MR alone on the same people.", "higher", "+.3f"),
    Metric(
        "rank",
        "Rank",
        "Place among the methods by a leaderboard's mean over people; in brackets the places that 95 % of samples of people give.",
        "lower",
        ".3g",
    ),
    Metric("parameters", "Parameters", "Number of trained parameters that restoring reads.", "lower", ",.0f"),
    Metric(
        "gmac_modules",
        "GMAC (modules)",
        "10^9 multiply-accumulates of convolution and linear modules, as thop counts: no attention products, no functional convolutions.",
        "lower",
        ".3f",
        "GMAC",
    ),
    Metric(
        "gflop",
        "GFLOP",
        "10^9 floating-point operations, two a multiply-accumulate, of all matrix products with attention.",
        "lower",
        ".3f",
        "GFLOP",
    ),
    Metric("train_seconds", "Training, wall", "Wall time to train one fold.", "lower", ",.0f", "s"),
    Metric("train_cpu_seconds", "Training, processor", "Processor time to train one fold, over all cores.", "lower", ",.0f", "s"),
    Metric("epoch_seconds", "Epoch", "Wall time to train on every window of a fold's training subjects once.", "lower", ",.0f", "s"),
    Metric("train_peak_mb", "Training memory", "Peak memory while training one fold.", "lower", ",.0f", "MB"),
    Metric("restore_seconds", "Restoring, wall", "Wall time to restore one subject.", "lower", ",.1f", "s"),
    Metric("restore_cpu_seconds", "Restoring, processor", "Processor time to restore one subject, over all cores.", "lower", ",.1f", "s"),
    Metric("sampling_steps", "Sampling steps", "Evaluations of the network for one window or slice.", "none", ".0f"),
    Metric("restore_peak_mb", "Restoring memory", "Peak memory while restoring one subject.", "lower", ",.0f", "MB"),
)

DEFINITIONS: dict[str, Metric] = {metric.name: metric for metric in _METRICS}

COSTS = (
    "parameters",
    "gmac_modules",
    "gflop",
    "train_seconds",
    "train_cpu_seconds",
    "epoch_seconds",
    "train_peak_mb",
    "restore_seconds",
    "restore_cpu_seconds",
    "sampling_steps",
    "restore_peak_mb",
)

DIAGNOSTIC = ("accuracy", "precision", "specificity", "sensitivity", "f1", "auc", "auc_gain")
"""What tells how well two groups of people are told apart."""
RELIANCE = tuple(name for name in DEFINITIONS if name.startswith(("psnr_", "loss_", "change_")))
"""What tells how much a method relies on each of its inputs."""
RANK = "rank"
"""A method's place in a leaderboard, which is worked out from another metric."""
TRIVIAL = ("gaussian", "nlm", "mean_pet")
"""Modules of methods without a network, which every trained one must beat."""
STUDIES = ("diagnosis", "roc")
"""Kinds of experiments on that."""
MR_ALONE, REAL_PET = "mr", "real_pet"
"""Their rows that are no method: MR alone, and MR with the subject's own PET."""
OF_TRAINING = (*(name for name in COSTS if name.startswith("train_")), "epoch_seconds")
"""Costs of a training, one a fold; the others are of restoring, one a subject, or of the network itself."""
TIMED = tuple(name for name in COSTS if name.endswith(("_seconds", "_peak_mb")))
"""Costs that depend on the device."""

VIEWS = {"sagittal": 0, "coronal": 1, "axial": 2}
"""Planes that are shown, and the axis of a volume that each looks along."""
STANDARD_ROW = "standard_dose"
"""The row of a table that is the standard dose itself: what it recovers and shows of lesions, blurred and noisy as it is."""
REGIONS = tuple(dict.fromkeys(region for metric in _METRICS for region in metric.regions if region != FRAME))
"""Regions that an experiment or a column of it can name: of similarity, and of quantities that tissues and lesions have of their own."""


def shown_in(names: Iterable[str], region: str) -> list[str]:
    """Those of some metrics that a column shows in its region: measured there, or in a part of each slice that they choose themselves."""
    return [name for name in names if region in DEFINITIONS[name].regions or DEFINITIONS[name].regions == (FRAME,)]


def measured_in(name: str, region: str) -> str:
    """The region whose value a column of a region shows of a metric."""
    return FRAME if DEFINITIONS[name].regions == (FRAME,) else region

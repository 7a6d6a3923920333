"""What every number in a table means: one entry a metric, printed on the report page and checked against docs/metrics.md."""

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
    """

    name: str
    title: str
    definition: str
    better: Better
    format: str
    unit: str = ""


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
        "bias",
        "Bias",
        "Mean restored over mean true activity in the region, minus one; for MR-only lesions, uptake that MR alone put there.",
        "zero",
        "+.3f",
    ),
    Metric("recovery", "Recovery", "Mean restored over mean true activity in a lesion of the PET.", "one", ".3f"),
    Metric(
        "contrast_recovery",
        "Contrast recovery",
        "Lesion-to-background contrast (L/B - 1) of the restored image over that of the true activity; "
        "the background is a shell of the same tissue around the lesion.",
        "one",
        ".3f",
    ),
    Metric("lesions_used", "Lesions used", "Number of lesions that a subject's mean over lesions takes in.", "none", ".0f"),
    Metric(
        "lesions_left_out",
        "Lesions left out",
        "Number of lesions left out: hardly any true contrast, no background tissue near, or outside the evaluated part.",
        "none",
        ".0f",
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
    Metric("parameters", "Parameters", "Number of trained parameters that restoring reads.", "lower", ",.0f"),
    Metric(
        "gmac_modules",
        "GMAC (modules)",
        "10^9 multiply-accumulates of convolution and linear modules, as thop counts: no attention products, no functional convolutions.",
        "lower",
        ".2f",
        "GMAC",
    ),
    Metric(
        "gflop",
        "GFLOP",
        "10^9 floating-point operations, two a multiply-accumulate, of all matrix products with attention.",
        "lower",
        ".2f",
        "GFLOP",
    ),
    Metric("train_seconds", "Training time", "Wall time to train one fold.", "lower", ",.0f", "s"),
    Metric("epoch_seconds", "Epoch", "Wall time to train on every window of a fold's training subjects once.", "lower", ",.0f", "s"),
    Metric("train_peak_mb", "Training memory", "Peak memory while training one fold.", "lower", ",.0f", "MB"),
    Metric("restore_seconds", "Restoring time", "Wall time to restore one subject.", "lower", ",.1f", "s"),
    Metric("sampling_steps", "Sampling steps", "Evaluations of the network for one window or slice.", "none", ".0f"),
    Metric("restore_peak_mb", "Restoring memory", "Peak memory while restoring one subject.", "lower", ",.0f", "MB"),
)

DEFINITIONS: dict[str, Metric] = {metric.name: metric for metric in _METRICS}

COSTS = (
    "parameters",
    "gmac_modules",
    "gflop",
    "train_seconds",
    "epoch_seconds",
    "train_peak_mb",
    "restore_seconds",
    "sampling_steps",
    "restore_peak_mb",
)

DIAGNOSTIC = ("accuracy", "precision", "specificity", "sensitivity", "f1", "auc", "auc_gain")
"""What tells how well two groups of people are told apart."""
RELIANCE = tuple(name for name in DEFINITIONS if name.startswith(("psnr_", "loss_", "change_")))
"""What tells how much a method relies on each of its inputs."""
TRIVIAL = ("gaussian", "nlm", "mean_pet")
"""Modules of methods without a network, which every trained one must beat."""
STUDIES = ("diagnosis", "roc")
"""Kinds of experiments on that."""
MR_ALONE, REAL_PET = "mr", "real_pet"
"""Their rows that are no method: MR alone, and MR with the subject's own PET."""
TIMED = ("train_seconds", "epoch_seconds", "train_peak_mb", "restore_seconds", "restore_peak_mb")
"""Costs that depend on the device."""

REGIONS = ("whole", "brain")
"""Regions that similarity is measured in; tissues and lesions have quantities of their own."""

"""A made-up study: two doses, three methods, seven phantoms' worth of numbers and two small heads."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from made_up import ABLATIONS, FILTERS, METHODS, RATIOS, ROOT, experiment, long_rows, title_of, write_truth

from petbench.data.nifti import volume, write_volume
from petbench.report.figures import panels
from petbench.report.page import History, Picture, ReportContent
from petbench.report.published import read_papers, read_published
from petbench.report.tables import build_table
from petbench.report.viewer import ViewerSubject


@pytest.fixture(scope="session")
def metrics() -> pd.DataFrame:
    """Plausible numbers: later methods better, 25 % of the dose better than 4 %, seven subjects."""
    rng = np.random.default_rng(4)
    rows = []
    methods = (*METHODS, *FILTERS, *ABLATIONS, *(f"mak_gan-{ratio}" for ratio in RATIOS))
    comparators = [method for method in experiment("mak_gan_table1")["rows"] if method not in methods]
    subjects = 7
    for dose, base in (("drf4", 24.0), ("drf25", 21.0)):
        ease = rng.normal(0, 0.8, subjects)
        for rank, method in enumerate((*methods, *comparators)):
            gain = {"low_dose": 0.0, "m_unet": 2.2, "mak_gan": 3.1, **FILTERS, **dict.fromkeys(comparators, 1.9)}.get(
                method, 2.0 + 0.1 * rank
            )
            for reference, shift in (("standard_dose", 0.0), ("true_activity", -4.0)):
                psnr = base + gain + shift + ease + rng.normal(0, 0.15, subjects)
                for region, peak in (("whole", 20.0), ("brain", 8.0)):
                    rows += long_rows("mni", dose, method, "psnr", psnr, reference, region)
                    rows += long_rows("mni", dose, method, "ssim", 1 - 0.6 / psnr, reference, region)
                    rows += long_rows("mni", dose, method, "nmse", 10 ** (-psnr / 10) * peak, reference, region)
            if method in METHODS:
                for region, bias in (("grey", -0.08), ("white", 0.12), ("csf", 0.35), ("mr_only_lesions", 0.02)):
                    rows += long_rows("mni", dose, method, "bias", rng.normal(bias, 0.02, subjects), "true_activity", region)
                for region in ("lesions", "pet_only_lesions", "shared_lesions"):
                    rows += long_rows("mni", dose, method, "contrast_recovery", rng.normal(0.7, 0.05, subjects), "true_activity", region)
            if method != "low_dose":
                costs = {"parameters": 12_345_678, "gmac_modules": 30.1, "gflop": 66.5, "restore_seconds": 4.2, "restore_peak_mb": 900}
                for metric, value in costs.items():
                    rows += long_rows("mni", dose, method, metric, np.full(subjects, value), "n/a", "n/a")
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def volumes(tmp_path_factory) -> list[ViewerSubject]:
    """Two heads as ellipsoids with a random walk along each axis for texture and one hot lesion; restored images are noisier copies."""
    folder = tmp_path_factory.mktemp("volumes")
    shape, subjects = (36, 44, 30), []
    grid = np.stack(np.meshgrid(*(np.linspace(-1.15, 1.15, size) for size in shape), indexing="ij"))
    radius = np.sqrt((grid**2).sum(axis=0))
    affine = np.diag([4.0, 4.0, 5.0, 1.0])
    for number in (1, 2):
        rng = np.random.default_rng(number)
        walk = sum(np.cumsum(rng.normal(size=shape), axis=axis) for axis in range(3))
        truth = np.where(radius < 1, 20_000 * (radius > 0.75) + 5_000 + 400 * walk, 0).clip(0)
        truth[radius < 0.2] = 1_000
        labels = np.zeros(shape, dtype=np.int16)
        labels[22:27, 12:17, 13:18] = 101
        labels[22:27, 17:24, 13:18] = 102  # larger, beside the first one, and nothing that PET shows
        labels[8:10, 20:22, 20:22] = 103
        truth[labels == 101] *= 2
        noise = rng.normal(size=shape) * np.sqrt(truth)
        for dose, strength in (("drf4", 20.0), ("drf25", 45.0)):
            arrays = {"low_dose": truth + strength * noise, "m_unet": truth * 0.95 + 0.5 * strength * noise}
            arrays |= {"mak_gan": truth + 0.3 * strength * noise, "standard_dose": truth + 8 * noise, "true_activity": truth}
            paths = {}
            for method, array in arrays.items():
                paths[method] = folder / f"sub-{number:02d}_{dose}_{method}.nii.gz"
                write_volume(paths[method], array.clip(0).astype(np.float32), volume(np.zeros(shape, np.float32), affine))
            mask = folder / f"sub-{number:02d}_labels.nii.gz"
            write_volume(mask, labels, volume(labels, affine))
            known = folder / f"sub-{number:02d}_truth.json"
            write_truth(known, {101: "pet_only", 102: "mr_only", 103: "shared"})
            subjects.append(ViewerSubject("mni", dose, f"sub-{number:02d}", paths, mask, known))
    return subjects


@pytest.fixture(scope="session")
def content(metrics, volumes, tmp_path_factory) -> ReportContent:
    from matplotlib import image

    folder = tmp_path_factory.mktemp("content")
    histories = []
    rng = np.random.default_rng(0)
    for fold in range(3):
        steps = np.arange(0, 2000, 2)
        losses = {
            "loss_generator": 3 * np.exp(-steps / 500) + rng.normal(0, 0.05, steps.size) + 1,
            "loss_discriminator": 0.7 - steps / 8000,
        }
        path = folder / f"history-{fold}.tsv"
        pd.DataFrame({"step": steps, "epoch": steps // 100, **losses}).to_csv(path, sep="\t", index=False)
        histories.append(History("mni", "drf4", "mak_gan", str(fold), path))
    picture = folder / "registration.png"
    image.imsave(picture, rng.random((60, 90)), cmap="gray")
    names = ("mak_gan_table1", "mak_gan_table2", "mak_gan_figure3")
    titles = {
        **{name: title_of(name) for name in METHODS if name != "low_dose"},
        "mak_gan-a": "A: U-Net baseline",
        "mak_gan-b": "B: A + MKE",
        "mak_gan-c": "C: B + AKI",
    }
    titles |= {"gaussian": "Gaussian filter", "nlm": "Non-local means"}
    titles |= {"mak_gan-guided": "MAK-GAN, guided"}
    titles |= {"mak_gan-d": "D: C + residual"} | {f"mak_gan-{ratio}": f"MAK-GAN, {ratio.replace('_', ' ')}" for ratio in RATIOS}
    drawn = folder / "mak_gan_figure3.svg"
    panels(experiment(names[2]), build_table(experiment(names[2]), metrics, (), titles), [drawn])
    restorations = metrics.loc[metrics["metric"] == "restore_seconds", ["dataset", "dose", "method", "subject"]]
    return ReportContent(
        entries={
            "scale": "demo",
            "run": list(names),
            "datasets": {"mni": {"source": "phantom", "subjects": 7, "doses": {"drf4": {"fraction": 0.25}, "drf25": {"fraction": 0.04}}}},
            "methods": {name: {"title": title, "module": name.split("-")[0], "train": {"steps": 2000}} for name, title in titles.items()},
            "experiments": {name: experiment(name) for name in names},
        },
        metrics=metrics,
        published={name: read_published(ROOT / f"resources/published/{name}.tsv") for name in names[:2]},
        papers=read_papers(ROOT / "resources/published/papers.tsv"),
        note="A few phantoms, small by configuration.",
        trained_on={("mni", "drf4", "mak_gan", "0"): "cpu, 2 threads, fp32"},
        restored_on=dict.fromkeys(restorations.itertuples(index=False, name=None), "cpu, 2 threads"),
        histories=histories,
        registrations=[Picture(picture, "mni, sub-01: MR edges on PET")],
        subjects=volumes,
        figures={"mak_gan_figure3": drawn},
        left_out=2,
        versions={"python": "3.11", "torch": "2.13"},
        provenance=[{"file": "activity", "seed": "2026", "SHA-256": "0" * 64}],
    )

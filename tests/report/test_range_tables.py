"""Tables and figures of the experiments on positron range, from long tables that were made up."""

import math
from pathlib import Path

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest

from petbench.errors import InputError
from petbench.evaluation.table import no_metrics
from petbench.files import write_json
from petbench.report.page import Picture, RangeResults, ReportContent, render
from petbench.report.range_figures import CAPTIONS, FIGURES, draw
from petbench.report.range_tables import METRICS, range_tables
from petbench.report.write_summaries import write_latex, write_markdown, write_tsv

ACCURACY = {
    "kind": "range_accuracy",
    "title": "Accuracy & more",
    "predictors": ["one", "two"],
    "differs": "Much,\nin 2 lines.",
}
TITLES = {"one": "DDConv, l1", "two": "DDConv, KL"}
MEDIA = ("lung", "water", "geometric-i", "geometric-v", "random-2-00000", "random-2-00001", "random-2-00002")
QUANTITIES = ("l1", "kl", "l1_ratio", "kl_ratio", "mean_range_mm")
AXES = ("x", "y", "z")


def write(path: Path, rows: list[dict]) -> list[str]:
    pd.DataFrame(rows).to_csv(path, sep="\t", index=False, na_rep="n/a")
    return [str(path)]


def distance(predictor: int, medium: int, model: str, quantity: str) -> float:
    # SVTD knows nothing of the predictor beside it.
    return {"svtd": 100, "ddconv": 10 * predictor, "network": 20 * predictor, "gate": 0}[model] + medium + 0.1 * QUANTITIES.index(quantity)


@pytest.fixture
def accuracy(tmp_path):
    distances = []
    for predictor in (1, 2):
        rows = [
            {"medium": medium, "model": model, "quantity": quantity, "value": distance(predictor, index, model, quantity)}
            for index, medium in enumerate(MEDIA)
            for model in ("gate", "svtd", "ddconv", "network")
            for quantity in (QUANTITIES if model != "gate" else QUANTITIES[-1:])
        ]
        distances += write(tmp_path / f"distances-{predictor}.tsv", rows)
    torso = [
        {"region": region, "model": model, "quantity": quantity, "value": value}
        for region in ("body", "lesion-1")
        for model, value in (("none", 0.3), ("svtd", 0.2), ("ddconv", 0.1))
        for quantity in ("l1", "kl", "l1_floor", "kl_floor", "l1_ratio", "kl_ratio", "nrmse")
    ]
    truncation = [{"medium": "lung", "kernel_size": size, "quantity": "truncated_fraction", "value": 0.3 / size} for size in (11, 15)] + [
        {"medium": "lung", "kernel_size": 21, "quantity": "mean_range_mm", "value": 9.0}
    ]
    acceleration = [
        {"model": model, "quantity": quantity, "value": value}
        for model, value in (("literal", 60.0), ("shared", 20.0), ("stored", 0.1))
        for quantity in ("own_kernels", "seconds_forward", "seconds_transpose", "seconds_once", "l1")
    ]
    profile = [
        {"medium": medium, "model": model, "axis": axis, "position_mm": 2.0 * place, "line": 1.0, "projection": 0.1 + place**2}
        for medium in MEDIA
        for model in ("gate", "svtd", "ddconv")
        for axis in AXES
        for place in (-1, 0, 1)
    ]
    torso_profile = [
        {"lesion": "4", "model": model, "axis": axis, "position_mm": 2.0 * place, "line": float(place)}
        for model in ("activity", "gate", "none", "svtd", "ddconv")
        for axis in AXES
        for place in (-1, 0, 1)
    ]
    with h5py.File(tmp_path / "kernels.h5", "w") as file:
        for name in ("mu", "gate", "svtd", "ddconv"):
            file[name] = np.random.default_rng(1).random((len(MEDIA), 5, 5, 5))
        file.attrs["media"] = list(MEDIA)
    with h5py.File(tmp_path / "images.h5", "w") as file:
        for name in ("mu", "activity", "gate", "none", "svtd", "ddconv"):
            file[name] = np.random.default_rng(1).random((8, 7, 6))
    return {
        "distances": distances,
        "torso_distances": write(tmp_path / "torso.tsv", torso),
        "truncation": write(tmp_path / "truncation.tsv", truncation),
        "acceleration": write(tmp_path / "acceleration.tsv", acceleration),
        "profiles": write(tmp_path / "profiles.tsv", profile),
        "torso_profiles": write(tmp_path / "torso_profiles.tsv", torso_profile),
        "kernels": [str(tmp_path / "kernels.h5")],
        "torso_images": [str(tmp_path / "images.h5")],
        "lesions": [str(volume(tmp_path / "lesions.nii.gz", lesions()))],
    }


def lesions() -> np.ndarray:
    labels = np.zeros((8, 7, 6), dtype=np.float32)
    labels[2:4, 3:5, 2:4] = 4
    return labels


def volume(path: Path, data: np.ndarray) -> Path:
    nibabel.save(nibabel.Nifti1Image(data.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0])), path)
    return path


def cells(table, title: str) -> dict[tuple[str, str], tuple[float, float, int]]:
    row = dict(table.rows)[title]
    return {(metric.name, column): cell for (metric, column), cell in zip(table.headings, row, strict=True)}


def test_kernels_are_averaged_over_media_of_a_kind(accuracy):
    kernels, phantoms, ranges, torso, truncated, accelerated = range_tables(ACCURACY, accuracy, TITLES)
    found = cells(kernels, "DDConv, KL")
    assert found["l1", "homogeneous media"] == pytest.approx((20.5, math.sqrt(0.5), 2))
    assert found["l1", "held-out random media"] == pytest.approx((25.0, 1.0, 3))
    assert found["kl_ratio", "geometric phantoms"] == pytest.approx((22.8, math.sqrt(0.5), 2))
    # Beside two predictors of one kernel size SVTD is the same, and stands there once.
    assert [title for title, _ in kernels.rows] == [
        "SVTD",
        "DDConv, l1",
        "DDConv, l1, network alone",
        "DDConv, KL",
        "DDConv, KL, network alone",
    ]
    assert cells(phantoms, "SVTD")["kl", "phantom v"][0] == pytest.approx(103.1)
    assert cells(ranges, "GATE")["mean_range_mm", "water"][0] == pytest.approx(1.4)
    assert cells(torso, "DDConv")["nrmse", "lesion 1"][0] == pytest.approx(0.1)
    # No ratio that noise could bring below that of an exact model: what two runs differ by stands beside the strategies.
    assert {metric.name for metric, _ in torso.headings} == {"nrmse", "l1"}
    assert cells(torso, "GATE, another run")["l1", "body"][0] == pytest.approx(0.3)
    assert math.isnan(cells(torso, "GATE, another run")["nrmse", "body"][0])
    assert cells(accelerated, "A kernel predicted for every voxel, every time")["seconds_forward", ""][0] == 60.0
    assert cells(truncated, "lung")["truncated_fraction", "15 voxels"][0] == pytest.approx(0.02)


def test_the_fast_engine_is_a_row_where_it_was_run(accuracy, tmp_path):
    distances = []
    for number, path in enumerate(accuracy["distances"]):
        table = pd.read_csv(path, sep="\t")
        fast = table[table.model == "svtd"].assign(model="fast", value=1.5)
        distances += write(tmp_path / f"with_fast-{number}.tsv", pd.concat([table, fast]).to_dict("records"))
    kernels, _, ranges, *_ = range_tables(ACCURACY, {**accuracy, "distances": distances}, TITLES)
    assert [title for title, _ in kernels.rows].count("Fast engine") == 1
    assert cells(kernels, "Fast engine")["l1_ratio", "held-out random media"][0] == 1.5
    assert cells(ranges, "Fast engine")["mean_range_mm", "water"][0] == 1.5


@pytest.fixture
def reconstruction(tmp_path):
    summary = [
        {
            "model": model,
            "iteration": iteration,
            "lesion": lesion,
            "part": part,
            "quantity": quantity,
            "mean": mean + 0.01 * iteration,
            "sd": 0.05,
            "sem": 0.02,
            "realisations": 5,
        }
        for model, mean in (("none", 0.5), ("svtd", 0.6), ("ddconv", 0.9))
        for iteration in (3, 10)
        for lesion, parts in (("1", ("whole", "background")), ("4", ("whole", "lung", "water", "background")))
        for part in parts
        for quantity in ("recovery", "bias_percent", "nrmse", *(("recovery_error",) if part == "whole" else ()))
    ]
    profile = [
        {
            "model": "none",
            "realisation": 1,
            "iteration": iteration,
            "lesion": "4",
            "axis": axis,
            "position_mm": 2.0 * place,
            "material": "lung",
            "true": 5.0,
            "value": float(place),
        }
        for iteration in (3, 10)
        for axis in AXES
        for place in (-1, 0, 1)
    ]
    names = ("none", "svtd", "ddconv")
    profiles = [write(tmp_path / f"{name}.tsv", [{**row, "model": name} for row in profile])[0] for name in names]
    images = [str(volume(tmp_path / f"{name}.nii.gz", np.random.default_rng(2).random((8, 7, 6, 2)))) for name in names]
    write_json(tmp_path / "scan.json", {"Iterations": [3, 10], "SecondsKernels": 1.5, "SecondsReconstruction": 20.0})
    return {
        "summary": write(tmp_path / "summary.tsv", summary),
        "profiles": profiles,
        "images": images,
        "sidecars": [str(tmp_path / "scan.json")] * 3,
        "lesions": [str(volume(tmp_path / "lesions.nii.gz", lesions()))],
    }


RECONSTRUCTION = {
    "kind": "range_reconstruction",
    "title": "Reconstruction",
    "predictor": "one",
    "strategies": ["none", "svtd", "ddconv"],
    "differs": "Much.",
}


def test_recoveries_are_those_of_the_last_iteration(reconstruction):
    whole, parts, errors, early = range_tables(RECONSTRUCTION, reconstruction, TITLES)
    assert "after iteration 10" in whole.label
    assert cells(whole, "DDConv")["recovery", "lesion 4"] == pytest.approx((1.0, 0.05, 5))
    assert set(cells(parts, "SVTD")) == {("recovery", "lesion 4, lung"), ("recovery", "lesion 4, water")}
    assert set(cells(errors, "SVTD")) == {("recovery_error", "lesion 4")}
    assert "after iteration 3" in early.label
    assert cells(early, "No correction")["recovery", "lesion 1"][0] == pytest.approx(0.53)


def test_the_page_shows_tables_figures_and_what_was_simulated(accuracy, tmp_path):
    draw("torso", ACCURACY, accuracy, [str(tmp_path / "torso.svg")], TITLES)
    gate = {"isotope": "Ga68", "positrons": 12_000}
    media = [{"kind": "random", "seed": 1, "count": 40}, {"kind": "homogeneous"}]
    entries = {
        "scale": "demo",
        "run": ["one"],
        "datasets": {},
        "methods": {},
        "experiments": {"one": {**ACCURACY, "paper": "ddconv"}},
        "predictors": {"one": {"title": "DDConv, l1", "train": {"steps": 700}}},
        "psf_sets": {"training": {"title": "Training", "gate": gate, "media": media}},
        "torsos": {"torso": {"title": "A torso", "gate": gate | {"data": "download"}}},
    }
    results = RangeResults(
        range_tables(ACCURACY, accuracy, TITLES), [Picture(tmp_path / "torso.svg", CAPTIONS["torso"])], "How to read it."
    )
    html = render(ReportContent(entries=entries, metrics=no_metrics(), ranges={"one": results}, note="Small."))
    for text in (
        "Kernels against GATE",
        "How to read it.",
        "40 random + homogeneous media",
        "12,000",
        "download",
        "700 steps",
        "NRMSE",
    ):
        assert text in html
    assert html.count("data:image/svg+xml") == 1


def test_tables_are_written_for_machines_and_for_papers(accuracy, tmp_path):
    tables = range_tables(ACCURACY, accuracy, TITLES)
    write_tsv(tables, tmp_path / "table.tsv")
    long = pd.read_csv(tmp_path / "table.tsv", sep="\t")
    assert set(long["metric"]) <= set(METRICS)
    assert len(long) == sum(len(table.rows) * len(table.headings) for table in tables)
    write_markdown(ACCURACY, tables, "A note.", tmp_path / "table.md")
    text = (tmp_path / "table.md").read_text()
    assert text.count("\n## ") == len(tables)
    assert "A note." in text
    assert "Much, in 2 lines." in text
    write_latex(ACCURACY, tables, "A note.", tmp_path / "table.tex")
    latex = (tmp_path / "table.tex").read_text()
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == len(tables)
    assert r"Accuracy \& more" in latex


@pytest.mark.parametrize("figure", FIGURES["range_accuracy"])
def test_figures_of_accuracy(accuracy, figure, tmp_path):
    drawn(figure, ACCURACY, accuracy, tmp_path)


@pytest.mark.parametrize(("figure", "kind"), [("kernels", "kernels"), ("torso", "torso_images")])
def test_a_damaged_file_of_images_is_named(accuracy, figure, kind, tmp_path):
    (tmp_path / "bad.h5").write_bytes(b"garbage")
    with pytest.raises(InputError, match=r"bad.h5: is cut short or damaged; delete it and run again"):
        drawn(figure, ACCURACY, {**accuracy, kind: [str(tmp_path / "bad.h5")]}, tmp_path)


@pytest.mark.parametrize("figure", FIGURES["range_reconstruction"])
def test_figures_of_reconstruction(reconstruction, figure, tmp_path):
    drawn(figure, RECONSTRUCTION, reconstruction, tmp_path)


def test_figures_of_a_scan(reconstruction, tmp_path):
    rows = [
        {"model": model, "axis": axis, "position_mm": 2.0 * place, "value": float(place)}
        for model in RECONSTRUCTION["strategies"]
        for axis in AXES
        for place in (-1, 0, 1)
    ]
    experiment = {**RECONSTRUCTION, "kind": "range_scan", "place_mm": [4.0, 6.0, 4.0]}
    files = {"images": reconstruction["images"], "sidecars": reconstruction["sidecars"], "profiles": write(tmp_path / "p.tsv", rows)}
    (times,) = range_tables(experiment, files, TITLES)
    assert [cell[0] for cell in dict(times.rows)["SVTD"]] == [1.5, 20.0]
    for figure in FIGURES["range_scan"]:
        drawn(figure, experiment, files, tmp_path)


def drawn(figure: str, experiment: dict, files: dict, folder: Path) -> None:
    paths = [folder / f"{figure}.svg", folder / f"{figure}-again.svg"]
    for path in paths:
        draw(figure, experiment, files, [str(path)], TITLES)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert figure in CAPTIONS


def test_an_unknown_figure_is_named(accuracy, tmp_path):
    with pytest.raises(InputError, match="'spectrum' is unknown"):
        draw("spectrum", ACCURACY, accuracy, [str(tmp_path / "a.svg")], TITLES)

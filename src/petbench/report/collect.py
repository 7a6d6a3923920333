"""Gather what the page shows from the files of a run."""

import platform
from collections import defaultdict
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from petbench.evaluation.scores import read_scores
from petbench.evaluation.table import no_metrics, read_tables
from petbench.files import checksum, read_json
from petbench.report.notes import training_device
from petbench.report.page import History, Picture, RangeResults, ReportContent
from petbench.report.published import read_papers, read_published
from petbench.report.range_figures import CAPTIONS
from petbench.report.range_tables import notes, range_tables
from petbench.report.viewer import ViewerSubject

if TYPE_CHECKING:
    from pandas import DataFrame

LIBRARIES = ("petbench", "snakemake", "torch", "numpy", "numba", "scipy", "nibabel", "antspyx", "scikit-image", "pandas")


def collect(
    entries: Mapping[str, Any],
    note: str,
    files: Mapping[str, Sequence[str]],
    trainings: Sequence[Sequence[str]],
    registrations: Sequence[Sequence[str]],
    volumes: Sequence[Sequence[str]],
    restorations: Sequence[Sequence[str]],
    behind: Sequence[tuple[str, str, str, Sequence[int]]],
    left_out: int,
    range_files: Sequence[Sequence[str]] = (),
    range_figures: Sequence[Sequence[str]] = (),
) -> ReportContent:
    """Bring a run's files into the order of the page.

    Args:
        entries: The resolved configuration.
        note: What the scale's file says of it.
        files: Paths by kind: `metrics`; `reliance`, whose folders name the experiment, and `scores` of diagnosis studies, if any;
            `histories` and `costs`, one a training; `registrations` (PNG); `images`, whose checksums are shown; `volumes`; `sidecars`
            of restored images; `figures`, one an experiment; `published` and `papers`; `records`, one a table.
        trainings: Data set, dose, method and fold of each training.
        registrations: Data set and subject of each picture, and of each of `images` in turn.
        volumes: Data set, dose, subject and kind (a method, `standard_dose`, `true_activity`, `labels` or `truth`) of each of `volumes`.
        restorations: Data set, dose, method and subject of each of `sidecars`.
        behind: Data set, dose and method of each row of a table, and the places in `trainings` of those that its images came from.
        left_out: How many subjects, counted at each dose, the viewer does not show.
        range_files: Experiment and kind of each of the files `range_files`, which its tables are made of.
        range_figures: Experiment and figure of each of `range_figures`.
    """
    subjects: dict[tuple[str, str, str], dict[str, Path]] = {}
    for (dataset, dose, subject, kind), path in zip(volumes, files["volumes"], strict=True):
        subjects.setdefault((dataset, dose, subject), {})[kind] = Path(path)
    trained = [training_device(cost) for cost in map(read_json, files["costs"])]
    trained_on: dict[tuple[str, str, str, str], str] = {}
    for dataset, dose, method, places in behind:
        for fold in {trainings[place][3] for place in places}:
            # An ensemble's cost is the sum of its parts', which may have been trained on different devices.
            parts = sorted({trained[place] for place in places if trainings[place][3] == fold})
            trained_on[dataset, dose, method, fold] = " and ".join(parts)
    restored = [read_json(path)["device"] for path in files["sidecars"]]
    return ReportContent(
        entries=entries,
        metrics=read_tables(files["metrics"]) if files["metrics"] else no_metrics(),
        reliance=_reliance(files.get("reliance", ())),
        scores=read_scores(files["scores"]) if files.get("scores") else None,
        published={Path(path).stem: read_published(path) for path in files["published"]},
        papers=read_papers(files["papers"][0]),
        figures={Path(path).stem: Path(path) for path in files["figures"]},
        note=note,
        trained_on=trained_on,
        restored_on={
            (dataset, dose, method, subject): device
            for (dataset, dose, method, subject), device in zip(restorations, restored, strict=True)
        },
        ranges=_ranges(entries, files, range_files, range_figures),
        histories=[
            History(dataset, dose, method, fold, Path(path))
            for (dataset, dose, method, fold), path in zip(trainings, files["histories"], strict=True)
        ],
        registrations=[
            Picture(Path(path), f"{dataset}, sub-{subject}: edges of the registered MR over the PET")
            for (dataset, subject), path in zip(registrations, files["registrations"], strict=True)
        ],
        subjects=[_viewer_subject(*key, found, entries["datasets"][key[0]]) for key, found in subjects.items()],
        left_out=left_out,
        versions={"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        provenance=[
            _provenance(entries, dataset, subject, path) for (dataset, subject), path in zip(registrations, files["images"], strict=True)
        ],
        records={Path(path).stem: read_json(path) for path in files["records"]},
    )


def _reliance(paths: Sequence[str]) -> "dict[str, DataFrame]":
    """Long tables by experiment, which `<experiment>/<data set>/<dose>/<method>/fold-<k>.tsv` names."""
    by_experiment = defaultdict(list)
    for path in paths:
        by_experiment[Path(path).parts[-5]].append(path)
    return {name: read_tables(several) for name, several in by_experiment.items()}


def _ranges(
    entries: Mapping[str, Any],
    files: Mapping[str, Sequence[str]],
    range_files: Sequence[Sequence[str]],
    range_figures: Sequence[Sequence[str]],
) -> dict[str, RangeResults]:
    titles = {name: str(entry["title"]) for name, entry in entries.get("predictors", {}).items()}
    results = {}
    for experiment in dict.fromkeys(name for name, _ in range_files):
        entry, own = entries["experiments"][experiment], defaultdict(list)
        for (name, kind), path in zip(range_files, files["range_files"], strict=True):
            if name == experiment:
                own[kind].append(path)
        figures = [
            Picture(Path(path), CAPTIONS[figure])
            for (name, figure), path in zip(range_figures, files["range_figures"], strict=True)
            if name == experiment
        ]
        results[experiment] = RangeResults(range_tables(entry, own, titles), figures, notes(entry))
    return results


def _provenance(entries: Mapping[str, Any], dataset: str, subject: str, image: str) -> dict[str, str]:
    entry = entries["datasets"][dataset]
    seed = str(entry.get("seed", "none: measured data"))
    digest = checksum(image)
    return {"data set": dataset, "source": entry["source"], "seed": seed, "subject": subject, "SHA-256 of the standard-dose image": digest}


def _viewer_subject(dataset: str, dose: str, subject: str, found: Mapping[str, Path], entry: Mapping[str, Any]) -> ViewerSubject:
    volumes = {kind: path for kind, path in found.items() if kind not in ("labels", "truth")}
    evaluation = entry.get("evaluation", {})
    slices = evaluation.get("slices") if evaluation.get("slice_axis", 2) == 2 else None
    return ViewerSubject(dataset, dose, f"sub-{subject}", volumes, found.get("labels"), found.get("truth"), slices)

"""Draws the figure of an experiment: points, images or a map of similarity, by what the entry holds."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from petbench.data.nifti import voxel_mm
from petbench.evaluation.table import read_tables
from petbench.report import figures
from petbench.report.tables import TITLES, build_table
from petbench.report.viewer import STANDARD_DOSE, ViewerSubject, load, unit_of

Files = Mapping[str, Sequence[str]]
Paths = Sequence[str | Path]


def draw(experiment: Mapping[str, Any], files: Files, titles: Mapping[str, str], sources: Mapping[str, str], paths: Paths) -> None:
    """Draw an experiment's figure.

    Args:
        experiment: Resolved entry with one of the keys of `DRAWN`.
        files: `metrics` for points; `images`, the standard dose and then one a row, for views; `similarity`, a TSV, for a map.
        titles: Method entry name to title.
        sources: Data set to its `source`.
        paths: Files to write.
    """
    (key,) = DRAWN.keys() & experiment.keys()
    DRAWN[key](experiment, files, titles, sources, paths)


def _points(experiment: Mapping[str, Any], files: Files, titles: Mapping[str, str], _: Mapping[str, str], paths: Paths) -> None:
    figures.panels(experiment, build_table(experiment, read_tables(files["metrics"]), (), titles), paths)


def _views(experiment: Mapping[str, Any], files: Files, titles: Mapping[str, str], sources: Mapping[str, str], paths: Paths) -> None:
    column, names = experiment["columns"][0], [STANDARD_DOSE, *experiment["rows"]]
    given = {name: Path(path) for name, path in zip(names, files["images"], strict=True)}
    arrays, image, _ = load(ViewerSubject(column["dataset"], column["dose"], column["label"], given))
    edges = voxel_mm(image)
    named = TITLES | dict(titles)
    figures.views(
        {named.get(name, name): array for name, array in arrays.items()},
        TITLES[STANDARD_DOSE],
        experiment["views"],
        unit_of({"source": sources[column["dataset"]]}),
        (float(edges[0]), float(edges[1]), float(edges[2])),
        paths,
    )


def _similarity(_: Mapping[str, Any], files: Files, __: Mapping[str, str], ___: Mapping[str, str], paths: Paths) -> None:
    figures.heat_maps(Path(files["similarity"][0]), paths)


DRAWN: dict[str, Callable[..., None]] = {"panels": _points, "views": _views, "similarity": _similarity}

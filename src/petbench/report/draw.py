"""Draws the figure of an experiment: points, images or a map of similarity, by what the entry holds."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.lesions import Lesion
from petbench.data.nifti import voxel_mm
from petbench.data.phantom_files import read_truth
from petbench.errors import InputError
from petbench.evaluation.definitions import STANDARD_ROW
from petbench.evaluation.table import read_tables
from petbench.report import figures
from petbench.report.places import LESIONS, places_of
from petbench.report.slices import Scene, cut, middle_of_head, views
from petbench.report.tables import TITLES, build_table
from petbench.report.viewer import NORMALISED, STANDARD_DOSE, ViewerSubject, display_window, load, unit_of

Files = Mapping[str, Sequence[str]]
Paths = Sequence[str | Path]
Array = NDArray[Any]
Voxel = tuple[int, int, int]

MR = "mr"


def draw(
    experiment: Mapping[str, Any], files: Files, titles: Mapping[str, str], datasets: Mapping[str, Mapping[str, Any]], paths: Paths
) -> None:
    """Draw an experiment's figure.

    Args:
        experiment: Resolved entry with one of the keys of `DRAWN`.
        files: `metrics` for points; `similarity`, a TSV, for a map. For views `images`: of each place of `places_of` in turn the MR if
            they show it, the standard dose, and then one a row; and `labels` and `truth`, one a place, where they go through lesions.
        titles: Method entry name to title.
        datasets: What views take of each data set's entry: its `title`, `source`, `preprocess/scaling`, and of `evaluation` the
            slices and their axis.
        paths: Files to write.
    """
    (key,) = DRAWN.keys() & experiment.keys()
    DRAWN[key](experiment, files, titles, datasets, paths)


def _points(experiment: Mapping[str, Any], files: Files, titles: Mapping[str, str], _: Mapping[str, Any], paths: Paths) -> None:
    figures.panels(experiment, build_table(experiment, read_tables(files["metrics"]), (), titles), paths)


def _leaderboard(experiment: Mapping[str, Any], files: Files, titles: Mapping[str, str], _: Mapping[str, Any], paths: Paths) -> None:
    figures.quality_against_cost(experiment, build_table(experiment, read_tables(files["metrics"]), (), titles), paths)


def _views(experiment: Mapping[str, Any], files: Files, titles: Mapping[str, str], datasets: Mapping[str, Any], paths: Paths) -> None:
    block, places = experiment["views"], places_of(experiment)
    methods = [row for row in experiment["rows"] if row != STANDARD_ROW]
    names = [*([MR] if block.get("mr") else []), STANDARD_DOSE, *methods]
    images = np.reshape(files["images"], (len(places), len(names)))
    scenes = []
    for number, ((dataset, dose), label) in enumerate(places.items()):
        entry = datasets[dataset]
        given = {name: Path(path) for name, path in zip(names, images[number], strict=True)}
        known = files["labels"][number] if files.get("labels") else None
        arrays, image, labels = load(ViewerSubject(dataset, dose, label, given, None if known is None else Path(known)))
        lesions = read_truth(files["truth"][number]).lesions if known is not None else ()
        called = _titles_of(names, titles, entry)
        volumes = {called[name]: arrays[name] for name in names}
        edges = voxel_mm(image)
        for through in block.get("through", ["head"]):
            centre, where, found = _place(through, arrays[STANDARD_DOSE], labels, lesions, image.affine, entry.get("evaluation", {}))
            scenes.append(
                Scene(
                    heading=f"{label or entry['title']}: through {where}",
                    planes=cut(
                        volumes,
                        called[STANDARD_DOSE],
                        block["planes"],
                        centre,
                        (float(edges[0]), float(edges[1]), float(edges[2])),
                        block.get("zoom_mm"),
                        around_centre=found,
                    ),
                    reference=called[STANDARD_DOSE],
                    inputs=[called[MR]] if MR in called else [],
                    restored=[called[name] for name in methods if name != "low_dose"] or [called[name] for name in methods],
                    window=display_window(arrays[STANDARD_DOSE]),
                    unit=unit_of(entry),
                )
            )
    views(scenes, paths)


def _titles_of(names: Sequence[str], titles: Mapping[str, str], entry: Mapping[str, Any]) -> dict[str, str]:
    """What each image is called; where PET is made of MR, no standard dose is restored, and the MR is its grey matter."""
    own = {MR: "Grey matter", STANDARD_DOSE: "Real PET"} if unit_of(entry) == NORMALISED else {MR: "MR"}
    called = {name: (TITLES | dict(titles) | own)[name] for name in names}
    if len(set(called.values())) < len(called):
        raise InputError(f"titles of {', '.join(names)}: two are the same; give each method entry a title of its own.")
    return called


def _place(
    through: str | Sequence[float],
    reference: Array,
    labels: Array | None,
    lesions: Sequence[Lesion],
    affine: Array,
    evaluation: Mapping[str, Any],
) -> tuple[Voxel, str, bool]:
    """The voxel that planes go through, in a slice that is evaluated, what is there, and whether it is a thing to look at closely."""
    axis, slices = evaluation.get("slice_axis", 2), evaluation.get("slices")
    known = np.arange(reference.shape[axis]) if slices is None else np.sort(slices)
    found: Voxel | None = None
    where = "the middle of the head"
    if not isinstance(through, str):
        found, where = _voxel((np.linalg.inv(affine) @ [*through, 1.0])[:3]), f"{', '.join(f'{value:g}' for value in through)} mm"
        if any(not 0 <= at < size for at, size in zip(found, reference.shape, strict=True)):
            raise InputError(f"views/through: {where} lies outside the image; choose a place inside it.")
    elif through in LESIONS:
        assert labels is not None
        seen = np.isin(np.arange(labels.shape[axis]), known).reshape([-1 if number == axis else 1 for number in range(3)])
        found = _largest(through, np.where(seen, labels, 0), lesions)
        what = LESIONS[through]
        where = f"{where}, as no {what} lies in the slices evaluated" if found is None else f"the largest {what}"
    centre = middle_of_head(reference) if found is None else found
    nearest = int(known[np.argmin(np.abs(known - centre[axis]))])
    return _voxel([nearest if number == axis else at for number, at in enumerate(centre)]), where, found is not None


def _largest(through: str, labels: Array, lesions: Sequence[Lesion]) -> Voxel | None:
    """Centre of the lesion of most voxels among those of a kind, or None where there is none."""
    kind = through.removesuffix("_lesion")
    voxels = {
        lesion: np.argwhere(labels == lesion.label) for lesion in lesions if (lesion.on_pet if kind == "lesion" else lesion.kind == kind)
    }
    largest = max(voxels, key=lambda lesion: len(voxels[lesion]), default=None)
    return None if largest is None or not len(voxels[largest]) else _voxel(voxels[largest].mean(axis=0))


def _voxel(place: Sequence[float] | Array) -> Voxel:
    x, y, z = (round(float(at)) for at in place)
    return x, y, z


def _similarity(_: Mapping[str, Any], files: Files, __: Mapping[str, str], ___: Mapping[str, Any], paths: Paths) -> None:
    figures.heat_maps(Path(files["similarity"][0]), paths)


DRAWN: dict[str, Callable[..., None]] = {"panels": _points, "leaderboard": _leaderboard, "views": _views, "similarity": _similarity}

"""Figures of the experiments on positron range: kernels, blurred and reconstructed torsos, profiles, recovery."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.affines import edges_mm
from petbench.errors import InputError
from petbench.report.figures import PALETTE, plain_style, save
from petbench.report.range_tables import STRATEGIES, Files

if TYPE_CHECKING:
    from pandas import DataFrame

Array = NDArray[np.floating[Any]]
Paths = Sequence[str]

COLOURS = {
    "gate": "#000000",
    "activity": PALETTE[7],
    "true": PALETTE[7],
    "none": PALETTE[5],
    "svtd": PALETTE[1],
    "ddconv": PALETTE[0],
    "network": PALETTE[4],
    "none-rdp": PALETTE[3],
    "svtd-rdp": PALETTE[5],
    "ddconv-rdp": PALETTE[2],
    "none-bowsher": PALETTE[7],
    "svtd-bowsher": PALETTE[6],
    "ddconv-bowsher": PALETTE[4],
}
# Powers of ten that a kernel's picture spans.
DECADES = 4
MIDDLE_LESION = "4"
PLANES = {"x": "y, z", "y": "x, z", "z": "x, y"}
MOST_MEDIA = 8


def draw(figure: str, experiment: Mapping[str, Any], files: Files, paths: Paths, titles: Mapping[str, str]) -> None:
    """Draw a figure of an experiment on positron range.

    Args:
        figure: One of `FIGURES` of the experiment's kind.
        experiment: Resolved entry.
        files: Paths by kind, as `rules/positron_range.smk` names them.
        paths: Files to write, by suffix .png or .svg.
        titles: Predictor entry name to title.

    Raises:
        InputError: there is no such figure.
    """
    known = FIGURES[experiment["kind"]]
    if figure not in known:
        raise InputError(f"figure: {figure!r} is unknown; the figures of {experiment['title']!r} are {', '.join(known)}.")
    known[figure](experiment, files, paths)


def _media(experiment: Mapping[str, Any], files: Files, paths: Paths) -> None:
    """Random media, and where GATE's positrons annihilate in them (DDConv, figure 1)."""
    media, cubes = _cubes(files, ("mu", "gate"))
    chosen = [index for index, name in enumerate(media) if name.startswith(("random-", "official-"))] or [0]
    chosen = [chosen[round(place)] for place in np.linspace(0, len(chosen) - 1, min(len(chosen), MOST_MEDIA))]
    with plain_style() as pyplot:
        size = (1.5 * len(chosen) + 0.8, 3.4)
        figure, axes = pyplot.subplots(2, len(chosen), figsize=size, layout="constrained", squeeze=False)
        for (upper, lower), index in zip(axes.T, chosen, strict=True):
            _show_medium(upper, _planes(cubes["mu"][index])["x"], source=True)
            shown = _show_kernel(lower, _planes(cubes["gate"][index])["x"], float(cubes["gate"][index].max()))
            upper.set_title(media[index].split("-")[0])
        axes[0, 0].set_ylabel("medium")
        axes[1, 0].set_ylabel("annihilations")
        figure.colorbar(shown, ax=axes.ravel().tolist(), label="over the largest", shrink=0.8)
        save(figure, paths)


def _phantoms(experiment: Mapping[str, Any], files: Files, paths: Paths) -> None:
    """The geometric phantoms on all three planes through the source (DDConv, figure 3)."""
    media, cubes = _cubes(files, ("mu",))
    chosen = [index for index, name in enumerate(media) if name.startswith("geometric-")] or [0]
    with plain_style() as pyplot:
        size = (1.5 * len(chosen) + 0.4, 1.5 * len(PLANES) + 0.4)
        figure, axes = pyplot.subplots(len(PLANES), len(chosen), figsize=size, layout="constrained", squeeze=False)
        for column, index in zip(axes.T, chosen, strict=True):
            for axis, plane in zip(column, _planes(cubes["mu"][index]).values(), strict=True):
                _show_medium(axis, plane, source=True)
            column[0].set_title(media[index].removeprefix("geometric-"))
        for axis, name in zip(axes[:, 0], PLANES.values(), strict=True):
            axis.set_ylabel(name)
        save(figure, paths)


def _kernels(experiment: Mapping[str, Any], files: Files, paths: Paths) -> None:
    """Annihilations in the geometric phantoms on all three planes: GATE, SVTD, DDConv (DDConv, figure 4)."""
    models = ("gate", "svtd", "ddconv")
    media, cubes = _cubes(files, models)
    chosen = [index for index, name in enumerate(media) if name.startswith("geometric-")] or [0]
    with plain_style() as pyplot:
        wide = len(models) * len(PLANES)
        size = (1.05 * wide + 0.8, 1.1 * len(chosen) + 0.5)
        figure, axes = pyplot.subplots(len(chosen), wide, figsize=size, layout="constrained", squeeze=False)
        for row, index in zip(axes, chosen, strict=True):
            top = float(cubes["gate"][index].max())
            places = [(axis, model) for axis in PLANES for model in models]
            for panel, (axis, model) in zip(row, places, strict=True):
                shown = _show_kernel(panel, _planes(cubes[model][index])[axis], top)
            row[0].set_ylabel(media[index].removeprefix("geometric-"))
        for panel, (axis, model) in zip(axes[0], places, strict=True):
            panel.set_title(f"{STRATEGIES[model]}\n{PLANES[axis]}", fontsize=7)
        figure.colorbar(shown, ax=axes.ravel().tolist(), label="over the largest of GATE", shrink=0.8)
        save(figure, paths)


def _cubes(files: Files, names: Sequence[str]) -> tuple[list[str], dict[str, Array]]:
    """Names of the media that kernels were compared in, and cubes (N, K, K, K) of them."""
    with _hdf5(files["kernels"][0]) as file:
        return [str(name) for name in file.attrs["media"]], {name: file[name][:] for name in names}


def _planes(cube: Array) -> dict[str, Array]:
    """The planes of a cube (K, K, K) through its middle, across each axis, the later of the other two upwards."""
    middle = cube.shape[0] // 2
    return {axis: np.take(cube, middle, axis=number).T for number, axis in enumerate(PLANES)}


def _show_medium(axis: Any, plane: Array, source: bool = False) -> None:
    axis.imshow(plane, cmap="bone", origin="lower", vmin=0, vmax=0.18)
    if source:
        axis.plot(plane.shape[1] // 2, plane.shape[0] // 2, "o", color=PALETTE[5], markersize=3)
    axis.set_xticks([])
    axis.set_yticks([])


def _show_kernel(axis: Any, plane: Array, top: float) -> Any:
    from matplotlib.colors import LogNorm

    norm = LogNorm(10.0**-DECADES, 1.0)
    axis.set_xticks([])
    axis.set_yticks([])
    return axis.imshow(np.maximum(plane / top, 10.0**-DECADES), cmap="inferno", origin="lower", norm=norm)


def _kernel_profiles(experiment: Mapping[str, Any], files: Files, paths: Paths) -> None:
    table = _read(files["profiles"], ("medium", "model", "axis"))
    media = [name for name in dict.fromkeys(table["medium"]) if name.startswith("geometric-")]
    media = media or list(dict.fromkeys(table["medium"]))
    panels = [
        (medium.removeprefix("geometric-"), axis, table[(table["medium"] == medium) & (table["axis"] == axis)])
        for medium in media
        for axis in "xyz"
    ]
    _profiles(panels, ("gate", "svtd", "ddconv"), "projection", "share of annihilations", len(media), paths, log=True)


def _torso(experiment: Mapping[str, Any], files: Files, paths: Paths) -> None:
    from petbench.data.nifti import read_frames

    lesions, _ = read_frames(files["lesions"][0])
    slice_ = _coronal_through(lesions)
    with _hdf5(files["torso_images"][0]) as file:
        images = {name: file[name][:, slice_].T for name in ("mu", "activity", "gate", "none", "svtd", "ddconv") if name != "none"}
    top = float(np.percentile(images["activity"], 99.9))
    high, wide = images["mu"].shape
    with plain_style() as pyplot:
        figure, axes = pyplot.subplots(2, 3, figsize=(8, 2 * (8 / 3 * high / wide + 0.3)), layout="constrained", squeeze=False)
        for axis, (name, image) in zip(axes.flat, images.items(), strict=False):
            attenuation = name == "mu"
            axis.imshow(image, cmap="bone" if attenuation else "gray_r", origin="lower", vmin=0, vmax=0.18 if attenuation else top)
            axis.set_title("attenuation" if attenuation else STRATEGIES[name])
            axis.set_xticks([])
            axis.set_yticks([])
        for axis in list(axes.flat)[len(images) :]:
            axis.set_visible(False)
        save(figure, paths)


def _torso_profiles(experiment: Mapping[str, Any], files: Files, paths: Paths) -> None:
    table = _read(files["torso_profiles"], ("lesion", "model", "axis"))
    lesions = list(dict.fromkeys(table["lesion"]))
    panels = [
        (f"lesion {lesion}", axis, table[(table["lesion"] == lesion) & (table["axis"] == axis)]) for lesion in lesions for axis in "xyz"
    ]
    _profiles(panels, ("activity", "gate", "svtd", "ddconv"), "line", "Bq/ml", len(lesions), paths)


def _images(experiment: Mapping[str, Any], files: Files, paths: Paths) -> None:
    from petbench.data.nifti import read_frames
    from petbench.files import read_json

    strategies = experiment["strategies"]
    iterations = read_json(files["sidecars"][0])["Iterations"]
    series = {name: read_frames(path) for name, path in zip(strategies, files["images"], strict=True)}
    _, affine = series[strategies[0]]
    slice_ = _coronal(experiment, files, affine)
    edges = edges_mm(affine)
    stacks = {name: np.atleast_3d(data[:, slice_]) for name, (data, _) in series.items()}  # one image has no fourth axis
    planes = {name: [stack[..., k].T for k in range(len(iterations))] for name, stack in stacks.items()}
    top = max(float(np.percentile(own[-1], 99.8)) for own in planes.values()) or 1.0
    with plain_style() as pyplot:
        high, wide = planes[strategies[0]][0].shape
        size = (1.9 * len(iterations) + 0.8, (1.9 * high / wide * float(edges[2] / edges[0]) + 0.1) * len(strategies) + 0.3)
        figure, axes = pyplot.subplots(len(strategies), len(iterations), figsize=size, layout="constrained", squeeze=False)
        shown = None
        for axis, iteration in zip(axes[0], iterations, strict=True):
            axis.set_title(f"iteration {iteration}")
        for row, name in zip(axes, strategies, strict=True):
            for axis, plane in zip(row, planes[name], strict=True):
                aspect = float(edges[2] / edges[0])
                shown = axis.imshow(plane / 1000, cmap="gray_r", origin="lower", vmin=0, vmax=top / 1000, aspect=aspect)
                axis.set_xticks([])
                axis.set_yticks([])
            row[0].set_ylabel(STRATEGIES[name])
        if shown is not None:
            figure.colorbar(shown, ax=axes.ravel().tolist(), label="kBq/ml", shrink=0.8)
        save(figure, paths)


def _coronal(experiment: Mapping[str, Any], files: Files, affine: NDArray[np.float64]) -> int:
    """The coronal slice through a lesion, or through the place that profiles are drawn through."""
    from petbench.data.nifti import read_frames

    if "lesions" in files:
        return _coronal_through(read_frames(files["lesions"][0])[0])
    return int(np.rint(np.linalg.solve(affine, [*experiment["place_mm"], 1.0])[1]))


def _coronal_through(lesions: NDArray[Any]) -> int:
    """The coronal slice through the middle of the last interface lesion, or of whatever lesion there is."""
    label = int(MIDDLE_LESION) if (lesions == int(MIDDLE_LESION)).any() else int(lesions.max())
    return round(float(np.nonzero(lesions == label)[1].mean()))


def _lesion_profiles(experiment: Mapping[str, Any], files: Files, paths: Paths) -> None:
    table = _read(files["profiles"], ("model", "lesion", "axis", "material"))
    table = table[table["iteration"].astype(int) == table["iteration"].astype(int).max()]
    lesions = list(dict.fromkeys(table["lesion"]))
    panels = [
        (f"lesion {lesion}", axis, table[(table["lesion"] == lesion) & (table["axis"] == axis)]) for lesion in lesions for axis in "xyz"
    ]
    _profiles(panels, experiment["strategies"], "value", "Bq/ml", len(lesions), paths, true="true")


def _scan_profiles(experiment: Mapping[str, Any], files: Files, paths: Paths) -> None:
    table = _read(files["profiles"], ("model", "axis"))
    panels = [("", axis, table[table["axis"] == axis]) for axis in "xyz"]
    _profiles(panels, experiment["strategies"], "value", "Bq/ml", 1, paths)


def _profiles(
    panels: "Sequence[tuple[str, str, DataFrame]]",
    models: Sequence[str],
    column: str,
    unit: str,
    down: int,
    paths: Paths,
    log: bool = False,
    true: str | None = None,
) -> None:
    """Draw a panel a title and axis, one line a model; `true` is a column that is the same for all models."""
    with plain_style() as pyplot:
        figure, axes = pyplot.subplots(down, 3, figsize=(8.4, 1.9 * down + 0.5), layout="constrained", squeeze=False)
        for axis, (title, direction, table) in zip(axes.flat, panels, strict=True):
            if true is not None:
                own = table[table["model"] == models[0]]
                axis.step(own["position_mm"], own[true], where="mid", color=COLOURS["true"], linewidth=1.0, label="true activity")
            for model in models:
                own = table[table["model"] == model]
                dash = "--" if model == "gate" else "-"
                axis.plot(own["position_mm"], own[column], dash, color=COLOURS[model], linewidth=1.1, label=STRATEGIES[model])
            axis.set_title(f"{title}, along {direction}".removeprefix(", "))
            if log:
                axis.set_yscale("log")
        for axis in axes[-1]:
            axis.set_xlabel("mm")
        for row in axes:
            row[0].set_ylabel(unit)
        lines = {line.get_label(): line for line in axes.flat[0].lines}
        figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=len(lines))
        save(figure, paths)


def _recovery(experiment: Mapping[str, Any], files: Files, paths: Paths) -> None:
    table = _read(files["summary"], ("model", "lesion", "part", "quantity"))
    table["iteration"] = table["iteration"].astype(int)
    whole = table[table["part"] == "whole"]
    lesions = list(dict.fromkeys(whole["lesion"]))
    quantities = {"recovery": ("recovery", 1.0), "recovery_error": ("error of the parts", 0.0)}
    with plain_style() as pyplot:
        size = (2.3 * len(lesions) + 0.5, 4.4)
        shape = (len(quantities), len(lesions))
        figure, axes = pyplot.subplots(*shape, figsize=size, layout="constrained", squeeze=False, sharex=True, sharey="row")
        for axis, lesion in zip(axes[0], lesions, strict=True):
            axis.set_title(f"lesion {lesion}")
        for row, (quantity, (label, ideal)) in zip(axes, quantities.items(), strict=True):
            for axis, lesion in zip(row, lesions, strict=True):
                axis.axhline(ideal, color="0.8", linewidth=0.8)
                for model in experiment["strategies"]:
                    own = whole[(whole["model"] == model) & (whole["lesion"] == lesion) & (whole["quantity"] == quantity)]
                    style = {"color": COLOURS[model], "capsize": 2, "linewidth": 1.1, "marker": "o", "markersize": 3}
                    axis.errorbar(own["iteration"], own["mean"], own["sd"].fillna(0.0), label=STRATEGIES[model], **style)
            row[0].set_ylabel(label)
        for axis in axes[-1]:
            axis.set_xlabel("iteration")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        save(figure, paths)


@contextmanager
def _hdf5(path: str) -> Iterator[Any]:
    import h5py

    try:
        with h5py.File(path) as file:
            yield file
    except (OSError, KeyError):
        raise InputError(f"{path}: is cut short or damaged; delete it and run again.") from None


def _read(paths: Sequence[str], text: Sequence[str]) -> "DataFrame":
    import pandas

    options: dict[str, Any] = {"dtype": dict.fromkeys(text, str), "keep_default_na": False, "na_values": {"sd": ["n/a"], "sem": ["n/a"]}}
    table: DataFrame = pandas.concat([pandas.read_csv(path, sep="\t", **options) for path in paths], ignore_index=True)
    return table


Draw = Callable[[Mapping[str, Any], Files, Paths], None]
FIGURES: Mapping[str, Mapping[str, Draw]] = {
    "range_accuracy": {
        "media": _media,
        "phantoms": _phantoms,
        "kernels": _kernels,
        "kernel_profiles": _kernel_profiles,
        "torso": _torso,
        "torso_profiles": _torso_profiles,
    },
    "range_reconstruction": {"images": _images, "profiles": _lesion_profiles, "recovery": _recovery},
    "range_scan": {"images": _images, "profiles": _scan_profiles},
}
CAPTIONS = {
    "media": "Random media that no predictor is trained on, and where GATE's positrons annihilate in them (as the paper's figure 1).",
    "phantoms": "Experiment 1's phantoms on the three planes through the source, as far as kernels reach (as the paper's figure 3).",
    "kernels": "Where positrons annihilate in these phantoms, on the three planes through the source (as the paper's figure 4).",
    "kernel_profiles": "Annihilations along each axis, summed over the other two.",
    "torso": "Coronal slice through the lesion on the lung-liver interface: what GATE makes of the activity, and each strategy.",
    "torso_profiles": "Profiles through the middle of each lesion.",
    "images": "Coronal slices of one scan, on one grey scale; every image without any filter.",
    "profiles": "Profiles along the three axes, after the last iteration.",
    "recovery": "Each lesion by iteration, mean ± SD over noise realisations: its recovery, and how far its parts by material are off.",
}

"""Figures: slices with error maps, training curves, points by setting; as PNG and SVG, the same bytes every time."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.lesions import Lesion
from petbench.errors import InputError
from petbench.evaluation.definitions import VIEWS
from petbench.files import atomic
from petbench.report.viewer import Unit, display_window, head_box

if TYPE_CHECKING:
    from pandas import DataFrame

    from petbench.report.tables import Table

Volume = NDArray[np.floating]
# Okabe and Ito's palette: eight colours that stay apart for every common kind of colour blindness.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")
RED = "#D00000"
POINTS = 400  # a curve on a page is a few hundred pixels wide; more points only make the file larger


@dataclass(frozen=True)
class Box:
    """A cube of voxels: its centre (x, y, z) and half its edge, all in voxels."""

    centre: tuple[int, int, int]
    half: int


@contextmanager
def plain_style() -> Iterator[Any]:
    """Yield pyplot set for small multiples on white, drawing without a display and naming SVG parts by content rather than at random."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    style = {
        "svg.hashsalt": "petbench",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 9,
        "axes.labelsize": 9,
        "legend.frameon": False,
        "figure.dpi": 100,
        "savefig.dpi": 200,
    }
    with matplotlib.rc_context(style):
        yield pyplot


def save(figure: Any, paths: Sequence[str | Path]) -> None:
    """Write a matplotlib figure to each path, by its suffix, without a date, so that equal figures are equal files; then close it.

    Raises:
        InputError: a suffix is neither .png nor .svg.
    """
    from matplotlib import pyplot

    metadata: dict[str, dict[str, str | None]] = {".png": {"Software": None}, ".svg": {"Date": None, "Creator": None}}
    for path in paths:
        suffix = Path(path).suffix
        if suffix not in metadata:
            raise InputError(f"{path}: figures are written as .png or .svg; rename it.")
        with atomic(path) as temporary:
            figure.savefig(temporary, format=suffix[1:], metadata=metadata[suffix], bbox_inches="tight", facecolor="white")
    pyplot.close(figure)


def largest_on_pet(labels: NDArray[Any], lesions: Sequence[Lesion]) -> Lesion | None:
    """The lesion of most voxels among those that PET shows, or None if there is none; one that only the MR shows is not to be seen there.

    Args:
        labels: Label map, (x, y, z), a label a lesion.
        lesions: What is known of them.
    """
    voxels = {lesion: int(np.count_nonzero(labels == lesion.label)) for lesion in lesions if lesion.on_pet}
    return max(voxels, key=lambda lesion: voxels[lesion]) if any(voxels.values()) else None


def choose_box(standard_dose: Volume, lesion: NDArray[np.bool_] | None = None, half: int | None = None) -> Box:
    """Choose what to enlarge: a lesion, or else the strongest edge of the reference's middle slices.

    Only the reference decides, never a method's result. The box lies wholly inside the volume.

    Args:
        standard_dose: Reference, (x, y, z).
        lesion: Mask of the lesion on the same grid.
        half: Half the edge in voxels; a sixth of the shorter in-plane side by default.
    """
    from scipy import ndimage

    if half is None:
        half = max(2, min(standard_dose.shape[:2]) // 6)
    if lesion is not None and lesion.any():
        centre = ndimage.center_of_mass(lesion)
    else:
        gradient = ndimage.gaussian_gradient_magnitude(standard_dose.astype(np.float64), sigma=1.0)
        middle = np.flatnonzero((standard_dose > 0.05 * standard_dose.max()).any(axis=(0, 1)))
        lowest, highest = np.percentile(middle, [40, 60]).astype(int)
        # A gradient summed over the box finds a structure; its largest single voxel would find noise.
        strength = ndimage.uniform_filter(gradient, size=2 * half + 1)
        strength[:, :, :lowest] = 0
        strength[:, :, highest + 1 :] = 0
        centre = np.unravel_index(int(np.argmax(strength)), strength.shape)
    x, y = (int(np.clip(round(value), half, size - half - 1)) for value, size in zip(centre[:2], standard_dose.shape, strict=False))
    return Box((x, y, int(np.clip(round(centre[2]), 0, standard_dose.shape[2] - 1))), half)


def comparison(
    volumes: Mapping[str, Volume],
    reference: str,
    box: Box,
    unit: Unit,
    paths: Sequence[str | Path],
    aspect: float = 1.0,
) -> None:
    """Draw one axial slice of each volume, its error against the reference below, and an enlarged box below that.

    Columns keep the order of `volumes`. One window serves all images and one symmetric colour scale all error maps.

    Args:
        volumes: Title to volume, (x, y, z), x to the right and y to the front.
        reference: Title of the volume the errors are taken against.
        box: What to enlarge; its centre chooses the slice.
        unit: What the colour bars are in.
        paths: Files to write.
        aspect: Voxel edge along y over that along x.

    Raises:
        InputError: the reference is not among the volumes, or shapes differ.
    """
    if reference not in volumes:
        raise InputError(f"{reference}: not among the volumes to draw ({', '.join(volumes)}); add it.")
    if len({volume.shape for volume in volumes.values()}) > 1:
        raise InputError("volumes to draw do not share one grid; resample them first.")
    z = box.centre[2]
    slices = {title: volume[:, :, z].T for title, volume in volumes.items()}
    full_scale = display_window(volumes[reference]) / unit.size
    errors = {title: (image - slices[reference]) / unit.size for title, image in slices.items() if title != reference}
    limit = max((float(np.percentile(np.abs(error), 99.8)) for error in errors.values()), default=0.0) or 1.0
    left, low = box.centre[0] - box.half, box.centre[1] - box.half
    edge = 2 * box.half + 1
    with plain_style() as pyplot:
        from matplotlib.patches import Rectangle

        figure, axes = pyplot.subplots(3, len(slices), figsize=(1.7 * len(slices) + 0.7, 5.4), layout="constrained", squeeze=False)
        for column, (title, image) in enumerate(slices.items()):
            top, middle, bottom = axes[:, column]
            grey = {"cmap": "gray_r", "vmin": 0, "vmax": full_scale, "origin": "lower", "interpolation": "nearest", "aspect": aspect}
            shown = top.imshow(image / unit.size, **grey)
            top.set_title(title)
            top.add_patch(Rectangle((left - 0.5, low - 0.5), edge, edge, fill=False, edgecolor=RED, linewidth=1.2))
            bottom.imshow(image[low : low + edge, left : left + edge] / unit.size, **grey)
            for axis in (top, middle, bottom):
                axis.set_xticks([])
                axis.set_yticks([])
                axis.spines[:].set_visible(False)
            bottom.spines[:].set(visible=True, color=RED, linewidth=1.2)
            if title in errors:
                scale = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "origin": "lower", "interpolation": "nearest", "aspect": aspect}
                difference = middle.imshow(errors[title], **scale)
            else:
                middle.text(0.5, 0.5, "reference", ha="center", va="center", color="0.45", transform=middle.transAxes)
        figure.colorbar(shown, ax=axes[0, :].tolist(), label=unit.label, shrink=0.85, pad=0.01)
        if errors:
            figure.colorbar(difference, ax=axes[1, :].tolist(), label=f"error, {unit.label}", shrink=0.85, pad=0.01)
        save(figure, paths)


def training_curves(histories: Mapping[str, Path], paths: Sequence[str | Path]) -> None:
    """Draw what training logged, one panel a value and one line a run.

    Args:
        histories: Label to `history.tsv`, whose columns are step, an optional epoch, and one column a logged value.
        paths: Files to write.

    Raises:
        InputError: a file is missing, has no column `step`, or logs nothing.
    """
    import pandas

    runs = {}
    for label, path in histories.items():
        try:
            runs[label] = pandas.read_csv(path, sep="\t")
        except (FileNotFoundError, pandas.errors.EmptyDataError):
            raise InputError(f"{path}: no such history, or an empty one; train the method first.") from None
        if "step" not in runs[label].columns:
            raise InputError(f"{path}: has no column step; it is no training history.")
    values = list(dict.fromkeys(column for run in runs.values() for column in run.columns if column not in ("step", "epoch")))
    if not values:
        raise InputError(f"{', '.join(map(str, histories.values()))}: logs no value beside step; nothing can be drawn.")
    across = min(3, len(values))
    down = -(-len(values) // across)
    with plain_style() as pyplot:
        figure, axes = pyplot.subplots(down, across, figsize=(3.1 * across, 2.1 * down), layout="constrained", squeeze=False)
        for axis, value in zip(axes.flat, values, strict=False):
            for number, (label, run) in enumerate(runs.items()):
                if value in run:
                    logged = run[["step", value]].dropna()
                    logged = logged.iloc[:: max(1, -(-len(logged) // POINTS))]
                    dash = ("-", "--", ":", "-.")[number // len(PALETTE) % 4]
                    marker = "o" if len(logged) == 1 else None
                    colour = PALETTE[number % len(PALETTE)]
                    axis.plot(logged["step"], logged[value], color=colour, linestyle=dash, marker=marker, linewidth=1.1, label=label)
            axis.set_title(value.replace("_", " "))
            axis.set_xlabel("step")
        for axis in list(axes.flat)[len(values) :]:
            axis.set_visible(False)
        lines = {line.get_label(): line for axis in axes.flat for line in axis.lines}
        figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=min(6, len(lines)))
        save(figure, paths)


def panels(experiment: Mapping[str, Any], table: "Table", paths: Sequence[str | Path]) -> None:
    """Draw a figure experiment: a row of panels a column, its first metric's mean with a 95 % interval at each tick.

    A setting whose interval cannot be given (one subject) is drawn as its mean alone.

    Args:
        experiment: Resolved entry of kind figure.
        table: Its `build_table`.
        paths: Files to write.

    Raises:
        InputError: a panel shows a method that is no row.
    """
    metric = table.metrics[0]
    blocks = experiment["panels"]
    unknown = [tick["method"] for block in blocks for tick in block["ticks"] if tick["method"] not in table.rows]
    if unknown:
        raise InputError(f"panels: {unknown[0]} is not among the rows of {experiment['title']!r}; add it there.")
    with plain_style() as pyplot:
        figure, axes = pyplot.subplots(
            len(table.columns),
            len(blocks),
            figsize=(3.4 * len(blocks), 2.7 * len(table.columns)),
            layout="constrained",
            squeeze=False,
            sharey="row",
            width_ratios=[len(block["ticks"]) + 1 for block in blocks],
        )
        for row, column in zip(axes, table.columns, strict=True):
            for axis, block in zip(row, blocks, strict=True):
                cells = [table.cells[tick["method"], column.key, metric.name] for tick in block["ticks"]]
                means = np.array([cell.mean for cell in cells])
                reach = np.array([[cell.mean - cell.ci_low for cell in cells], [cell.ci_high - cell.mean for cell in cells]])
                places = np.arange(len(cells))
                axis.errorbar(places, means, np.nan_to_num(reach), fmt="o", color=PALETTE[0], ecolor="0.45", capsize=3, markersize=5)
                best = places[[cell.best for cell in cells]]
                axis.plot(best, means[best], "D", color=PALETTE[1], markersize=7, zorder=3)
                axis.set_xticks(places, [tick["label"] for tick in block["ticks"]])
                axis.set_xlim(-0.6, len(cells) - 0.4)
                axis.set_title(block["title"])
                axis.grid(axis="y", color="0.9", linewidth=0.6)
                axis.set_axisbelow(True)
            row[0].set_ylabel(f"{metric.title}\n{column.label}\n({table.subjects(column.key)})")
        figure.supxlabel("Means over subjects with 95 % confidence intervals; the best is a diamond.", fontsize=8, color="0.35")
        save(figure, paths)


@dataclass(frozen=True)
class Plane:
    """One plane of several volumes, cut to the head.

    Attributes:
        name: Key of `petbench.evaluation.definitions.VIEWS`.
        images: Title to image, (rows, columns) with the first row at the bottom.
        aspect: Height of a pixel over its width.
        box: What is enlarged: left, bottom, width and height in pixels; None for nothing.
    """

    name: str
    images: Mapping[str, Volume]
    aspect: float
    box: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class Scene:
    """Planes of one subject at one dose, below a heading of their own.

    Attributes:
        heading: What is shown, and where the planes lie.
        planes: From top to bottom; all have the same titles.
        reference: Title of the images that errors are taken against.
        inputs: Titles of images that are no PET, such as the MR: each has a window of its own, and no error.
        restored: Titles of the images whose errors set the scale of the error maps; that of a low dose would dwarf them.
        window: What is shown as full scale, in image units.
        unit: What the colour bars are in.
    """

    heading: str
    planes: Sequence[Plane]
    reference: str
    inputs: Sequence[str]
    restored: Sequence[str]
    window: float
    unit: Unit


def middle_of_head(reference: Volume) -> tuple[int, int, int]:
    """The voxel in the middle of the smallest box that holds every voxel above 5 % of the display window."""
    x, y, z = ((bounds.start + bounds.stop) // 2 for bounds in head_box(reference))
    return x, y, z


def cut(
    volumes: Mapping[str, Volume],
    reference: str,
    planes: Sequence[str],
    centre: tuple[int, int, int],
    edges_mm: tuple[float, float, float],
    zoom_mm: float | None = None,
    around_centre: bool = True,
) -> list[Plane]:
    """Cut planes through a voxel out of volumes; the reference alone decides what belongs to the head.

    Args:
        volumes: Title to volume, (x, y, z), x to the right, y to the front and z up.
        reference: Title of the reference.
        planes: Keys of `VIEWS`.
        centre: The voxel that all planes go through.
        edges_mm: Voxel edges along x, y and z.
        zoom_mm: Edge of a square that is enlarged.
        around_centre: Whether it lies around the centre, or else around the plane's strongest edge in the reference.
    """
    box_of_head = zip(head_box(volumes[reference]), centre, strict=True)
    head = tuple(slice(min(bounds.start, at), max(bounds.stop, at + 1)) for bounds, at in box_of_head)
    cuts = []
    for name in planes:
        along = VIEWS[name]
        across, up = (axis for axis in range(3) if axis != along)
        images = {title: np.asarray(volume[head].take(centre[along] - head[along].start, along).T) for title, volume in volumes.items()}
        box = None
        if zoom_mm is not None:
            image = images[reference].T
            sides = [max(2, min(size, round(zoom_mm / edges_mm[axis]))) for axis, size in zip((across, up), image.shape, strict=True)]
            middle = [centre[axis] - head[axis].start for axis in (across, up)] if around_centre else _strongest_edge(image, sides)
            left, bottom = (int(np.clip(at - side // 2, 0, n - side)) for at, side, n in zip(middle, sides, image.shape, strict=True))
            box = (left, bottom, sides[0], sides[1])
        cuts.append(Plane(name, images, edges_mm[up] / edges_mm[across], box))
    return cuts


def _strongest_edge(image: Volume, sides: Sequence[int]) -> list[int]:
    """Centre (x, y) of the box of these sides in which the gradient of an image (x, y) adds up to most."""
    from scipy import ndimage

    gradient = ndimage.gaussian_gradient_magnitude(image.astype(np.float64), sigma=1.0)
    strength = ndimage.uniform_filter(gradient, size=tuple(sides), mode="constant")
    return [int(at) for at in np.unravel_index(int(np.argmax(strength)), strength.shape)]


def views(scenes: Sequence[Scene], paths: Sequence[str | Path]) -> None:
    """Draw scenes one under the other: a column a volume; of each plane its images, their errors, and what is enlarged.

    In a scene one window serves all images, and one symmetric scale all error maps: the 99.8th percentile of the restored images' errors in
    the planes shown.

    Args:
        scenes: What is drawn, from top to bottom.
        paths: Files to write.
    """
    inches = 1.6
    heights = [[inches * rows for plane in scene.planes for rows in _heights(plane)] for scene in scenes]
    width = inches * max(len(scene.planes[0].images) for scene in scenes) + 0.9
    headings = 0.5
    with plain_style() as pyplot:
        figure = pyplot.figure(figsize=(width, sum(map(sum, heights)) + headings * len(scenes)), layout="constrained")
        parts = figure.subfigures(len(scenes), 1, height_ratios=[sum(rows) + headings for rows in heights], squeeze=False)[:, 0]
        for part, scene, rows in zip(parts, scenes, heights, strict=True):
            part.suptitle(scene.heading, fontsize=9, fontweight="bold", x=0.01, ha="left")
            axes = part.subplots(len(rows), len(scene.planes[0].images), squeeze=False, height_ratios=rows)
            _draw_scene(part, axes, scene)
        save(figure, paths)


def _heights(plane: Plane) -> list[float]:
    """Heights of a plane's rows over the width of a column: images, errors and, if something is, what is enlarged."""
    height, width = next(iter(plane.images.values())).shape
    tall = height * plane.aspect / width
    return [tall, tall] if plane.box is None else [tall, tall, plane.box[3] * plane.aspect / plane.box[2]]


def _draw_scene(part: Any, axes: NDArray[Any], scene: Scene) -> None:
    from matplotlib.patches import Rectangle

    size = scene.unit.size
    errors = [
        {title: (image - plane.images[scene.reference]) / size for title, image in plane.images.items() if title not in scene.inputs}
        for plane in scene.planes
    ]
    shown_errors = [error[title] for error in errors for title in scene.restored]
    limit = max((float(np.percentile(np.abs(error), 99.8)) for error in shown_errors), default=0.0) or 1.0
    row, enlarged = 0, []
    for plane, error in zip(scene.planes, errors, strict=True):
        look = {"origin": "lower", "interpolation": "nearest", "aspect": plane.aspect}
        upper, lower = axes[row], axes[row + 1]
        for column, (title, image) in enumerate(plane.images.items()):
            own = title in scene.inputs
            grey = {"cmap": "gray" if own else "gray_r", "vmin": 0, "vmax": _own_window(image) if own else scene.window / size, **look}
            values = image if own else image / size
            drawn = upper[column].imshow(values, **grey)
            if not own:
                shown = drawn
            if title == scene.reference:
                lower[column].text(0.5, 0.5, "reference", ha="center", va="center", color="0.45", transform=lower[column].transAxes)
            elif not own:
                difference = lower[column].imshow(error[title], cmap="RdBu_r", vmin=-limit, vmax=limit, **look)
            if plane.box is not None:
                left, bottom, wide, high = plane.box
                upper[column].add_patch(Rectangle((left - 0.5, bottom - 0.5), wide, high, fill=False, edgecolor=RED, linewidth=1.2))
                enlarged.append(axes[row + 2, column])
                enlarged[-1].imshow(values[bottom : bottom + high, left : left + wide], **grey)
        for axis, text in zip(axes[row:, 0], [plane.name, "error", "enlarged"][: len(_heights(plane))], strict=False):
            axis.set_ylabel(text)
        part.colorbar(shown, ax=upper.tolist(), label=scene.unit.label, shrink=0.85, pad=0.01)
        if len(error) > 1:
            part.colorbar(difference, ax=lower.tolist(), label=f"error,\n{scene.unit.label}", shrink=0.85, pad=0.01)
        row += len(_heights(plane))
    for axis, title in zip(axes[0], scene.planes[0].images, strict=True):
        axis.set_title(textwrap.fill(title, 18))
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for axis in enlarged:
        axis.spines[:].set(visible=True, color=RED, linewidth=1.2)


def _own_window(image: Volume) -> float:
    """What is shown as full scale of an image that is no PET."""
    return float(np.percentile(image, 99.5)) or 1.0


def heat_maps(table: Path, paths: Sequence[str | Path]) -> None:
    """Draw how alike the layers of two branches are, a panel a part of the network, on one scale from 0 to 1.

    Estimates of layers that have nothing in common scatter around 0; those below it are drawn as 0.

    Args:
        table: What `petbench.restoration.representations.compare_layers` writes.
        paths: Files to write.
    """
    import pandas

    found = pandas.read_csv(table, sep="\t")
    first, matrices = found.iloc[0], similarity_matrices(found)
    with plain_style() as pyplot:
        figure, axes = pyplot.subplots(1, len(matrices), figsize=(3.9 * len(matrices), 3.6), layout="constrained", squeeze=False)
        for axis, (part, matrix) in zip(axes.flat, matrices.items(), strict=True):
            shown = axis.imshow(matrix, vmin=0, vmax=1, cmap="viridis", origin="lower")
            axis.set(
                xlabel=f"{first['column_branch'].upper()} branch, layer",
                ylabel=f"{first['row_branch'].upper()} branch, layer",
                title=part.capitalize(),
            )
            for set_ticks, labels in ((axis.set_xticks, matrix.columns), (axis.set_yticks, matrix.index)):
                every = -(-len(labels) // 12)
                set_ticks(range(0, len(labels), every), labels[::every])
            axis.spines[:].set_visible(False)
        figure.colorbar(shown, ax=axes.ravel().tolist(), label="linear CKA", shrink=0.85, pad=0.01)
        caption = f"Unbiased HSIC of {first['samples']} held-out windows at step {first['time_step']}; layers in the order that they run."
        figure.supxlabel(caption, fontsize=8, color="0.35")
        save(figure, paths)


def similarity_matrices(table: "DataFrame") -> "dict[str, DataFrame]":
    """The matrix of each part of the network: layers of one branch down, of the other across; NaN where a layer does not vary."""
    parts = dict.fromkeys(table["part"])
    return {part: table[table["part"] == part].pivot(index="row_layer", columns="column_layer", values="cka") for part in parts}

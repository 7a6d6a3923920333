"""Slices of volumes with error maps and enlarged boxes, drawn as PNG and SVG."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.data.lesions import Lesion
from petbench.errors import InputError
from petbench.evaluation.definitions import VIEWS
from petbench.report.figures import plain_style, save
from petbench.report.viewer import Unit, display_window, head_box

Volume = NDArray[np.floating]
RED = "#D00000"


@dataclass(frozen=True)
class Box:
    """A cube of voxels: its centre (x, y, z) and half its edge, all in voxels."""

    centre: tuple[int, int, int]
    half: int


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
        heading: What is shown, and where the planes lie; may be empty.
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
    left, low, edge = box.centre[0] - box.half, box.centre[1] - box.half, 2 * box.half + 1
    images = {title: volume[:, :, box.centre[2]].T for title, volume in volumes.items()}
    plane = Plane("axial", images, aspect, (left, low, edge, edge))
    others = [title for title in volumes if title != reference]
    views([Scene("", [plane], reference, [], others, display_window(volumes[reference]), unit)], paths)


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
    headings = 0.5 if any(scene.heading for scene in scenes) else 0.0
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

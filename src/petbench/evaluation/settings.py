"""How a table is measured: the choices that papers leave open, as one value."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.evaluation.metrics import OBJECT_SHARE
from petbench.evaluation.quantification import LesionRule

LPIPS_EDGE = 32
"""Smaller slices leave AlexNet's last stage without a pixel."""

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Settings:
    """Keys of a data set entry's `evaluation` block.

    Attributes:
        slice_range: R of slice-wise metrics: "volume" for the volume's R, or "slice" for each slice's own maximum.
        slice_axis: Axis the slices are stacked along, 2 for axial.
        slice_threshold: A slice is empty when its reference stays at or below this fraction of the volume's maximum.
        mask_threshold: Brain mask of data without labels, as a fraction of the 99th percentile of the image it is taken from.
        box: Voxels evaluated, as three half-open ranges; None for the whole grid.
        slices: Indices along `slice_axis` evaluated (within the grid, before `box`); None for all.
        frame_threshold: Head of a slice in the metrics of the frame, from the slice's least value to its largest.
        frame_object_share: Smallest object that such a head can be, as a share of the slice's pixels.
        lesions: Background and exclusions of lesions.
        lpips: Paths of the weights of AlexNet and of LPIPS, see `petbench.evaluation.perceptual`; without them LPIPS reads n/a.
    """

    slice_range: str = "volume"
    slice_axis: int = 2
    slice_threshold: float = 0.05
    mask_threshold: float = 0.2
    box: Box | None = None
    slices: tuple[int, ...] | None = None
    frame_threshold: float = 0.1
    frame_object_share: float = OBJECT_SHARE
    lesions: LesionRule = field(default_factory=LesionRule)
    lpips: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        if self.slice_range not in ("volume", "slice"):
            raise InputError(f"evaluation/slice_range: {self.slice_range!r} is unknown; use 'volume' or 'slice'.")
        if self.slice_axis not in (0, 1, 2):
            raise InputError(f"evaluation/slice_axis: {self.slice_axis!r} is no axis of a volume; use 0, 1 or 2.")
        if self.slices is not None and (len(set(self.slices)) < len(self.slices) or not self.slices):
            raise InputError("evaluation/slices: is empty or names a slice twice; list each slice once.")

    @property
    def contiguous(self) -> bool:
        """Whether what is evaluated is one block, in which a three-dimensional neighbourhood means something."""
        return self.slices is None or sorted(self.slices) == list(range(min(self.slices), max(self.slices) + 1))


def settings_from(block: Mapping[str, Any]) -> Settings:
    """Settings from a plain mapping, as an entry holds it.

    Raises:
        InputError: a key is unknown or a value is not allowed.
    """
    values = dict(block)
    if "lesions" in values:
        values["lesions"] = LesionRule(**values["lesions"])
    if "lpips" in values:
        values["lpips"] = (values["lpips"]["alexnet"], values["lpips"]["linear"])
    if values.get("slices") is not None:
        values["slices"] = tuple(int(index) for index in values["slices"])
    return Settings(**values)


def selection(settings: Settings, shape: tuple[int, ...]) -> tuple[NDArray[np.intp], ...]:
    """Index arrays, for `array[selection]`, of the part of a grid that is evaluated.

    Raises:
        InputError: the box or a slice lies outside the grid, or nothing is left.
    """
    box = settings.box or tuple((0, size) for size in shape)
    if len(box) != len(shape) or any(not 0 <= first < last <= size for (first, last), size in zip(box, shape, strict=True)):
        raise InputError(f"evaluation/box: {box} does not lie in the grid {shape}; give half-open voxel ranges inside it.")
    ranges = [np.arange(first, last) for first, last in box]
    if settings.slices is not None:
        outside = [index for index in settings.slices if not 0 <= index < shape[settings.slice_axis]]
        if outside:
            raise InputError(
                f"evaluation.slices: slice {outside[0]} is not in the grid {shape} along axis {settings.slice_axis}; choose others."
            )
        ranges[settings.slice_axis] = np.intersect1d(ranges[settings.slice_axis], settings.slices)
        if ranges[settings.slice_axis].size == 0:
            raise InputError("evaluation/slices: none of them lies in the box; choose slices inside it.")
    return np.ix_(*ranges)

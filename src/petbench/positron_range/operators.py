"""The strategies of positron-range correction behind one interface: DDConv, SVTD, or none."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.linear import LinearOperator
from petbench.positron_range.ddconv import DDConvSettings, ddconv
from petbench.positron_range.material_kernels import read_material_kernels
from petbench.positron_range.study import STRATEGIES
from petbench.positron_range.svtd import svtd

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class NoCorrection(LinearOperator):
    """Positrons annihilate where they start: the identity."""

    def on_device(self, device: Any, /) -> Any:
        """See `LinearOperator`."""
        from petbench.positron_range.device_range import DeviceNoCorrection

        return DeviceNoCorrection()

    def _forward(self, image: NDArray[np.floating], /) -> Array:
        return np.array(image, dtype=np.float32)

    def _transpose(self, image: NDArray[np.floating], /) -> Array:
        return np.array(image, dtype=np.float32)


def positron_range(
    strategy: str,
    mu: NDArray[np.floating],
    voxel_mm: Sequence[float],
    isotope: str,
    weights: str | Path | None = None,
    kernels: str | Path | None = None,
    kernel_size: int | None = None,
    tail: str = "renormalise",
    settings: DDConvSettings | None = None,
    device: str = "cpu",
    threads: int | None = None,
    predicted: str | Path | None = None,
    keep: str | Path | None = None,
) -> LinearOperator:
    """The operator B(mu) of a strategy, an image operator of `ForwardModel` that stands before the resolution.

    Args:
        strategy: `none`, `svtd` or `ddconv`.
        mu: Attenuation per cm at 511 keV, (x, y, z).
        voxel_mm: Voxel edges.
        isotope: The scan's.
        weights: A trained predictor, which `ddconv` needs.
        kernels: A set of point spread functions with the homogeneous materials, which `svtd` needs; `ddconv` then takes those kernels
            where the medium is homogeneous, as published, and its predictor's own without.
        kernel_size: Edge of the kernels in voxels, None for the predictor's, or the set's.
        tail: `renormalise` or `lose`, of `svtd`; that of `ddconv` is its predictor's.
        settings: Of `ddconv`; `svtd` assigns materials as they say.
        device: Where kernels are predicted, `cpu` or `cuda`.
        threads: Threads to run on, None for numba's own number.
        predicted: A file of this subject's kernels that `ddconv` takes in place of predicting them.
        keep: Where `ddconv` writes its predicted kernels, None for nowhere.

    Raises:
        InputError: the strategy is unknown or lacks its file, or the file or the attenuation does not fit.
    """
    if strategy == "none":
        return NoCorrection()
    if strategy == "svtd":
        if kernels is None:
            raise InputError("positron_range/kernels: svtd needs the kernels of homogeneous materials; give a set of them.")
        settings = settings or DDConvSettings()
        return svtd(mu, voxel_mm, read_material_kernels(kernels, kernel_size, tail), isotope, threads, settings.nearest, settings.air)
    if strategy != "ddconv":
        raise InputError(f"positron_range/strategy: {strategy!r} is unknown; choose one of {', '.join(STRATEGIES)}.")
    if weights is None:
        raise InputError("positron_range/weights: ddconv needs a trained predictor; give one.")
    from petbench.positron_range.predictor import load_predictor

    x_mm, y_mm, z_mm = (float(edge) for edge in voxel_mm)
    predictor = load_predictor(weights, device, isotope, (x_mm, y_mm, z_mm), kernel_size)
    own = predictor.description
    homogeneous = None if kernels is None else read_material_kernels(kernels, own.kernel_size, own.tail)
    return ddconv(mu, predictor, settings, homogeneous, threads, predicted, keep)

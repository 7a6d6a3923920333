"""The strategies of positron-range correction on equal terms: SVTD takes kernel size and tail of the predictor it is held against."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.linear import LinearOperator
from petbench.positron_range.ddconv import DDConvSettings
from petbench.positron_range.operators import positron_range
from petbench.positron_range.study import ROWS


def strategy_operator(
    strategy: str,
    mu: NDArray[np.floating],
    voxel_mm: Sequence[float],
    isotope: str,
    files: Mapping[str, str | Path],
    settings: Mapping[str, Any] | None = None,
    device: str = "cpu",
    threads: int | None = None,
    keep: str | Path | None = None,
) -> LinearOperator:
    """The operator B(mu) of a strategy.

    Args:
        strategy: `none`, `svtd` or `ddconv`.
        mu: Attenuation per cm at 511 keV, (x, y, z).
        voxel_mm: Voxel edges.
        isotope: The scan's.
        files: `weights`, a trained predictor, `kernels`, a set of point spread functions with the homogeneous materials, and `predicted`,
            the subject's kernels where they were predicted before; what a strategy does not need may be missing.
        settings: Keys of `DDConvSettings`.
        device: Where kernels are predicted, `cpu` or `cuda`.
        threads: Threads to run on, None for numba's own number.
        keep: Where `ddconv` writes its predicted kernels, None for nowhere.

    Raises:
        InputError: see `positron_range`; or a setting is unknown.
    """
    from petbench.positron_range.predictor import read_predictor_description

    settings = settings or {}
    unknown = sorted(set(settings) - set(DDConvSettings.__dataclass_fields__))
    if unknown:
        choice = ", ".join(DDConvSettings.__dataclass_fields__)
        raise InputError(f"positron_range/settings: unknown key {unknown[0]!r}; choose among {choice}.")
    options: dict[str, Any] = {}
    if strategy == "svtd" and "weights" in files:
        own = read_predictor_description(files["weights"])
        options = {"kernel_size": own.kernel_size, "tail": own.tail}
    return positron_range(
        strategy,
        mu,
        voxel_mm,
        isotope,
        weights=files.get("weights"),
        kernels=files.get("kernels"),
        settings=DDConvSettings(**settings),
        device=device,
        threads=threads,
        predicted=files.get("predicted"),
        keep=keep,
        **options,
    )


def check_strategies(strategies: Sequence[str]) -> None:
    """Check the names of strategies.

    Raises:
        InputError: one is unknown or there is none.
    """
    for strategy in strategies or ["nothing"]:
        if strategy not in ROWS:
            raise InputError(f"positron_range/strategies: {strategy!r} is unknown; choose among {', '.join(ROWS)}.")

"""What restorations of one subject cost together, where one takes the others' volumes."""

from collections.abc import Mapping, Sequence
from typing import Any

SUMMED = ("parameters", "gmac_modules", "gflop", "restore_seconds", "restore_cpu_seconds", "sampling_steps")


def together(costs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The costs in several sidecars as those of one: what all of them have is added up, of the memory the most is taken."""
    return {
        **{key: sum(cost[key] for cost in costs) for key in SUMMED if all(key in cost for cost in costs)},
        "restore_peak_mb": max(cost["restore_peak_mb"] for cost in costs),
        "device": "; ".join(sorted({cost["device"] for cost in costs})),
    }

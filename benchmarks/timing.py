"""Time a hot path against its reference and print the figure as one JSON line."""

import json
import resource
import time
from collections.abc import Callable


def seconds(call: Callable[[], object], repeats: int = 3) -> float:
    """Best wall-clock time of a few calls after one that warms up (compilation, caches)."""
    call()
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def report(name: str, size: str, ours_s: float, reference_s: float | None, device: str, threads: int, **more: float) -> None:
    """Print one figure; `peak_mb` is the most memory the process has held so far, `more` what else there is to say."""
    line = {
        "name": name,
        "size": size,
        "ours_s": round(ours_s, 4),
        "reference_s": None if reference_s is None else round(reference_s, 4),
        "ratio": None if reference_s is None else round(reference_s / ours_s, 1),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "device": device,
        "threads": threads,
        **more,
    }
    print(json.dumps(line), flush=True)

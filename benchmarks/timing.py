"""Time a hot path against its reference and print the figure as one JSON line; read what the jobs of a finished run took."""

import json
import re
import resource
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


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


DONE = re.compile(r"^done in ([\d.]+) s with (\d+) threads, ([\d.]+) s of processors$", flags=re.MULTILINE)


@dataclass(frozen=True)
class JobTime:
    """Seconds of one job of a finished run: in the library and of its process, each wall-clock, and of processors."""

    rule: str
    threads: int
    library: float
    process: float
    processors: float


def job_times(results: Path) -> Iterator[JobTime]:
    """Every job that ended well: what the last line of its log says, and how long its process lived by Snakemake's benchmark."""
    for log in sorted((results / "logs").rglob("*.log")):
        told = DONE.findall(log.read_text())
        name = log.relative_to(results / "logs").with_suffix("")
        benchmark = results / "benchmarks" / f"{name}.tsv"
        if not (told and benchmark.exists()):
            continue
        head, *rows = (line.split("\t") for line in benchmark.read_text().splitlines())
        library, threads, processors = told[-1]
        process = float(dict(zip(head, rows[-1], strict=True))["s"])
        yield JobTime(name.parts[0], int(threads), float(library), process, float(processors))

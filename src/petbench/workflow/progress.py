"""How much of a run's work is done and how long the rest takes: by the seconds that its jobs took before, for jobs are far from alike."""

import csv
import logging
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from snakemake_interface_logger_plugins.common import LogEvent

from petbench.files import atomic

# Share of the work between two lines.
STEP = 0.05


def read_seconds(table: Path) -> dict[str, float]:
    """Seconds of each job, by the name of its benchmark; empty where none were recorded."""
    if not table.exists():
        return {}
    with table.open(newline="") as file:
        return {row["job"]: float(row["seconds"]) for row in csv.DictReader(file, delimiter="\t")}


def write_seconds(benchmarks: Path, table: Path) -> None:
    """Collect what Snakemake measured of each job of a finished run."""
    with atomic(table) as part, part.open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t", lineterminator="\n")
        writer.writerow(["job", "seconds"])
        for path in sorted(benchmarks.rglob("*.tsv")):
            with path.open(newline="") as measured:
                seconds = next(csv.DictReader(measured, delimiter="\t"))["s"]
            writer.writerow([_name(path, benchmarks), f"{float(seconds):.1f}"])


def expected(jobs: Iterable[str], seconds: Mapping[str, float]) -> dict[str, float]:
    """Seconds that each job should take: as recorded, else as others of its rule did, else as all did."""
    by_rule: dict[str, list[float]] = {}
    for name, value in seconds.items():
        by_rule.setdefault(name.split("/")[0], []).append(value)
    everything = list(seconds.values())

    def one(name: str) -> float:
        alike = by_rule.get(name.split("/")[0], everything)
        return seconds.get(name, sum(alike) / len(alike))

    return {name: one(name) for name in jobs}


class WorkDone(logging.Handler):
    """Says, after jobs of Snakemake's have ended, which share of the work is done and what time is left.

    The time left follows from this run's own speed: seconds since it began, over the recorded seconds of what has ended.
    """

    def __init__(self, seconds: Mapping[int, float], say: Callable[[str], None], now: Callable[[], float] = time.monotonic):
        super().__init__()
        self.waiting = dict(seconds)
        self.total, self.say, self.now, self.start, self.said = sum(seconds.values()), say, now, now(), 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Count a job that has ended."""
        if getattr(record, "event", None) is not LogEvent.JOB_FINISHED or self.waiting.pop(record.__dict__["job_id"], None) is None:
            return
        done = 1 - sum(self.waiting.values()) / self.total
        if self.waiting and done >= self.said + STEP:
            self.said = done
            left = (self.now() - self.start) * (1 - done) / done
            self.say(f"petbench: {done:.0%} of the work is done, some {_duration(left)} left")


class Interrupted(logging.Handler):
    """Says, where a run is interrupted, what is kept."""

    def emit(self, record: logging.LogRecord) -> None:
        """Look for what Snakemake says then."""
        if record.getMessage().startswith("Terminating processes on user request"):
            _say("petbench: what is finished is kept, and a training goes on from its last checkpoint: the same command continues.")


def follow(jobs: Iterable[Any], benchmarks: Path, recorded: Path) -> None:
    """Tell of the work done by Snakemake's `jobs` as they end, if a run of this scale was recorded; and of what an interruption keeps."""
    seconds = read_seconds(recorded)
    measured = {job.jobid: Path(job.benchmark) for job in jobs if job.benchmark}
    names = {number: _name(path, benchmarks) for number, path in measured.items() if path.is_relative_to(benchmarks)}
    logger = logging.getLogger("snakemake.logging")
    logger.addHandler(Interrupted())
    if seconds and names:
        each = expected(names.values(), seconds)
        logger.addHandler(WorkDone({number: each[name] for number, name in names.items()}, _say))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _name(benchmark: Path, folder: Path) -> str:
    return benchmark.relative_to(folder).with_suffix("").as_posix()


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


if __name__ == "__main__":
    write_seconds(Path(sys.argv[1]), Path(sys.argv[2]))

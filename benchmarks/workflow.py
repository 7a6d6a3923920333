"""What the workflow itself costs: a dry run of the full study, a run's useful work, and a job of SLURM's.

`--run SCALE` runs a scale in a folder of its own and says which share of cores x wall time its jobs spent in the library, and where the
rest went; `--finished RESULTS --wall SECONDS` says it of a run that is there.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from timing import job_times, report

ROOT = Path(__file__).parents[1]
SCALE = {
    "scale": "paper",
    "run": ["mak_gan_table1", "mak_gan_table2", "mak_gan_figure3"],
    "override": {"datasets": {"mni": {"subjects": 32}}},
}
BARE = """
rule all:
    input: expand("c/{{n}}", n=range({third}))
    localrule: True
rule a:
    output: "a/{{n}}"
    resources: mem_mb=500, runtime=5
    shell: "touch {{output}}"
rule b:
    input: "a/{{n}}"
    output: "b/{{n}}"
    resources: mem_mb=500, runtime=5
    shell: "touch {{output}}"
rule c:
    input: "b/{{n}}"
    output: "c/{{n}}"
    resources: mem_mb=500, runtime=5
    shell: "touch {{output}}"
"""


def snakemake(*arguments: str, environment: dict[str, str] | None = None) -> tuple[float, str]:
    """Seconds that a run took, and what it printed."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "snakemake", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    return time.perf_counter() - started, done.stdout


def dry_run(folder: Path, *arguments: str) -> tuple[float, int]:
    """Best of two dry runs in seconds, and the number of jobs."""
    given = ("--dry-run", "--cores", "2", "--quiet", "rules", "host", "--directory", str(folder), *arguments)
    runs = [snakemake(*given) for _ in range(2)]
    return min(seconds for seconds, _ in runs), next(int(line.split()[1]) for line in runs[0][1].splitlines() if line.startswith("total "))


def bare(folder: Path, jobs: int) -> tuple[str, ...]:
    """A workflow of as many jobs in chains of three that do nothing."""
    (folder / "Snakefile").write_text(BARE.format(third=jobs // 3))
    return "--snakefile", str(folder / "Snakefile")


def useful_work(results: Path, wall: float, cores: int) -> None:
    """Print what became of cores x wall time, in core seconds.

    A job holds its threads for as long as its script runs: inside the library, and before that as Python starts and imports. What no
    job held went to Snakemake and to cores that had nothing to do.
    """
    library = starting = processor = 0.0
    jobs = list(job_times(results))
    for job in jobs:
        threads = min(job.threads, cores)
        library += job.library * threads
        starting += max(0.0, job.process - job.library) * threads
        processor += job.processors
    whole = cores * wall
    report(
        "useful_work",
        f"{results.name}, {len(jobs)} jobs, {wall:.0f} s",
        library,
        None,
        "cpu",
        cores,
        useful=round(library / whole, 3),
        starting=round(starting / whole, 3),
        scheduling_and_waiting=round(1 - (library + starting) / whole, 3),
        processor=round(processor / whole, 3),
    )


def run_and_tell(scale: str, cores: int, environment: dict[str, str] | None = None) -> None:
    """Run a scale in a folder of its own and print its useful work."""
    name = yaml.safe_load(Path(scale).read_text())["scale"]
    with tempfile.TemporaryDirectory() as folder:
        given = ("--cores", str(cores), "--resources", "gpu=1", "--directory", folder, "--configfile", str(Path(scale).resolve()))
        wall, _ = snakemake(*given, environment=environment)
        useful_work(Path(folder, "results", name), wall, cores)


def slurm_job() -> None:
    """Seconds that SLURM adds to a job, from a chain of three that do nothing, against the same chain on this machine."""
    sys.path.insert(0, str(ROOT / "tests/workflow"))
    from cluster import slurm

    with tempfile.TemporaryDirectory() as name, slurm(Path(name, "slurm")) as environment:
        folder = Path(name)
        given = (*bare(folder, 3), "--workflow-profile", "none")
        local, _ = snakemake(*given, "--cores", "1", "--directory", str(folder / "local"), environment=environment)
        polling = ("--slurm-init-seconds-before-status-checks", "5", "--slurm-status-command", "squeue")
        queued, _ = snakemake(
            *given, "--executor", "slurm", "--jobs", "1", *polling, "--directory", str(folder / "queued"), environment=environment
        )
        show = ["squeue", "--states=all", "--noheader", "--Format", "TimeUsed"]
        used = subprocess.run(show, env=environment, capture_output=True, text=True, check=True).stdout.split()
        seconds = [sum(int(part) * 60**place for place, part in enumerate(reversed(time_used.split(":")))) for time_used in used]
        report("slurm_job", "one of a chain of 3", queued / 3, local / 3, "cpu", 1, allocated_s=sum(seconds) / len(seconds))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", metavar="SCALE", help="a scale's file to run")
    parser.add_argument("--finished", metavar="RESULTS", type=Path, help="results/<scale> of a finished run; needs --wall")
    parser.add_argument("--wall", metavar="SECONDS", type=float, help="how long that run took")
    parser.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    if given.finished:
        if given.wall is None:
            parser.error("--finished needs --wall, the run's seconds")
        return useful_work(given.finished, given.wall, given.cores)
    if given.run:
        return run_and_tell(given.run, given.cores)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "scale.yaml").write_text(yaml.safe_dump(SCALE))
        ours, jobs = dry_run(folder / "ours", "--configfile", str(folder / "scale.yaml"))
        reference, _ = dry_run(folder / "bare", *bare(folder, jobs))
        report("dry_run", f"{jobs} jobs", ours, reference, "cpu", 1)
    run_and_tell(str(ROOT / "config/tiny.yaml"), given.cores)
    if shutil.which("slurmd", path=f"{os.environ['PATH']}:/usr/sbin") and os.geteuid() == 0:
        slurm_job()
    return None


if __name__ == "__main__":
    main()

"""Dry run of some 1,500 jobs, against Snakemake's own dry run of as many jobs that depend on one another and nothing else."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from timing import report

ROOT = Path(__file__).parents[1]
SCALE = {
    "scale": "paper",
    "run": ["mak_gan_table1", "mak_gan_table2", "mak_gan_figure3"],
    "override": {"datasets": {"mni": {"subjects": 32}}},
}
BARE = """
rule all:
    input: expand("c/{{n}}", n=range({third}))
rule a:
    output: "a/{{n}}"
    shell: "touch {{output}}"
rule b:
    input: "a/{{n}}"
    output: "b/{{n}}"
    shell: "touch {{output}}"
rule c:
    input: "b/{{n}}"
    output: "c/{{n}}"
    shell: "touch {{output}}"
"""


def dry_run(folder: Path, *arguments: str) -> tuple[float, int]:
    """Best of two dry runs in seconds, and the number of jobs."""
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--dry-run",
        "--cores",
        "2",
        "--quiet",
        "rules",
        "host",
        "--directory",
        str(folder),
        *arguments,
    ]
    best = float("inf")
    for _ in range(2):
        started = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        best = min(best, time.perf_counter() - started)
    return best, next(int(line.split()[1]) for line in (done.stdout + done.stderr).splitlines() if line.startswith("total "))


with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    (folder / "scale.yaml").write_text(yaml.safe_dump(SCALE))
    ours, jobs = dry_run(folder / "ours", "--configfile", str(folder / "scale.yaml"))
    (folder / "Snakefile").write_text(BARE.format(third=jobs // 3))
    reference, _ = dry_run(folder / "bare", "--snakefile", str(folder / "Snakefile"))
    report("dry_run", f"{jobs} jobs", ours, reference, "cpu", 1)

"""A copy of the project to run, edit and break, and how to run Snakemake in it."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import yaml
from filelock import FileLock

from petbench.physics.oblique import ObliqueProjector
from petbench.physics.operators import GaussianBlur
from petbench.physics.projector import DirectProjector
from petbench.physics.scanner import Scanner

ROOT = Path(__file__).parents[2]
# As many jobs beside each other as there are cores for each process of tests: with more, all take longer.
CORES = max(1, len(os.sched_getaffinity(0)) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
PARALLEL = ("--cores", str(CORES), "--resources", "gpu=2")


@dataclass(frozen=True)
class Repo:
    """A copy of the project at `path`; results are written into it."""

    path: Path

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(self.path / "src")}

    def watched(self, folder: Path, **plan: tuple[str, int]) -> dict[str, str]:
        """An environment in which jobs note in `folder` the files they put in place, and some are struck: see `drill/sitecustomize.py`."""
        folder.mkdir(exist_ok=True)
        paths = f"{self.path / 'src'}:{Path(__file__).parent / 'drill'}"
        return os.environ | {"PYTHONPATH": paths, "DRILL": str(folder), "DRILL_PLAN": json.dumps(plan)}

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "snakemake", *arguments]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=self.path, env=environment or self.environment, text=True, **streams)

    def snakemake(
        self, *arguments: str, check: bool = True, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        running = self.start(*arguments, environment=environment)
        done = subprocess.CompletedProcess(running.args, 0, *running.communicate())
        done.returncode = running.returncode
        if check and done.returncode:
            raise AssertionError(f"snakemake {' '.join(arguments)}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
        return done

    def killed(self, folder: Path, *arguments: str, only: Collection[str] = ("*",), **plan: tuple[str, int]) -> set[str]:
        """Run with the first job of each script, or of some, killed as it puts a file in place, then tried again; their rules."""
        environment = self.watched(folder, **(dict.fromkeys(only, ("SIGKILL", 1)) | plan))
        return set(re.findall(r"Error in rule (\w+)", self.snakemake("--retries", "1", *arguments, environment=environment).stderr))

    def planned(self, *arguments: str) -> list[tuple[str, dict[str, str]]]:
        """Rule and wildcards of each job that a run would start, in a dry run; target rules left out."""
        done = self.snakemake("--dry-run", "--cores", "2", *arguments)
        jobs = []
        for block in re.split(r"\n\n|\n\[", done.stdout + done.stderr):
            found = re.search(r"^(?:local)?rule (\w+):$", block, re.MULTILINE)
            if found and found[1] not in ("all", "tables", "report", "restore"):
                named = re.search(r"^ +wildcards: (.*)$", block, re.MULTILINE)
                pairs = [pair.split("=", 1) for pair in named[1].split(", ")] if named else []
                jobs.append((found[1], dict(pairs)))
        return jobs

    def rules(self, *arguments: str) -> set[str]:
        return {rule for rule, _ in self.planned(*arguments)}

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.path / name
        text = path.read_text()
        assert old in text, f"{name} does not hold {old!r}"
        path.write_text(text.replace(old, new, 1))


def copy_of_project(path: Path) -> Repo:
    """Copy what git tracks, and what it does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)
    for rules in (path / "rules").glob("*.smk"):  # a dry run tells a job's message in place of its rule and wildcards, which tests read
        rules.write_text(re.sub(r"^    message:\n        .*\n", "", rules.read_text(), flags=re.MULTILINE))
    compile_loops()
    for cached in (ROOT / "src").rglob("*.nb[ic]"):
        target = path / cached.relative_to(ROOT)
        target.parent.mkdir(exist_ok=True)
        shutil.copy2(cached, target)
    return Repo(path)


def copy_of_results(finished: Repo, path: Path) -> Repo:
    """Copy a finished run with its project, to change it."""
    shutil.copytree(finished.path, path, symlinks=True)
    return Repo(path)


def compile_loops() -> None:
    """Compile what simulates and reconstructs, once for all copies: numba keeps it beside the source, and it goes by the file's time."""
    with FileLock(Path(tempfile.gettempdir()) / "petbench-compiling.lock"):
        for name, projector in (("tiny", DirectProjector), ("torso_demo", partial(ObliqueProjector, view_indices=(0,), tof=True))):
            scanner = Scanner.from_entry(yaml.safe_load((ROOT / f"config/scanners/{name}.yaml").read_text()))
            project, image = projector(scanner), np.ones(scanner.image_shape, dtype=np.float32)
            GaussianBlur(8.0, scanner.voxel_mm)(project.adjoint(project(image)))

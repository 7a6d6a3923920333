"""A copy of the project to run, edit and break, and how to run Snakemake in it."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from filelock import FileLock

from petbench.physics.operators import GaussianBlur
from petbench.physics.projector import DirectProjector
from petbench.physics.scanner import Scanner

ROOT = Path(__file__).parents[2]
PARALLEL = ("--cores", "2", "--resources", "gpu=2")


@dataclass(frozen=True)
class Repo:
    """A copy of the project at `path`; results are written into it."""

    path: Path

    @property
    def environment(self) -> dict[str, str]:
        return os.environ | {"PYTHONPATH": str(self.path / "src")}

    def snakemake(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "snakemake", *arguments]
        done = subprocess.run(command, cwd=self.path, env=self.environment, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
        return done

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
    compile_projector()
    for cached in (ROOT / "src").rglob("*.nb[ic]"):
        target = path / cached.relative_to(ROOT)
        target.parent.mkdir(exist_ok=True)
        shutil.copy2(cached, target)
    return Repo(path)


def compile_projector() -> None:
    """Compile what simulates and reconstructs, once for all copies: numba keeps it beside the source, and it goes by the file's time."""
    with FileLock(Path(tempfile.gettempdir()) / "petbench-compiling.lock"):
        scanner = Scanner.from_entry(yaml.safe_load((ROOT / "config/scanners/tiny.yaml").read_text()))
        projector, image = DirectProjector(scanner), np.ones(scanner.image_shape, dtype=np.float32)
        GaussianBlur(8.0, scanner.voxel_mm)(projector.adjoint(projector(image)))

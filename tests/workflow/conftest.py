import shutil
import sys
from pathlib import Path

import pytest
from filelock import FileLock

sys.path.insert(0, str(Path(__file__).parent))

from repo import CORES, Repo, copy_of_project, copy_of_results


def run_once(tmp_path_factory, worker_id, scale):
    """The project after a whole run of a scale; run by the first test process that asks, copied by none."""
    base = tmp_path_factory.getbasetemp()
    shared = (base if worker_id == "master" else base.parent) / scale
    with FileLock(f"{shared}.lock"):
        if not (shared / "done").exists():
            shutil.rmtree(shared, ignore_errors=True)
            repo = copy_of_project(shared)
            watched = repo.watched(shared / "watched")
            file = "config/tiny.yaml" if scale == "tiny" else f"tests/config/{scale}.yaml"
            repo.snakemake("--cores", str(CORES), "--resources", "gpu=0", "--configfile", file, environment=watched)
            (shared / "done").touch()
    return Repo(shared)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, worker_id):
    """After a whole run of the tiny scale; not to be changed."""
    return run_once(tmp_path_factory, worker_id, "tiny")


@pytest.fixture(scope="session")
def features(tmp_path_factory, worker_id):
    """After a whole run of the entries that build on entries; not to be changed."""
    return run_once(tmp_path_factory, worker_id, "features")


@pytest.fixture
def changed(features, tmp_path):
    """A private copy of the finished run, to change."""
    return copy_of_results(features, tmp_path / "copy")

"""The environments that a run can take: the lock, and the same for conda."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from repo import ROOT

LOCK = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().split())
CONDA = yaml.safe_load((ROOT / "envs/petbench.yaml").read_text())["dependencies"]


def test_the_conda_environment_holds_what_is_locked():
    (pip,) = [part["pip"] for part in CONDA if isinstance(part, dict)]
    assert dict(line.split("==") for line in pip) == LOCK
    (python,) = [part.removeprefix("python=") for part in CONDA if isinstance(part, str) and part.startswith("python")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert python in SpecifierSet(project["requires-python"])


def test_every_dependency_is_locked_at_a_version_that_it_allows():
    locked = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in LOCK.items()}
    for text in requires("petbench") or []:
        wanted = Requirement(text)
        assert locked[re.sub(r"[-_.]+", "-", wanted.name).lower()] in wanted.specifier, text


def test_every_rule_runs_in_the_one_environment():
    names = {name for path in (ROOT / "rules").glob("*.smk") for name in re.findall(r'"(\.\./envs/.*)"', path.read_text())}
    assert names == {"../envs/petbench.yaml"}
    assert "--no-deps" in (ROOT / "envs/petbench.post-deploy.sh").read_text()


def test_the_lock_is_what_is_installed():
    listed = subprocess.run([sys.executable, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
    installed = dict(line.split("==") for line in listed.splitlines() if "==" in line)
    different = {
        name: (version, installed[name]) for name, version in LOCK.items() if name in installed and installed[name].split("+")[0] != version
    }
    assert not different

"""The check of a GPU, run on the CPU at the smallest sizes where there is nothing but torch, NumPy, SciPy and Numba."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
BARE = """
import re, runpy, sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder
from importlib.metadata import packages_distributions, requires

def with_needs(names):
    found, left = set(), list(names)
    while left:
        if (name := left.pop().lower().replace("_", "-")) not in found:
            found.add(name)
            try:
                needs = requires(name) or []
            except ModuleNotFoundError:  # another system's
                continue
            left += [re.match(r"[\\w.-]+", need)[0] for need in needs if "extra ==" not in need]
    return found

allowed = with_needs(["torch", "numpy", "scipy", "numba"])
packages = packages_distributions()
blocked = {name for name, makers in packages.items() if not allowed & {maker.lower().replace("_", "-") for maker in makers}} - {"petbench"}
assert {"yaml", "tqdm", "safetensors", "array_api_compat", "h5py", "pandas"} <= blocked

class Bare:  # what is blocked is absent, to whoever asks
    def find_distributions(self, context):
        found = PathFinder.find_distributions(context)
        return (one for one in found if one.metadata["Name"].lower().replace("_", "-") in allowed)

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in blocked else PathFinder.find_spec(name, path, target)

sys.meta_path = [BuiltinImporter, FrozenImporter, Bare()]
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*arguments: str, bare: bool = True) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-c", BARE] if bare else [sys.executable]
    path = f"{ROOT / 'benchmarks'}{os.pathsep}{ROOT / 'src'}"
    environment = os.environ | {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return subprocess.run([*start, str(ROOT / "benchmarks/gpu_check.py"), *arguments], env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def done() -> subprocess.CompletedProcess[str]:
    return run("--device", "cpu", "--tiny", "--only", "operators", "mb_unet")


def test_it_runs_with_four_packages_alone(done):
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    rows = [json.loads(line) for line in lines if line.startswith("{")]
    operators = {row["name"]: row for row in rows if row["kind"] == "operator"}
    projectors = {f"{name} {way}" for name in ("direct", "oblique", "oblique, TOF", "DDConv") for way in ("forward", "back")}
    assert set(operators) == projectors | {"fast engine"}
    assert all(row["holds"] for row in operators.values())
    # of two forms in 32-bit the last digits differ: the device's own one ran
    assert all(0 < operators[name]["difference"] < 1e-5 for name in projectors)
    methods = [row for row in rows if row["kind"] in ("train", "restore")]
    assert {(row["kind"], row["precision"]) for row in methods} == {(k, p) for k in ("train", "restore") for p in ("32-bit", "bf16")}
    assert all(row["seconds"] > 0 and row["tflops"] > 0 for row in methods)
    assert all(1e-5 < row["difference"] < 0.05 for row in methods if row["precision"] == "bf16")
    assert sum(line.startswith("| ") for line in lines) == 1 + len(rows)
    assert "--tflops" in lines[-1]


def test_its_entries_are_those_of_config(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_check

    stored = json.loads(gpu_check.ENTRIES.read_text())
    made = gpu_check.entries()
    ladder = stored.pop("ladder")
    for name, values in made.pop("ladder").items():
        np.testing.assert_allclose(ladder[name], values, rtol=1e-9)
    assert stored == made, "config/ has changed: python benchmarks/gpu_check.py --write"
    assert {"mak_gan", "m2diff", "mfdiff", "pcsa_gan"} <= set(stored["methods"])


def test_what_fails_or_has_no_time_is_named(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_check

    check = gpu_check.Check("cpu", tiny=True, minutes=0.0, only=["mb_unet"])
    gpu_check.methods(check)
    assert (check.left_out, check.rows) == (["mb_unet"], [])
    with check.reported("method", "mak_gan"):
        raise RuntimeError("no kernel image is available\nand more")
    assert "FAILED: RuntimeError: no kernel image is available |" in gpu_check.table(check)
    assert "want of time (--minutes): mb_unet" in gpu_check.table(check)
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["gpu_check.py", "--device", "cpu", "--tiny", "--only", "mak"])
    with pytest.raises(SystemExit, match="there is no 'mak'"):
        gpu_check.main()

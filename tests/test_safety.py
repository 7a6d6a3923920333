"""Nothing that petbench reads can run code or write outside its place."""

import ast
from pathlib import Path

import pytest

import petbench

MODULES = sorted(Path(petbench.__file__).parent.rglob("*.py"))
# What unpacks objects or archives; petbench needs neither: weights are safetensors, downloads single files.
REFUSED = {"pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "tarfile", "zipfile"}


def calls(tree, name):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
            yield {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_no_module_unpickles_or_unpacks(path):
    tree = ast.parse(path.read_text())
    imported = {alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names} | {
        (node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
    }
    assert not imported & REFUSED
    assert all(given.get("weights_only") == "True" for given in calls(tree, "torch.load"))
    assert all("allow_pickle" not in given for given in calls(tree, "np.load"))
    for name in ("yaml.load", "eval", "exec", "shutil.unpack_archive", "os.system"):
        assert all("Safe" in given.get("Loader", "") for given in calls(tree, name)), name

"""numba's cache of compiled code looks at the file that holds a function, so compiled code must not reach into another file's."""

import importlib
import pkgutil
from types import ModuleType

import pytest
from numba.core.registry import CPUDispatcher

import petbench

MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(petbench.__path__, "petbench.")
    if "njit" in (importlib.util.find_spec(name).loader.get_source(name) or "")
]


def compiled(module: ModuleType) -> dict[str, CPUDispatcher]:
    return {name: value for name, value in vars(module).items() if isinstance(value, CPUDispatcher)}


def test_modules_are_found():
    assert {"petbench.physics.kernels", "petbench.physics.kernels_oblique", "petbench.physics.kernels_listmode"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_compiled_functions_are_of_their_own_file(name):
    module = importlib.import_module(name)
    assert compiled(module)
    for function in compiled(module).values():
        assert function.py_func.__module__ == name

"""Modules of methods, looked at without importing them: that takes seconds, for they bring torch."""

import ast
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from petbench.errors import InputError


def module_source(module: str) -> Path | None:
    """The file of a method's module, None if there is none."""
    spec = find_spec(f"petbench.methods.{module}")
    return None if spec is None or spec.origin is None else Path(spec.origin)


def check_module(module: str, train: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Check that a module can be built, and that the entry has a block for each of its optimisers.

    Args:
        module: An entry's `module`.
        train: The entry's block.
        schema: That of the module; its `optimisers` are those that the method's `optimised` names, `restorer` where it gives none.

    Raises:
        InputError: the module is missing, has no `build`, or an optimiser has no block.
    """
    source = module_source(module)
    if source is None:
        raise InputError(f"module: config/schemas/methods/{module}.yaml is there, and src/petbench/methods/{module}.py is not; write it.")
    if "build" not in _top_level(source):
        raise InputError(f"module: {source} has no function `build(train)`; add one that returns the method, freshly initialised.")
    for optimiser in schema.get("optimisers", ["restorer"]):
        if optimiser not in train["optimiser"]:
            raise InputError(
                f"train/optimiser: there is no block for {optimiser!r}, which {module} trains with; add one, such as"
                f" {optimiser}: {{name: adam, lr: 1.0e-4}}."
            )


def _top_level(source: Path) -> set[str]:
    """Functions that a file defines or imports."""
    names = set()
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in node.names)
    return names

"""A hash of the code that a job's result depends on.

It covers the job's script and every petbench module that the script imports, directly or through others, as syntax trees
without comments and docstrings: a changed network gives another hash, a changed docstring does not.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import petbench

PACKAGE = Path(petbench.__file__).parent


def code_hash(script: str | Path, *modules: str) -> str:
    """Hash a script, the modules it imports transitively, and `modules` (found by name at run time) with theirs.

    Args:
        script: Path of a Python file.
        modules: Dotted names below `petbench`, such as `petbench.methods.mak_gan`.

    Returns:
        Sixteen hexadecimal digits.
    """
    found: set[str] = set()
    _collect(_read(Path(script))[1], found)
    _collect(modules, found)
    total = hashlib.sha256(_read(Path(script))[0].encode())
    for module in sorted(found):
        total.update(f"{module} {_read(_path(module))[0]}".encode())
    return total.hexdigest()[:16]


def _collect(modules: Iterable[str], found: set[str]) -> None:
    for module in modules:
        if module not in found:
            found.add(module)
            _collect(_read(_path(module))[1], found)


def _path(module: str) -> Path:
    relative = Path(*module.split(".")[1:])
    return PACKAGE / relative / "__init__.py" if (PACKAGE / relative).is_dir() else PACKAGE / relative.with_suffix(".py")


@cache
def _read(path: Path) -> tuple[str, tuple[str, ...]]:
    """Fingerprint of a file without its comments and docstrings, and the petbench modules that it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported: set[str] = set()
    for node in _statements(tree):
        imported.update(_petbench_imports(node))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(sorted(imported))


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """A tree's statements; nothing that counts here is inside an expression, and most nodes are."""
    yield node
    for field in ("body", "orelse", "finalbody", "handlers", "cases"):
        below = getattr(node, field, None)
        for statement in list(below) if isinstance(below, list) else ():
            yield from _statements(statement)


def _petbench_imports(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "petbench":
        # `from petbench.physics import counts` names a module, `from petbench.physics.counts import thin` a function
        for alias in node.names:
            module = f"{node.module}.{alias.name}"
            yield module if _path(module).exists() else node.module
    elif isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name.startswith("petbench."))

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
    _collect(_imports(Path(script)), found)
    _collect(modules, found)
    total = hashlib.sha256(_fingerprint(Path(script)).encode())
    for module in sorted(found):
        total.update(f"{module} {_fingerprint(_path(module))}".encode())
    return total.hexdigest()[:16]


def _collect(modules: Iterable[str], found: set[str]) -> None:
    for module in modules:
        if module not in found:
            found.add(module)
            _collect(_imports(_path(module)), found)


def _path(module: str) -> Path:
    relative = Path(*module.split(".")[1:])
    return PACKAGE / relative / "__init__.py" if (PACKAGE / relative).is_dir() else PACKAGE / relative.with_suffix(".py")


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def _imports(path: Path) -> tuple[str, ...]:
    return tuple(sorted(set(_petbench_imports(_tree(path)))))


def _petbench_imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "petbench":
            # `from petbench.physics import counts` names a module, `from petbench.physics.counts import thin` a function
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                yield module if _path(module).exists() else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("petbench."))


@cache
def _fingerprint(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
                node.body = body[1:]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()

"""How modules depend on each other: in no circle, and only as the table in docs/architecture.md says."""

import ast
import re
from functools import cache

import pytest

from .pages import ROOT, rows

SOURCES = ROOT / "src" / "petbench"
# serve all
SHARED = ("errors", "files", "checkpoint", "device")


@cache
def imports():
    """The petbench modules that each one imports: at its top, inside its functions, and for type checkers alone."""
    paths = {".".join(path.relative_to(SOURCES.parent).with_suffix("").parts): path for path in SOURCES.rglob("*.py")}
    paths = {name.removesuffix(".__init__"): path for name, path in paths.items()}
    return {name: imported(path, paths) for name, path in paths.items()}


def imported(path, known):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found.update(name if name in known else node.module for name in names)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
    return found & set(known)


def circle(graph):
    """Names that lead back to the first, or none."""
    done, above = set(), []

    def visit(name):
        if name in above:
            return [*above[above.index(name) :], name]
        if name in done:
            return []
        above.append(name)
        found = next(filter(None, map(visit, sorted(graph[name]))), [])
        above.pop()
        done.add(name)
        return found

    return next(filter(None, map(visit, sorted(graph))), [])


def test_modules_import_each_other_in_no_circle():
    assert circle(imports()) == []


def test_a_circle_would_be_found():
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"b"}}
    assert circle(graph) == ["b", "d", "b"]


def packages():
    """By package, those that the table lets it import."""
    told = rows(ROOT / "docs" / "architecture.md", "Packages")
    return {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[2])) for row in told}


def test_every_package_has_a_row():
    assert set(packages()) == {path.parent.name for path in SOURCES.glob("*/__init__.py")}


@pytest.mark.parametrize("package", packages())
def test_a_package_imports_those_of_its_row_and_needs_each(package):
    used = {
        other.split(".")[1]
        for name, others in imports().items()
        if name.startswith(f"petbench.{package}.")
        for other in others
        if "." in other
    }
    assert used - {package, *SHARED} == packages()[package]

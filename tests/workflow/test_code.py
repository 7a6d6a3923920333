"""The hash of the code that a result depends on."""

import pytest
from repo import ROOT

from petbench.workflow import code


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package in place of petbench: a script that imports a, which imports b."""
    monkeypatch.setattr(code, "PACKAGE", tmp_path)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "__init__.py").write_text("")
    (tmp_path / "a.py").write_text('"""Doc."""\n\nfrom petbench.deep import b\n\n\ndef f():\n    """Doc."""\n    return b.g()\n')
    (tmp_path / "deep" / "b.py").write_text("def g():\n    return 1\n")
    (tmp_path / "c.py").write_text("X = 1\n")
    (tmp_path / "script.py").write_text("def late():\n    from petbench.a import f\n    return f\n")
    return tmp_path


def hashed(package, *modules):
    code._read.cache_clear()
    return code.code_hash(package / "script.py", *modules)


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_docstrings_comments_and_layout_do_not_count(package):
    before = hashed(package)
    edit(package / "a.py", '    """Doc."""', '    """Another."""\n    # a comment')
    edit(package / "deep" / "b.py", "def g():", "def g(\n):")
    assert hashed(package) == before


@pytest.mark.parametrize(
    ("name", "old", "new"), [("a.py", "b.g()", "b.g() + 1"), ("deep/b.py", "1", "2"), ("script.py", "return f", "return f()")]
)
def test_code_counts_through_imports_even_late_ones(package, name, old, new):
    before = hashed(package)
    edit(package / name, old, new)
    assert hashed(package) != before


def test_what_is_not_imported_does_not_count_unless_named(package):
    before, named = hashed(package), hashed(package, "petbench.c")
    edit(package / "c.py", "1", "2")
    assert hashed(package) == before
    assert hashed(package, "petbench.c") != named


def test_a_metric_is_no_part_of_training_and_training_none_of_restoring():
    found = set()
    code._collect(code._read(ROOT / "scripts" / "train.py")[1], found)
    assert "petbench.training.fit" in found
    assert not [module for module in found if module.startswith("petbench.evaluation") or module == "petbench.restoration.restore"]
    found = set()
    code._collect(code._read(ROOT / "scripts" / "restore_subject.py")[1], found)
    assert "petbench.restoration.restore" in found
    assert "petbench.training.fit" not in found

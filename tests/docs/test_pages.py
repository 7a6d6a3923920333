"""What the pages say exists: links, files, rules, packages, keys, targets and commands."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from petbench.workflow.entries import load

from .pages import PAGES, ROOT, blocks, rows, without_code

README, METHODS, ARCHITECTURE, CONFIGURATION, DEVIATIONS = (
    ROOT / name for name in ("README.md", "docs/methods.md", "docs/architecture.md", "docs/configuration.md", "docs/deviations.md")
)
METHOD_SCHEMAS = sorted(f"methods/{path.stem}" for path in (ROOT / "config/schemas/methods").glob("*.yaml"))
SCHEMAS = ["scale", "dataset", "phantom", "brainweb", "scanner", "method", "experiment", "classifier", *METHOD_SCHEMAS]
SCHEMAS += ["psf_set", "predictor", "torso"]
SCHEMAS += [f"experiments/{path.stem}" for path in sorted((ROOT / "config/schemas/experiments").glob("*.yaml"))]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_code(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_resolve(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_named_exist(page):
    added = {Path(path) for page in (README, METHODS) for path in blocks(page)}
    for path in re.findall(r"`((?:config|docs|profiles|resources|rules|scripts|src|tests)/[\w./-]*)`", without_code(page)):
        assert (ROOT / path).exists() or Path(path) in added, path


def test_architecture_names_every_rule():
    said = {rule for row in rows(ARCHITECTURE, "Stages") for rule in re.findall(r"`(\w+)`", row[0])}
    text = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    assert said == set(re.findall(r"^rule (\w+):", text, flags=re.MULTILINE))


def test_architecture_follows_one_subject_by_functions_that_its_rules_take():
    rules = {}
    for path in (ROOT / "rules").glob("*.smk"):
        rules |= {block.partition(":")[0]: block for block in re.split(r"^rule ", path.read_text(), flags=re.MULTILINE)[1:]}
    steps = rows(ARCHITECTURE, "The way of one subject")
    assert len(steps) == 9
    for _, rule, function, planned in steps:
        text = rules[rule.strip("`")]
        module, name = function.strip("`").rsplit(".", 1)
        script = ROOT / "scripts" / re.search(r"scripts/(\w+\.py)", text)[1]
        assert re.search(rf"^from {re.escape(module)} import .*\b{name}\b", script.read_text(), flags=re.MULTILINE), function
        for method in re.findall(r"`plan\.([\w.]+)`", planned):
            assert f"PLAN.{method}" in text, method


def test_architecture_names_every_module_of_the_plan():
    told = {module for row in rows(ARCHITECTURE, "The plan") for module in re.findall(r"`(\w+)\.py`", row[0])}
    assert told == {path.stem for path in (ROOT / "src/petbench/plan").glob("[a-z]*.py")} - {"plan"}


def keys(schema: Any, definitions: Any) -> set[str]:
    """Paths of all keys of a schema; `*` stands for names that users give."""
    schema = definitions.get(schema.get("$ref", "").rpartition("/")[2], schema)
    schema = schema.get("items", schema)
    found = set()
    free = schema.get("additionalProperties")
    children = schema.get("properties", {}) | ({"*": free} if isinstance(free, dict) else {})
    for key, child in children.items():
        found |= {key} | {f"{key}/{inner}" for inner in keys(child, definitions)}
    return found


def known_keys() -> set[str]:
    found: set[str] = set()
    shared: dict[str, Any] = {}
    for kind in ("method", "range", "engine"):
        shared |= yaml.safe_load((ROOT / f"config/schemas/{kind}.yaml").read_text())["$defs"]
    for kind in SCHEMAS:
        schema = yaml.safe_load((ROOT / f"config/schemas/{kind}.yaml").read_text())
        prefix = {"methods": "train/", "phantom": "phantom/", "brainweb": "brainweb/"}.get(kind.split("/")[0] if "/" in kind else kind, "")
        found |= {prefix + key for key in keys(schema, shared | schema.get("$defs", {}))}
    return found


def test_keys_of_deviations_exist():
    tables = [row for heading in re.findall(r"^## (.*)$", DEVIATIONS.read_text(), flags=re.MULTILINE) for row in rows(DEVIATIONS, heading)]
    named = {key for row in tables for key in re.findall(r"`([^`]+)`", row[3])}
    assert len(named) > 30
    assert named - known_keys() == set()
    assert all(len(row) == 4 and all(row[:2]) for row in tables)


def test_keys_of_configuration_exist():
    named = {row[0].strip("`") for row in rows(CONFIGURATION, "Methods built on methods")}
    assert len(named) == 6
    assert named - known_keys() == set()


def test_scale_of_configuration_loads():
    scale = re.search(r"^```yaml\n(scale: .*?)^```$", CONFIGURATION.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert scale
    entries = load(yaml.safe_load(scale[1]), ROOT)
    assert entries["methods"]["mak_gan"]["train"]["steps"] == 500
    assert len(entries["datasets"]["mni"]["subjects"]) == 8


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"(?:`|^)make ([\w-]+)", page.read_text(), flags=re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), f"{page.name}: make {target}"


def test_citation_names_five_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    titles = [paper["title"] for paper in citation["references"]]
    assert len(set(titles)) == 5
    assert all(paper["type"] and paper["authors"] for paper in citation["references"])
    version = re.search(r'^version = "(.*)"$', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert version
    assert str(citation["version"]) == version[1]
    for row in (ROOT / "resources/published/papers.tsv").read_text().splitlines()[1:]:
        assert row.startswith("petbench\t") or any(title in row for title in titles), row


def test_hooks_are_the_commands_of_make_lint():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert recipe
    assert [hook["entry"] for hook in hooks] == [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe[1].splitlines()]
    assert all(hook["language"] == "system" for hook in hooks)

"""What the author of a method is told of a slip before anything runs."""

import re
import shutil

import pytest
import yaml
from repo import ROOT

import petbench.methods
from petbench.errors import InputError
from petbench.methods.build import modules
from petbench.workflow.entries import load
from petbench.workflow.modules import check_module
from petbench.workflow.schema import read_yaml

SCHEMA = {"type": "object", "properties": {}}
ENTRY = {"title": "Mine", "extends": "m_unet", "module": "mine"}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A private copy of the configuration, and a folder for modules of methods beside the library's own."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    shutil.copytree(ROOT / "resources" / "published", tmp_path / "resources" / "published")
    (tmp_path / "methods").mkdir()
    monkeypatch.setattr(petbench.methods, "__path__", [*petbench.methods.__path__, str(tmp_path / "methods")])
    return tmp_path


def written(project, schema=SCHEMA, module="def build(train):\n    return None\n", entry=ENTRY):
    """The project with a method of one's own; None leaves a file out."""
    if schema is not None:
        own = schema | {"properties": schema["properties"] | read_yaml(ROOT / "config/schemas/methods/m_unet.yaml")["properties"]}
        (project / "config/schemas/methods/mine.yaml").write_text(yaml.safe_dump(own))
    if module is not None:
        (project / "methods/mine.py").write_text(module)
    (project / "config/methods/mine.yaml").write_text(yaml.safe_dump(entry))
    table = read_yaml(project / "config/experiments/mak_gan_table1.yaml") | {"rows": ["low_dose", "mine"]}
    table = {key: value for key, value in table.items() if key not in ("statistics", "published_rows", "published_metrics", "published")}
    (project / "config/experiments/mine_table1.yaml").write_text(yaml.safe_dump(table))
    read_yaml.__globals__["_read"].cache_clear()
    return load({"scale": "mine", "run": ["mine_table1"]}, project)


def test_a_module_a_schema_and_an_entry_make_a_method(project):
    assert written(project)["methods"]["mine"]["module"] == "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": None}, r"methods/mine.yaml: module: the module 'mine' has no schema; write .*config/schemas/methods/mine.yaml"),
        ({"schema": None, "module": None}, r"there is no method module 'mine'; the modules are .*m_unet"),
        ({"module": None}, r"methods/mine.yaml: module: config/schemas/methods/mine.yaml is there, .*methods/mine.py is not; write it"),
        ({"module": "def make(train): ...\n"}, r"methods/mine.yaml: module: .*mine.py has no function `build\(train\)`; add one"),
        (
            {"schema": SCHEMA | {"optimisers": ["restorer", "critic"]}},
            r"train/optimiser: there is no block for 'critic', .*; add one, such as",
        ),
        (
            {"entry": ENTRY | {"train": {"domain": "patchez"}}},
            r"no domain 'patchez'; its domains are .*, or add domains/patchez to .*\.yaml",
        ),
    ],
)
def test_a_slip_is_told_with_its_mend(project, change, message):
    with pytest.raises(InputError) as error:
        written(project, **change)
    assert re.search(message, str(error.value))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("module", modules())
def test_every_module_stands(module):
    schema = read_yaml(ROOT / f"config/schemas/methods/{module}.yaml")
    names = schema.get("optimisers", ["restorer"])
    check_module(module, {"optimiser": {name: {} for name in names}}, schema)

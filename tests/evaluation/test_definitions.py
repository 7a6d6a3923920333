import re
import subprocess
import sys
from pathlib import Path

import pytest

from petbench.evaluation.definitions import COSTS, DEFINITIONS

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()


def test_the_page_and_the_definitions_name_the_same_metrics():
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)
    assert sorted(rows) == sorted(DEFINITIONS)


@pytest.mark.parametrize("metric", DEFINITIONS.values(), ids=DEFINITIONS)
def test_a_definition_is_one_sentence_and_prints(metric):
    assert DEFINITIONS[metric.name] is metric
    assert metric.definition.endswith(".")
    assert re.search(r"[.] [A-Z]", metric.definition) is None
    assert re.search(r"\d", format(12.3456, metric.format))
    assert f"| `{metric.name}` | {metric.title} | {metric.better} |" in PAGE


def test_costs_are_defined():
    assert set(COSTS) <= set(DEFINITIONS)


def test_definitions_load_nothing_heavy():
    code = "import sys, petbench.evaluation.definitions; sys.exit(bool({'numpy', 'torch', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""What every rule declares, and what a light job does not import."""

import ast
import re
import subprocess
import sys
from importlib import import_module

import pytest
from repo import ROOT

from petbench.plan.paths import Paths

FILES = sorted((ROOT / "rules").glob("*.smk"))
RULES = [
    pytest.param(block, id=re.match(r"rule (\w+)", block)[1])
    for path in FILES
    for block in re.findall(r"^rule \w+:\n(?:(?:    .*)?\n)+", path.read_text() + "\n", re.MULTILINE)
]
ON_A_GPU = {
    "train",
    "restore_subject",
    "restore_context",
    "restore_scan",
    "train_predictor",
    "acceleration",
    "predict_kernels",
    "reconstruct_torso",
    "correct_scan",
    "similarity",
    "reliance",
    "classify",
}


def test_all_rules_are_found():
    assert len(RULES) == sum(path.read_text().count("\nrule ") for path in FILES) > 15


def test_a_job_of_every_rule_is_killed_in_some_test():
    """But of `verify` and `try`, which make no file, and of `latest`, which is `cp`."""
    drills = ("whole_run", "failures", "range_workflow", "pcsa_workflow", "brainweb_workflow", "lpips", "own_data", "openneuro_workflow")
    killed = {rule for name in drills for rule in import_module(f"test_{name}").KILLED}
    assert {rule.id for rule in RULES} - killed == {"verify", "try", "latest"}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_says_what_it_needs(rule):
    name = re.match(r"rule (\w+)", rule)[1]
    for part in ("output:", "benchmark:"):
        assert (part in rule) != (name in ("verify", "try")), (
            f"{name}: {part}; what has a file of its own does not run whenever it is asked for"
        )
    for part in ("message:", "log:", "threads:", "conda:", "mem_mb=", "runtime="):
        assert part in rule, f"{name} lacks {part}"
    assert ("gpu=1" in rule) == (name in ON_A_GPU)
    if "script:" in rule:
        # Two rules may run one script on different inputs.
        (script,) = re.findall(r'"\.\./scripts/(\w+)\.py"', rule)
        assert f'code=code_of("{script}"' in rule


@pytest.mark.parametrize("rule", RULES)
def test_a_message_names_wildcards_of_its_rule(rule):
    """Those of its log, which Snakemake holds to be the output's."""
    (log,) = re.findall(r"^    log:\n +(\S+)$", rule, re.MULTILINE)
    path = getattr(Paths("any", str), log.removeprefix("PATHS.").rstrip(",")) if log.startswith("PATHS.") else log
    (message,) = re.findall(r"^    message:\n +(.*)$", rule, re.MULTILINE)
    assert set(re.findall(r"{wildcards\.(\w+)}", message)) <= set(re.findall(r"{(\w+)}", path))


def test_rules_hold_no_logic():
    for path in FILES:
        if path.name != "common.smk":
            assert not re.search(r"^\s*(def|for|if|run:)\b", path.read_text(), re.MULTILINE), path.name


def test_the_plan_knows_nothing_of_snakemake_and_is_in_small_pieces():
    assert len((ROOT / "rules/common.smk").read_text().splitlines()) < 150
    for path in (ROOT / "src/petbench/plan").glob("*.py"):
        text = path.read_text()
        assert len(text.splitlines()) <= 350, path.name
        for node in ast.walk(ast.parse(text)):
            assert not (isinstance(node, ast.ImportFrom) and node.module.startswith("snakemake")), path.name
            assert not (isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 40), f"{path.name}: {node.name}"


def test_every_part_of_the_plan_is_named_by_some_rule():
    """A function that no rule and no other part takes would be dead."""
    texts = [path.read_text() for path in [*FILES, ROOT / "Snakefile", *(ROOT / "src/petbench/plan").glob("*.py")]]
    everything = "\n".join(texts)
    for path in (ROOT / "src/petbench/plan").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("__"):
                assert len(re.findall(rf"\b{node.name}\b", everything)) > 1, f"{path.name}: {node.name} is never used"


def test_scripts_are_thin():
    for path in (ROOT / "scripts").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 45, path.name
        assert "def " not in path.read_text()


@pytest.mark.parametrize(
    ("script", "absent"),
    [
        ("acquire", ["torch", "pandas"]),
        ("simulate", ["torch", "pandas"]),
        ("reconstruct", ["torch", "pandas"]),
        ("register", ["torch", "pandas"]),
        ("prepare", ["torch", "pandas"]),
        ("split", ["torch", "pandas", "nibabel"]),
        ("evaluate", ["torch"]),
        ("reliance", ["torch._dynamo", "pandas"]),
        ("table", ["torch", "matplotlib"]),
        ("page", ["torch"]),
        ("restore_subject", ["torch._dynamo", "pandas"]),
        ("restore_scan", ["torch._dynamo"]),
        ("train", ["torch._dynamo", "scipy", "pandas"]),
        ("classify", ["torch._dynamo", "pandas"]),
        ("scan_torso", ["torch"]),
        ("measure_torso", ["torch"]),
        ("compare_torso", ["torch"]),
        ("truncation", ["torch"]),
    ],
)
def test_a_script_imports_only_what_its_work_needs(script, absent):
    imports = [line for line in (ROOT / "scripts" / f"{script}.py").read_text().splitlines() if line.startswith(("import ", "from "))]
    program = "\n".join([*imports, "import sys", f"print([name for name in {[*absent, 'pydicom']} if name in sys.modules])"])
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

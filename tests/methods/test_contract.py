"""The contract of specs: every entry of `config/methods` does what the study asks of it, at the widths of the scale `tiny`."""

from functools import cache
from pathlib import Path

import pytest

from petbench.files import digest
from petbench.methods.build import build
from petbench.training.probes import contract, lives, restores
from petbench.workflow.library import Library
from petbench.workflow.schema import read_yaml

ROOT = Path(__file__).parents[2]
LIBRARY = Library((ROOT / "config",), read_yaml(ROOT / "tests/config/tiny.yaml")["override"], "tiny")
METHODS = {name: LIBRARY.resolve_whole("methods", name) for name in sorted(LIBRARY.files["methods"])}
# Windows by domain, as small as the networks take; a volume of 16 voxels along every side is one where PCSA-GAN attends.
WINDOWS = {"patches": (8, 8, 8), "volumes": (32, 16, 16), "axial": (16, 16), "coronal": (16, 16), "sagittal": (16, 16)}
# Of `train`, what a probe has its own of.
REPLACED = ("domain", "steps", "epochs", "batch_size", "schedule")


def trained_as(name):
    """The entry whose weights an entry is restored by."""
    return trained_as(METHODS[name]["weights_of"].get("method", name)) if "weights_of" in METHODS[name] else METHODS[name]


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    """Put the training of an entry to the test, once for all entries that are trained alike."""
    known = {}

    def once(entry):
        window = WINDOWS[entry["train"]["domain"]]
        own = {key: value for key, value in entry["train"].items() if key not in REPLACED}
        key = digest([entry["module"], own, entry["restore"]["inputs"], window])
        if key not in known:
            known[key] = contract(entry["module"], entry["train"], entry["restore"], window, tmp_path_factory.mktemp("contract"))
        return known[key]

    return once


@pytest.mark.parametrize("name", [name for name, entry in METHODS.items() if "ensemble" not in entry])
def test_a_method_keeps_the_contract(name, probed):
    method, phantoms, findings = probed(trained_as(name))
    findings = [*findings, *restores(method, METHODS[name]["restore"], phantoms)]
    assert [finding for finding in findings if not finding.holds] == []

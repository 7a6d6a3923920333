"""The data set of the README and the methods of docs/methods.md, put where they say: they load, train, restore and are planned."""

import importlib
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml

import petbench.methods
from petbench.errors import InputError
from petbench.files import write_json
from petbench.methods.build import modules
from petbench.plan.trial import Trial
from petbench.preprocess.windows import window_starts
from petbench.restoration.weights import Description, load_restorer
from petbench.training.fit import fit
from petbench.training.probes import contract, restores
from petbench.workflow.entries import load

from .pages import ROOT, blocks

README, METHODS = ROOT / "README.md", ROOT / "docs/methods.md"
ADDED = blocks(README) | blocks(METHODS)
METHOD, DATASET, TABLE = "two_convolutions", "our_scans", "config/experiments/mak_gan_table1.yaml"
WINDOW = [8, 8, 8]
ENTRY = yaml.safe_load(ADDED[f"config/methods/{METHOD}.yaml"])
# What the entries of the page's other kinds have in place of the first one's keys, and the windows that they are tried on.
OTHERS = {
    "slice_convolutions": ({"network": {"width": 8}}, {}, (16, 16)),
    "judged_convolutions": ({"network": {"width": 8}, "loss": {"l1": 10.0, "adversarial": 1.0}}, {}, (16, 16, 16)),
    "drawn_convolutions": (
        {"network": {"width": 8}, "edm": {"sigma_data": 0.5, "p_mean": -1.2, "p_std": 1.2, "scale": 1.0}},
        {"sampler": {"name": "heun", "steps": 3, "sigma_min": 0.002, "sigma_max": 80.0, "rho": 7.0, "seed": 0}},
        (16, 16, 16),
    ),
    "smoothed_reconstruction": ({"unrolling": {"passes": 1, "subsets": 2}}, {"inputs": ["low_dose", "mr", "acquisition"]}, (16, 16)),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The project with the pages' additions."""
    root = tmp_path_factory.mktemp("readme") / "petbench"
    for name in ("config", "rules", "scripts", "src", "profiles", "resources", "envs"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "Snakefile", root)
    for path, text in ADDED.items():
        (root / path).write_text(text)
    experiment = root / TABLE
    column = re.search(r"^  - \{dataset: our_scans.*$", README.read_text(), flags=re.MULTILINE)
    assert column
    text = experiment.read_text().replace("columns:\n", f"columns:\n{column[0]}\n").replace("mak_gan]\n", f"mak_gan, {METHOD}]\n", 1)
    experiment.write_text(text)
    scale = yaml.safe_load((root / "config/config.yaml").read_text())
    scale["override"]["methods"] |= yaml.safe_load(re.search(rf"`({METHOD}: .*?)`", METHODS.read_text())[1])
    scale["override"]["experiments"]["mak_gan_table1"]["rows"].append(METHOD)
    (root / "config/config.yaml").write_text(yaml.safe_dump(scale))
    for subject in yaml.safe_load(ADDED[f"config/datasets/{DATASET}.yaml"])["subjects"]:
        for name in (f"pet/sub-{subject}_rec-standard_pet", f"pet/sub-{subject}_rec-drf4_pet", f"anat/sub-{subject}_T1w"):
            image = root.parent / "our_scans" / f"sub-{subject}" / f"{name}.nii.gz"
            image.parent.mkdir(parents=True, exist_ok=True)
            image.touch()
    return root


def test_files_are_new():
    assert len(ADDED) == 4 + len(OTHERS)
    assert not [path for path in ADDED if (ROOT / path).exists()]


@pytest.fixture
def with_module(project, monkeypatch):
    """The package with the page's modules."""
    monkeypatch.setattr(petbench.methods, "__path__", [*petbench.methods.__path__, str(project / "src/petbench/methods")])
    importlib.invalidate_caches()


@pytest.mark.parametrize("scale", ["config", "small", "paper"])
def test_entries_load(project, with_module, scale):
    config = yaml.safe_load((project / f"config/{scale}.yaml").read_text())
    entries = load(config, project)
    assert entries["methods"][METHOD]["train"]["network"] == {"width": 32}
    assert entries["datasets"][DATASET]["source"] == "bids"


def test_method_has_a_closed_schema(project):
    config = yaml.safe_load((project / "config/paper.yaml").read_text())
    config["override"] = {"methods": {METHOD: {"train": {"network": {"widht": 8}}}}}
    with pytest.raises(InputError, match="unknown key 'widht'; did you mean 'width'"):
        load(config, project)


def test_workflow_plans_them(project):
    """A dry run of the demo trains the new method on both data sets and checks the new scans first."""
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--dry-run", "--cores", "1", "mak_gan_table1"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project / "src")},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    planned = done.stdout + done.stderr
    assert done.returncode == 0, planned[-3000:]
    assert f"Train {METHOD} on {DATASET}, dose drf4, fold 5" in planned
    assert f"Train {METHOD} on mni, dose drf25, fold 1" in planned
    assert f"Check the images of {DATASET}" in planned


def test_method_is_tried_before_any_data(project):
    """The page's command builds it at the demo's windows, counts it by hand, and holds it to the contract."""
    command = re.search(rf"snakemake try .*method={METHOD}", METHODS.read_text())[0].split()
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-3000:]
    parameters = 2 * 32 * 27 + 32 + 32 * 27 + 1
    assert f"{METHOD}: takes low_dose and mr in windows of 24 x 24 x 24 voxels" in said
    assert f"{METHOD}: {parameters:,} parameters, {(2 * 32 + 32) * 27 * 24**3 / 1e9:.3f} GMAC" in said
    assert f"{METHOD}: losses l1" in said
    assert said.count("\n  holds  ") == 11
    assert "FAILS" not in said


def test_a_trial_asks_for_a_method_with_a_training():
    basedir = README.parent
    for given, message in (
        ({}, "try: give a method on the command line"),
        ({"method": "nobody"}, "nobody"),
        ({"method": "m2diff-triplanar"}, "m2diff-triplanar has no training of its own"),
    ):
        with pytest.raises(InputError, match=message):
            Trial({"scale": "demo", **given}, basedir).method(None)


def test_methods_are_clean(project):
    modules = [path for path in ADDED if path.endswith(".py")]
    for command in (["check", "--no-cache"], ["format", "--check", "--no-cache"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--config", str(ROOT / "pyproject.toml"), *modules],
            cwd=project,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_method_trains_and_restores(project, with_module, tmp_path):
    assert METHOD in modules()

    random = np.random.default_rng(0)
    shape = (12, 12, 12)
    for kind in ("low_dose", "mr", "standard_dose"):
        np.save(tmp_path / f"{kind}.npy", random.random(shape, dtype=np.float32))
    np.save(tmp_path / "index.npy", window_starts(shape, WINDOW, [4, 4, 4]))
    write_json(tmp_path / "prepared.json", {"window": WINDOW, "voxel_mm": [1.0, 1.0, 1.0], "scaling": {}})

    train = ENTRY["train"] | {"epochs": 1}
    description = Description(METHOD, train, {}, WINDOW, [2.0, 2.0, 2.0], "mni", "drf4", "0", "code")
    out = {"weights": str(tmp_path / "model.safetensors"), "history": str(tmp_path / "history.tsv"), "cost": str(tmp_path / "cost.json")}
    fit(description, [str(tmp_path / "prepared.json")], ["low_dose", "mr", "standard_dose"], tmp_path / "checkpoints", "cpu", 1, out)

    rows = (tmp_path / "history.tsv").read_text().splitlines()
    assert rows[0].split("\t") == ["step", "loss_restorer", "l1"]
    assert len(rows) == 1 + 2  # eight windows in batches of five
    restorer, _ = load_restorer(out["weights"], "cpu")
    low_dose, mr = torch.rand(2, 3, 1, *WINDOW)
    restored = restorer.restore(low_dose, mr)
    assert restored.shape == low_dose.shape
    assert not torch.equal(restored, low_dose)
    with pytest.raises(InputError, match="mr"):
        restorer.restore(low_dose, None)


@pytest.mark.parametrize("name", OTHERS)
def test_other_kinds_keep_the_contract(with_module, tmp_path, name):
    train, restore, window = OTHERS[name]
    optimisers = ["discriminator", "generator"] if "loss" in train else ["restorer"]
    train = ENTRY["train"] | {"optimiser": {one: {"name": "adam", "lr": 1.0e-3} for one in optimisers}} | train
    restore = ENTRY["restore"] | restore
    trained, heads, findings = contract(name, train, restore, window, tmp_path)
    findings += restores(trained, restore, heads)
    assert len(findings) > 5
    assert not [finding for finding in findings if not finding.holds]

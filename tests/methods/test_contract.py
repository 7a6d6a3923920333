"""The contract: every method and predictor of `config/` does what the study asks of it, at the widths of the scale `tiny`.

A new entry is held to it by being there, and by a row of small widths in that scale. Entries that differ in nothing but how large some
numbers are (shares of kernels, widths, weights of losses) are put to it once.
"""

from pathlib import Path

import pytest
import torch

from petbench.files import digest
from petbench.methods.build import build, modules
from petbench.positron_range.predictor import make_network
from petbench.positron_range.predictor_training import PsfTraining
from petbench.training.probes import contract, every_part_moves, lives, restores, resumes, size, trains_unseen
from petbench.workflow.library import Library
from petbench.workflow.schema import read_yaml

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT / "config",)
LIBRARY = Library(FOLDERS, read_yaml(ROOT / "config/tiny.yaml")["override"], "tiny")
METHODS = {name: LIBRARY.resolve_whole("methods", name) for name in sorted(LIBRARY.files["methods"])}
PUBLISHED = Library(FOLDERS, {}, "published")
SIZES = {name: entry for name in METHODS if "size" in (entry := PUBLISHED.resolve_whole("methods", name))}
PREDICTORS = sorted(LIBRARY.files["predictors"])
# Windows by domain: as large as the papers', and as small as the networks take, with two places to attend to on the coarsest grid.
FULL = {
    "patches": (64, 64, 64),
    "volumes": (64, 64, 64),
    "axial": (256, 256),
    "coronal": (256, 128),
    "sagittal": (256, 128),
    "slabs": (64, 64, 9),
}
WINDOWS = {
    "patches": (16, 8, 8),
    "volumes": (32, 16, 16),
    "axial": (16, 16),
    "coronal": (16, 16),
    "sagittal": (16, 16),
    "slabs": (16, 16, 9),
}
# Of methods that ask for larger ones, or are slow and take smaller ones: the coarsest grid of 3D CVT-GAN is attended to at half its side.
OWN = {"cvt_gan": (32, 16, 16), "hgan": (20, 16, 12), "tpa_gan": (20, 16, 16)}
# Of `train`, what a probe has its own of.
REPLACED = ("domain", "steps", "epochs", "batch_size", "schedule")


def trained_as(name):
    """The entry whose weights an entry is restored by."""
    return trained_as(METHODS[name]["weights_of"].get("method", name)) if "weights_of" in METHODS[name] else METHODS[name]


def form(value):
    """A block without the size of its numbers: a ratio, a width, a weight is told from another only by being there or 0."""
    if isinstance(value, dict):
        return {key: form(one) for key, one in value.items()}
    if isinstance(value, list):
        return [form(one) for one in value]
    return value != 0 if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def window_of(entry):
    return OWN.get(entry["module"], WINDOWS[entry["train"]["domain"]])


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    """Put the training of an entry to the test, once for all entries that are trained alike but for the size of numbers."""
    known = {}

    def once(entry):
        window = window_of(entry)
        own = {key: value for key, value in entry["train"].items() if key not in REPLACED}
        key = digest([entry["module"], form(own), entry["restore"]["inputs"], window])
        if key not in known:
            known[key] = contract(entry["module"], entry["train"], entry["restore"], window, tmp_path_factory.mktemp("contract"))
        return known[key]

    return once


def broken(findings):
    return [f"{finding.law}: {finding.measured}" for finding in findings if not finding.holds]


@pytest.mark.parametrize("name", [name for name, entry in METHODS.items() if "ensemble" not in entry])
def test_a_method_keeps_the_contract(name, probed):
    method, phantoms, findings = probed(trained_as(name))
    assert broken([*findings, *restores(method, METHODS[name]["restore"], phantoms)]) == []


@pytest.mark.parametrize("name", [name for name, entry in METHODS.items() if "ensemble" in entry])
def test_an_ensemble_is_of_methods_that_keep_the_contract(name):
    assert all("ensemble" not in METHODS[member] for member in METHODS[name]["ensemble"])


def test_methods_that_normalise_each_image_alone_are_free_of_following_the_level():
    trained = {entry["module"]: entry["train"] for entry in METHODS.values() if "train" in entry}
    assert {module for module, train in trained.items() if not build(module, train).follows_level} == {"cdm", "iddpm", "pix2pixhd"}


def cheapest(module):
    """The first entry of a module that has weights of its own."""
    return next(name for name, entry in METHODS.items() if entry.get("module") == module and "train" in entry)


@pytest.mark.parametrize("name", sorted({"pcsa_gan-sa", *(cheapest(module) for module in modules())}))
def test_a_method_starts_alive_at_ten_seeds(name):
    entry = METHODS[name]
    make = lambda: build(entry["module"], entry["train"])  # noqa: E731
    assert broken(lives(make, entry["train"], entry["restore"], window_of(entry))) == []


@pytest.mark.parametrize("name", [name for name, entry in METHODS.items() if entry.get("train", {}).get("optimiser")])
def test_a_method_runs_at_its_own_widths_on_any_device(name):
    entry = PUBLISHED.resolve_whole("methods", name)
    trains_unseen(entry["module"], entry["train"], entry["restore"], FULL[entry["train"]["domain"]])


@pytest.mark.parametrize("name", SIZES)
def test_a_method_costs_what_its_entry_says(name):
    entry, said = SIZES[name], SIZES[name]["size"]
    counted = size(entry["module"], entry["train"], entry["restore"]["inputs"], said["window"])
    assert counted["parameters"] == said["parameters"]
    assert counted["gmac_modules"] == pytest.approx(said["gmac_modules"], rel=1e-3)


@pytest.mark.parametrize("name", PREDICTORS)
def test_a_predictor_keeps_the_contract(name, tmp_path):
    train = LIBRARY.resolve_whole("predictors", name)["train"]
    side = train["kernel_size"]
    random = torch.Generator().manual_seed(0)
    mu = 0.02 + 0.15 * torch.rand(8, side, side, side, generator=random)
    kernel = torch.rand(8, side, side, side, generator=random)
    batches = [{"mu": mu[n : n + 2], "kernel": (kernel / kernel.sum(dim=(1, 2, 3), keepdim=True))[n : n + 2]} for n in range(0, 8, 2)]
    make = lambda: PsfTraining(make_network(train), train["loss"])  # noqa: E731
    trained, findings = every_part_moves(make, batches)
    assert broken([*findings, *resumes(make, train, batches, tmp_path)]) == []
    network = trained.network.eval()
    whole = network(mu[:3])
    assert whole.shape == mu[:3].shape
    torch.testing.assert_close(torch.cat([network(one[None]) for one in mu[:3]]), whole)

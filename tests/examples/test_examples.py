"""The scripts of `examples/`, run as a reader runs them, on small inputs."""

import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from petbench.data.nifti import read_volume, volume, write_volume
from petbench.methods.build import build
from petbench.physics.acquisition import write_acquisition
from petbench.physics.doses import Dose
from petbench.physics.materials import material
from petbench.physics.scanner import Scanner
from petbench.physics.simulate import acquire
from petbench.positron_range.psf_set import Origin, PsfSet, write_psf_set
from petbench.restoration.weights import Description, save_weights

ROOT = Path(__file__).parents[2]
NUMBER = r"-?\d[\d,]*\.?\d*"


@pytest.fixture
def run(monkeypatch, capsys):
    """What an example prints, and the numbers in it."""

    def example(name, *arguments):
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(ROOT / "examples" / name))
        return [[float(found.replace(",", "")) for found in re.findall(NUMBER, line)] for line in capsys.readouterr().out.splitlines()]

    return example


def test_a_phantom_is_projected_and_reconstructed(run):
    ((counts, found, truth),) = run("project_and_reconstruct.py")
    assert counts == pytest.approx(6e6, rel=0.01)
    assert found == pytest.approx(truth, rel=0.05)


def test_a_scan_is_thinned_to_a_dose(run, tmp_path):
    entry = ROOT / "config/scanners/head_demo.yaml"
    scanner = Scanner.from_entry(yaml.safe_load(entry.read_text()))
    truth = np.zeros(scanner.image_shape, np.float32)
    truth[14:30, 14:30, 10:30] = 10_000
    simulation = {"counts": 1e7, "psf_mm": 0.0, "randoms_fraction": 0.2, "scatter_fraction": 0.3}
    scan = acquire(truth, None, scanner, simulation, Dose("fraction", 1.0, "thinning", 1.0, 1.0), seed=0)
    write_acquisition(tmp_path / "scan.h5", scan, scanner)
    ((kept, level, noise),) = run("thin_to_a_dose.py", tmp_path / "scan.h5", entry, 0.04)
    assert kept == pytest.approx(0.04, rel=0.02)
    assert level == pytest.approx(1, abs=0.08)  # where the standard dose is high, its own noise is
    assert 0.2 < noise < 1  # of few counts, more in the example's own scan


def test_a_volume_is_restored_step_by_step(run, tmp_path):
    rng = np.random.default_rng(0)
    head = np.zeros((24, 24, 24), np.float32)
    head[4:20, 4:20, 4:20] = 5_000
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    for name in ("pet", "mr"):
        image = rng.poisson(head).astype(np.float32)
        write_volume(tmp_path / f"{name}.nii.gz", image, volume(image, affine))
    train = {"network": {"spatial_dims": 3, "channels": [4, 8], "normalisation": "none"}}
    torch.manual_seed(0)
    scaling = {"mode": "low_dose", "percentile": 99.5, "smooth_mm": 6.0, "mr_percentile": 99.5}
    preprocess = {"grid": {"shape": [24, 24, 24]}, "scaling": scaling}
    description = Description("m_unet", train, preprocess, [8, 8, 8], [4.0, 4.0, 4.0], "mni", "drf4", "0", "")
    save_weights(tmp_path / "model.safetensors", build("m_unet", train).weights(), description)
    run("restore_a_volume.py", tmp_path / "model.safetensors", tmp_path / "pet.nii.gz", tmp_path / "mr.nii.gz", tmp_path / "out.nii.gz")
    restored = read_volume(tmp_path / "out.nii.gz").get_fdata()
    assert restored.shape == head.shape
    assert np.abs(restored - head).max() > 0


def test_a_network_is_trained_through_the_projector(run):
    (before,), (_, after) = run("train_through_the_projector.py")
    assert after < 0.95 * before


def test_positron_range_is_corrected(run, tmp_path):
    size, voxel_mm, positrons = 7, 4.0, 100_000
    offset = np.abs(np.arange(size) - size // 2) * voxel_mm
    distance = np.sqrt(offset[:, None, None] ** 2 + offset[:, None] ** 2 + offset**2)
    materials = {"lung": 6.0, "water": 1.5, "rib_bone": 0.9}  # and how far positrons get, mm
    kernels = np.stack([np.exp(-distance / mean) for mean in materials.values()])
    counts = (positrons * kernels / kernels.sum(axis=(1, 2, 3), keepdims=True)).astype(np.uint32)
    mu = np.stack([np.full((size,) * 3, material(name).mu_per_cm, np.float32) for name in materials])
    inside = counts.sum(axis=(1, 2, 3)).astype(np.uint32)
    origin = Origin("Ga68", voxel_mm, "voxel", "embedded", "made up", "none", 0)
    write_psf_set(tmp_path / "psf.h5", PsfSet(tuple(materials), mu, counts, np.zeros(3, np.uint32), inside, origin))
    (lung, water, truth), (lung_with, water_with, _) = run("correct_positron_range.py", tmp_path / "psf.h5")
    assert lung < 0.8 * truth
    assert abs(lung_with - truth) < 0.5 * abs(lung - truth)
    assert abs(water_with - truth) < 0.5 * abs(water - truth)


def test_a_scan_goes_through_petsird(run, tmp_path):
    (counts, outside), (inside, truth, elsewhere) = run("reconstruct_petsird.py", tmp_path / "scan.petsird")
    assert (counts, outside) == (pytest.approx(2e5, rel=0.02), 0)
    assert inside == pytest.approx(truth, rel=0.05)
    assert elsewhere < 0.05 * truth


def test_the_readme_names_every_example():
    readme = (ROOT / "README.md").read_text()
    for script in (ROOT / "examples").glob("*.py"):
        assert f"examples/{script.name}" in readme

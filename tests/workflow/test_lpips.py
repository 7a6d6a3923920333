"""LPIPS through the workflow: n/a without weights, a value with published files, fetched once and checked; never one from other files."""

import hashlib
import io
import shutil

import pandas as pd
import pytest
import torch
from repo import PARALLEL, Repo

SCALE = ("--configfile", "tests/config/features.yaml")
METRICS = "results/features/mni/drf4/low_dose/metrics.tsv"
SHAPES = {0: (64, 3, 11, 11), 3: (192, 64, 5, 5), 6: (384, 192, 3, 3), 8: (256, 384, 3, 3), 10: (256, 256, 3, 3)}
KILLED = {"fetch_weights"}
pytestmark = pytest.mark.slow


def saved(state):
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


@pytest.fixture(scope="module")
def weights():
    """Files in the published form, by name."""
    generator = torch.Generator().manual_seed(0)
    alexnet = {f"features.{n}.weight": 0.02 * torch.randn(shape, generator=generator) for n, shape in SHAPES.items()}
    alexnet |= {f"features.{n}.bias": torch.zeros(shape[0]) for n, shape in SHAPES.items()}
    linear = {f"lin{k}.model.1.weight": torch.rand(1, shape[0], 1, 1, generator=generator) for k, shape in enumerate(SHAPES.values())}
    return {"alexnet": saved(alexnet), "linear": saved(linear)}


@pytest.fixture
def repo(features, tmp_path):
    """A private copy of a finished run, whose slices are large enough for AlexNet."""
    shutil.copytree(features.path, tmp_path / "copy", copy_function=shutil.copy2, symlinks=True)
    repo = Repo(tmp_path / "copy")
    repo.edit("tests/config/features.yaml", "[24, 28, 24]", "[32, 32, 24]")
    return repo


def with_lpips(repo, block):
    repo.edit("tests/config/features.yaml", "      split: {", f"      evaluation: {{lpips: {block}}}\n      split: {{")


def lpips(repo):
    table = pd.read_csv(repo.path / METRICS, sep="\t", keep_default_na=False)
    return table.loc[(table["metric"] == "lpips") & (table["region"] == "brain"), "value"].tolist()


def test_without_weights_it_is_not_applicable_with_fetched_ones_a_value_and_again_from_files(repo, file_server, weights, tmp_path):
    assert set(lpips(repo)) == {"n/a"}
    file_server.files |= {f"/{name}.pth": content for name, content in weights.items()}
    sources = ", ".join(
        f'{name}: {{url: "{file_server.url}/{name}.pth", sha256: {hashlib.sha256(content).hexdigest()}}}'
        for name, content in weights.items()
    )
    with_lpips(repo, f"{{{sources}}}")
    assert repo.rules(*SCALE, "--", METRICS) == {"fetch_weights", "evaluate"}
    assert repo.killed(tmp_path / "struck", *PARALLEL, *SCALE, "--", METRICS, only=KILLED) == KILLED
    fetched = lpips(repo)
    assert all(float(value) > 0 for value in fetched)
    assert len(file_server.requests) == 3  # once more of the one that was about to be put in place

    for name, content in weights.items():
        (repo.path / f"{name}.pth").write_bytes(content)
    repo.edit("tests/config/features.yaml", f"{{{sources}}}", "{alexnet: alexnet.pth, linear: linear.pth}")
    repo.snakemake(*PARALLEL, *SCALE, "--", METRICS)
    assert lpips(repo) == fetched
    assert len(file_server.requests) == 3


def test_a_file_of_another_checksum_and_one_that_is_not_there_are_named(repo, file_server, weights):
    file_server.files |= {f"/{name}.pth": content for name, content in weights.items()}
    other = hashlib.sha256(b"another file").hexdigest()
    block = ", ".join(f'{name}: {{url: "{file_server.url}/{name}.pth", sha256: {other}}}' for name in weights)
    with_lpips(repo, f"{{{block}}}")
    done = repo.snakemake("--cores", "1", *SCALE, "--", METRICS, check=False)
    assert done.returncode != 0
    assert f"and {other} is expected" in done.stderr
    assert "Traceback" not in done.stderr

    repo.edit("tests/config/features.yaml", f"{{{block}}}", "{alexnet: none.pth, linear: none.pth}")
    done = repo.snakemake("--dry-run", *SCALE, "--", METRICS, check=False)
    assert "petbench: data set mni: evaluation/lpips/alexnet: none.pth: no such file" in done.stderr

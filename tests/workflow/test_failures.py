"""Killed and damaged runs: one clear message, nothing lost, and the same result in the end."""

import random
import signal
import subprocess
import sys
import time

import pytest
from filelock import FileLock
from repo import copy_of_project

SCALE = ("--configfile", "tests/config/features.yaml")
TARGET = "results/features/mni/drf4/m_unet/fold-0/model.safetensors"
pytestmark = pytest.mark.slow


@pytest.fixture
def half_done(features, tmp_path):
    """The project with all that one training needs and nothing of what it makes; the training takes some seconds."""
    repo = copy_of_project(tmp_path / "copy")
    repo.edit("tests/config/features.yaml", "steps: 2, batch_size: 2", "steps: 400, batch_size: 2")
    repo.edit("tests/config/features.yaml", "resource_factor: 0.1", "resource_factor: 0.1\ncheckpoint_seconds: 0.1")
    subprocess.run(["cp", "-a", str(features.path / "results"), str(features.path / ".snakemake"), str(repo.path)], check=True)
    for name in ("model.safetensors", "history.tsv", "cost.json"):
        (repo.path / TARGET).with_name(name).unlink()
    return repo


def start(repo):
    command = [sys.executable, "-m", "snakemake", "--cores", "1", *SCALE, "--", TARGET]
    return subprocess.Popen(
        command, cwd=repo.path, env=repo.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def wait_for_training(repo):
    """Wait until a checkpoint is written; the process that trains."""
    folder = (repo.path / TARGET).parent / "checkpoints"
    for _ in range(600):
        if list(folder.glob("*.ckpt")):
            listed = subprocess.run(["pgrep", "-f", f"{repo.path}.*train.py"], capture_output=True, text=True)
            if listed.stdout:
                return int(listed.stdout.split()[0])
        time.sleep(0.1)
    raise AssertionError("the training wrote no checkpoint")


def test_a_killed_training_resumes_and_ends_in_the_same_bytes(half_done):
    half_done.snakemake("--cores", "1", *SCALE, "--", TARGET)
    undisturbed = (half_done.path / TARGET).read_bytes()
    (half_done.path / TARGET).unlink()

    running = start(half_done)
    process = wait_for_training(half_done)
    time.sleep(random.uniform(0, 1.5))
    subprocess.run(["kill", f"-{signal.SIGKILL}", str(process)], check=False)
    running.communicate(timeout=120)
    interrupted = running.returncode != 0
    assert interrupted, "the training ended before it was killed; give it more steps"
    assert not (half_done.path / TARGET).exists()

    half_done.snakemake("--cores", "1", *SCALE, "--", TARGET)
    log = (half_done.path / "results/features/logs/train/mni/drf4/m_unet/fold-0.log").read_text()
    assert "resuming at step" in log
    assert (half_done.path / TARGET).read_bytes() == undisturbed
    assert not list((half_done.path / TARGET).parent.glob("checkpoints/*.ckpt"))


def test_a_training_held_by_another_process_is_refused_in_one_line(half_done):
    folder = (half_done.path / TARGET).parent / "checkpoints"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / "lock"):
        done = half_done.snakemake("--cores", "1", *SCALE, "--", TARGET, check=False)
    assert done.returncode != 0
    assert "another process" in done.stderr
    assert "Traceback" not in done.stderr
    half_done.snakemake("--cores", "1", *SCALE, "--", TARGET)


def test_a_damaged_checkpoint_is_named(half_done):
    running = start(half_done)
    process = wait_for_training(half_done)
    subprocess.run(["kill", f"-{signal.SIGKILL}", str(process)], check=False)
    running.communicate(timeout=120)
    (checkpoint,) = (half_done.path / TARGET).parent.glob("checkpoints/*.ckpt")
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    done = half_done.snakemake("--cores", "1", *SCALE, "--", TARGET, check=False)
    assert f"{checkpoint.name}: the checkpoint is damaged" in done.stderr
    assert "delete it" in done.stderr

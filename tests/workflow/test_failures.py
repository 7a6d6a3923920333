"""Killed and damaged runs: one clear message, nothing lost, and the same result in the end."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from filelock import FileLock
from repo import PARALLEL, copy_of_project

SCALE = ("--configfile", "tests/config/features.yaml")
FOLD = "results/features/mni/drf4/m_unet/fold-0"
TARGET = f"{FOLD}/model.safetensors"
TABLES = [f"results/features/tables/features.{suffix}" for suffix in ("tsv", "md", "tex", "json")]
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
    return start_snakemake(repo, "--cores", "1", *SCALE, "--", TARGET)


def start_snakemake(repo, *arguments):
    command = [sys.executable, "-m", "snakemake", *arguments]
    return subprocess.Popen(
        command, cwd=repo.path, env=repo.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def wait_for_training(repo):
    """Wait until a checkpoint is written; the process that trains."""
    folder = (repo.path / TARGET).parent / "checkpoints"
    for _ in range(1800):
        if list(folder.glob("*.ckpt")):
            listed = subprocess.run(["pgrep", "-f", f"{repo.path}.*train.py"], capture_output=True, text=True)
            if listed.stdout:
                return int(listed.stdout.split()[0])
        time.sleep(0.1)
    raise AssertionError("the training wrote no checkpoint")


def said(done):
    """The lines that are meant for the user; nobody gets a traceback."""
    output = done.stdout + (done.stderr or "")
    assert "Traceback" not in output
    return [line for line in output.splitlines() if line.startswith("petbench: ")]


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


def script_of(process):
    """The rule whose script a process runs, if it does."""
    try:
        found = re.search(r"/\.snakemake/scripts/tmp\w+\.(\w+)\.py$", process.cmdline()[1])
        return found and found[1]
    except (psutil.Error, IndexError):
        return None


def seconds_of(repo, rule):
    """How long the jobs of a rule took in the finished run, by its shortest."""
    rule = rule.removesuffix("_subject")
    root = repo.path / "results/features/benchmarks"
    files = [*root.glob(f"{rule}.tsv"), *root.glob(f"{rule}/**/*.tsv")]
    return min(float(path.read_text().splitlines()[1].split()[0]) for path in files)


# One kind a stage. What comes after, tables and page, are written by the same atomic writer within a second.
KILLED = {"acquire", "simulate", "reconstruct", "register", "prepare", "train", "restore_subject", "evaluate"}


def test_one_job_of_each_stage_is_killed_and_the_run_ends_in_the_same_images(changed, features):
    """From one subject's anatomy to one method's metrics, all made anew."""
    head = "results/features/mni/bids/sub-01/anat/sub-01_T1w.nii.gz"
    metrics = "results/features/mni/drf4/m_unet/metrics.tsv"
    killed = set()
    running = start_snakemake(changed, *PARALLEL, "--retries", "1", "--quiet", "all", *SCALE, "--force", "--", head, metrics)
    snakemake = psutil.Process(running.pid)
    while running.poll() is None:
        for process in snakemake.children(recursive=True):
            rule = script_of(process)
            if rule in KILLED - killed:
                time.sleep(random.uniform(0, 0.3 * min(1.0, seconds_of(features, rule))))
                with suppress(psutil.NoSuchProcess):
                    if process.status() != psutil.STATUS_ZOMBIE:
                        process.kill()
                        killed.add(rule)
        time.sleep(0.02)
    output = running.communicate()[0]
    assert running.returncode == 0, output[-3000:]
    assert killed == KILLED
    images = sorted(features.path.glob("results/features/mni/**/*01_rec-*_pet.nii.gz"))
    images += sorted(features.path.glob("results/features/mni/drf4/m_unet/restored/**/*.nii.gz"))
    weights = sorted(features.path.glob("results/features/mni/drf4/m_unet/fold-*/model.safetensors"))
    for path in [*images, *weights]:
        made = changed.path / path.relative_to(features.path)
        assert made.read_bytes() == path.read_bytes(), path.name
    assert len(images) >= 4
    assert len(weights) == 2
    assert changed.planned(*SCALE, "--", metrics) == []


def test_damaged_files_are_named_and_made_anew(changed):
    before = {name: (changed.path / name).read_bytes() for name in TABLES}
    image = "m_unet-dense/restored/sub-01/pet/sub-01_rec-drf4_desc-restored_pet.nii.gz"
    damaged = [changed.path / "results/features/mni/drf4" / name for name in (image, "low_dose/metrics.tsv")]
    for path in damaged:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    done = changed.snakemake(*PARALLEL, "--keep-going", *SCALE, check=False)
    assert done.returncode != 0
    (line,) = said(done)
    assert Path(image).name in line
    assert "cut short or damaged" in line
    damaged[0].unlink()
    done = changed.snakemake(*PARALLEL, "--keep-going", *SCALE, check=False)
    (line,) = said(done)
    assert "low_dose/metrics.tsv: is no metrics table" in line
    damaged[1].unlink()
    changed.snakemake(*PARALLEL, *SCALE)
    assert {name: (changed.path / name).read_bytes() for name in TABLES} == before


def test_verify_finds_what_was_changed_after_the_run(changed):
    for _ in range(2):
        done = changed.snakemake("verify", "--cores", "1", *SCALE)
        assert "7 tables of metrics and 1 of experiments are as stored" in done.stderr
    restored = changed.path / "results/features/mni/drf4"
    table = restored / "m_unet/metrics.tsv"
    table.write_text(re.sub(r"(\tpsnr\t)[\d.]+", r"\g<1>99.5", table.read_text(), count=1))
    image = "pet/sub-02_rec-drf4_desc-restored_pet.nii.gz"
    (restored / "m_unet-dense/restored/sub-02" / image).write_bytes((restored / "m_unet/restored/sub-02" / image).read_bytes())
    done = changed.snakemake("verify", "--cores", "1", *SCALE, check=False)
    assert done.returncode != 0
    lines = (changed.path / "results/features/logs/verify.log").read_text().splitlines()
    assert all(line.removeprefix("error: ") in done.stderr for line in lines)
    (line,) = [line for line in lines if "/m_unet/metrics.tsv" in line]
    assert re.search(r"psnr: value is stored as 99.5, recomputed as \d", line)
    assert any("m_unet-dense/metrics.tsv: mni drf4 m_unet-dense" in line and " 02 " in line for line in lines)
    assert any("tables/features.tsv" in line and "m_unet-dense" in line for line in lines)
    assert not [line for line in lines if "low_dose/metrics.tsv" in line]


def test_two_runs_in_one_folder_and_a_killed_snakemake(half_done):
    """The second run is refused; so is one that follows while the killed run's training lives on; after it, `snakemake` finishes."""
    first = start(half_done)
    training = wait_for_training(half_done)
    psutil.Process(training).suspend()
    done = half_done.snakemake("--cores", "1", *SCALE, "--", TARGET, check=False)
    assert done.returncode != 0
    assert "cannot be locked" in done.stderr

    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    done = half_done.snakemake("--cores", "1", *SCALE, "--", TARGET, check=False)
    assert "--unlock" in done.stdout + done.stderr
    half_done.snakemake("--unlock", *SCALE)
    done = half_done.snakemake("--cores", "1", *SCALE, "--", TARGET, check=False)
    (line,) = said(done)
    assert "another process (started earlier) is training this; wait for it or end it" in line
    psutil.Process(training).resume()
    with FileLock(half_done.path / FOLD / "checkpoints/lock", timeout=120):
        pass  # the training has ended

    by_the_orphan = (half_done.path / TARGET).read_bytes()
    half_done.snakemake("--cores", "1", *SCALE, "--", TARGET)
    assert (half_done.path / TARGET).read_bytes() == by_the_orphan


@pytest.mark.mount
def test_a_full_disk_ends_in_one_line_and_the_next_run_finishes(half_done):
    fold = half_done.path / FOLD
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(fold)], check=True)
    try:
        done = half_done.snakemake("--cores", "1", *SCALE, "--", TARGET, check=False)
    finally:
        subprocess.run(["umount", str(fold)], check=True)
    assert done.returncode != 0
    (line,) = said(done)
    assert FOLD in line
    assert "is full; make room and run again" in line
    half_done.snakemake("--cores", "1", *SCALE, "--", TARGET)
    log = half_done.path / "results/features/logs/train/mni/drf4/m_unet/fold-0.log"
    assert "resuming" not in log.read_text()


def test_a_clock_that_runs_ahead_is_named_and_changes_no_table(changed):
    before = {name: (changed.path / name).read_bytes() for name in TABLES}
    metrics = changed.path / "results/features/mni/drf4/low_dose/metrics.tsv"
    ahead = time.time() + 3600
    os.utime(metrics, (ahead, ahead))
    (changed.path / TABLES[0]).unlink()
    # Snakemake takes no output that is older than its input
    done = changed.snakemake(*PARALLEL, *SCALE, check=False)
    assert done.returncode != 0
    (line,) = said(done)
    assert "low_dose/metrics.tsv" in line
    assert "dated in the future" in line
    os.utime(metrics)
    changed.snakemake(*PARALLEL, *SCALE)
    assert {name: (changed.path / name).read_bytes() for name in TABLES} == before
    assert changed.planned(*SCALE) == []

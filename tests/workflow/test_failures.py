"""Killed and damaged runs: one clear message, nothing lost, and the tables of an undisturbed run, bit for bit.

`features` is that run. Each drill damages a copy of it, so that only what the drill is about is made again.
"""

import os
import re
import signal
import subprocess
import time
from contextlib import contextmanager

import psutil
import pytest
from filelock import FileLock
from repo import PARALLEL, copy_of_results

DOSE = "results/features/mni/drf4"
FOLD = f"{DOSE}/m_unet/fold-0"
WEIGHTS = f"{FOLD}/model.safetensors"
IMAGE = "restored/sub-{0}/pet/sub-{0}_rec-drf4_desc-restored_pet.nii.gz"
TABLE = "results/features/tables/drill.tsv"
SCALE = ("--configfile", "tests/config/features.yaml")
pytestmark = pytest.mark.slow


@pytest.fixture
def repo(features, tmp_path):
    """A copy of the finished run, whose scale is cut down to one experiment of one method."""
    copied = copy_of_results(features, tmp_path / "copy")
    copied.edit("tests/config/features.yaml", "run: [features, drill]", "run: [drill]")
    return copied


def run(repo, *targets, check=True, options=(), environment=None):
    return repo.snakemake(*PARALLEL, *options, *SCALE, "--", *(targets or [TABLE]), check=check, environment=environment)


def lines_of(done):
    """What a run that failed says to its user; nobody gets a traceback."""
    output = done.stdout + done.stderr
    assert done.returncode != 0
    assert "Traceback" not in output, output[-5000:]
    return [line for line in output.splitlines() if line.startswith("petbench: ")]


def tables(repo, names=("drill",)):
    folder = repo.path / "results/features/tables"
    return {f"{name}.{suffix}": (folder / f"{name}.{suffix}").read_bytes() for name in names for suffix in ("tsv", "md", "tex", "json")}


def log_of(repo, job):
    return (repo.path / f"results/features/logs/{job}.log").read_text()


CHAIN = {"acquire", "simulate", "reconstruct", "register", "prepare", "train", "restore_subject", "evaluate", "table", "page"}
KILLED = CHAIN | {"fuse"}


def test_a_job_of_each_kind_is_killed_and_the_run_ends_in_the_same_tables(repo, features, tmp_path):
    """One subject's anatomy and all that follows from it is made again; a training is killed after a checkpoint, and goes on from there."""
    head = "results/features/mni/bids/sub-01/anat/sub-01_T1w.nii.gz"
    targets = [head, TABLE, "results/features/report/index.html"]
    assert repo.killed(tmp_path / "struck", *PARALLEL, "--force", *SCALE, "--", *targets, train=("SIGKILL", 2)) == CHAIN
    assert any("resuming at step 1 of 2" in path.read_text() for path in repo.path.glob("results/features/logs/train/**/*.log"))
    assert tables(repo) == tables(features)
    remade = [path for path in features.path.glob("results/features/mni/**/m_unet/**/*.*") if path.suffix in (".gz", ".safetensors")]
    assert len(remade) == 4
    assert all((repo.path / path.relative_to(features.path)).read_bytes() == path.read_bytes() for path in remade)

    assert "3 tables of metrics and 1 of experiments are as stored" in run(repo, "verify").stderr
    verify_what_was_changed(repo)


def verify_what_was_changed(repo):
    """A number of a table, an image that is another subject's, what a table is said to be made of, and what it is made of."""
    metrics, images = repo.path / DOSE / "low_dose/metrics.tsv", [repo.path / DOSE / "m_unet" / IMAGE.format(name) for name in ("01", "02")]
    metrics.write_text(re.sub(r"(\tpsnr\t)[\d.]+", r"\g<1>99.5", metrics.read_text(), count=1))
    images[1].write_bytes(images[0].read_bytes())
    record, head = repo.path / TABLE.replace(".tsv", ".json"), repo.path / "results/features/mni/bids/sub-01/anat/sub-01_T1w.nii.gz"
    record.write_text(re.sub('"configuration": "[^"]*"', '"configuration": "another"', record.read_text()))
    head.write_bytes(head.read_bytes() + b"\0")
    said = "\n".join(lines_of(run(repo, "verify", check=False))) + log_of(repo, "verify")
    assert re.search(r"low_dose/metrics.tsv: .*psnr: value is stored as 99.5, recomputed as \d", said)
    assert re.search(r"m_unet/metrics.tsv: mni drf4 m_unet .*\b02\b.* recomputed as", said)
    assert re.search(r"tables/drill.tsv: .*m_unet.* recomputed as", said)
    assert re.search(r"tables/drill.json: configuration is stored as another, now \w", said)
    assert re.search(r"tables/drill.json: data mni/01/T1w is stored as \w+, now \w", said)


def test_a_damaged_image_and_a_clock_that_runs_ahead_are_named(features, tmp_path):
    repo = copy_of_results(features, tmp_path / "copy")
    image, metrics = repo.path / DOSE / "m_unet-dense" / IMAGE.format("01"), repo.path / DOSE / "m_unet/metrics.tsv"
    image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    (repo.path / TABLE).unlink()
    ahead = time.time() + 3600
    os.utime(metrics, (ahead, ahead))
    # Snakemake takes no table that is older than its metrics
    done = run(repo, "tables", options=["--keep-going"], check=False)
    clock, damaged = sorted(lines_of(done), key=lambda line: "dated in the future" not in line)
    assert str(metrics.relative_to(repo.path)) in clock
    assert re.search(rf"m_unet-dense/{image.relative_to(image.parents[3])}: .* cut short or damaged", damaged)
    assert "Error in rule table" in done.stderr
    os.utime(metrics)
    lost = [f"{DOSE}/{method}/{IMAGE.format('01')}" for method in ("m_unet-dense", "m_unet-fused")]
    for name in lost:
        (repo.path / name).unlink()
    assert "fuse" in repo.killed(tmp_path / "struck", *PARALLEL, *SCALE, "--", "tables", *lost)
    for name in lost:
        assert (repo.path / name).read_bytes() == (features.path / name).read_bytes(), name
    assert tables(repo, ["drill", "features"]) == tables(features, ["drill", "features"])


@contextmanager
def mounted(folder, *command):
    subprocess.run(["mount", *command, str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.mount
def test_a_full_disk_and_results_that_cannot_be_written(repo, features):
    metrics, image = repo.path / DOSE / "low_dose/metrics.tsv", repo.path / DOSE / "m_unet" / IMAGE.format("01")
    for path in (metrics, image, repo.path / DOSE / "m_unet/metrics.tsv", repo.path / TABLE):
        path.unlink()
    with mounted(metrics.parent, "-t", "tmpfs", "-o", "ro", "tmpfs"):
        (line,) = lines_of(run(repo, check=False))
    assert f"{DOSE}/low_dose: cannot be written" in line
    with mounted(image.parents[1], "-t", "tmpfs", "-o", "size=16k", "tmpfs"):
        (line,) = lines_of(run(repo, check=False))
    assert f"{image.name}: the disk or your share of it is full; make room and run again" in line
    run(repo)
    assert tables(repo) == tables(features)


def test_a_lost_gpu_two_runs_in_one_folder_and_a_killed_snakemake(repo, features, tmp_path):
    """A run that follows is refused while the first runs, and while the training of the killed one lives on; then it finishes."""
    (repo.path / WEIGHTS).unlink()
    foreign = repo.path / FOLD / "checkpoints/0123456789abcdef.ckpt"
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_bytes(b"of another configuration")
    (line,) = lines_of(run(repo, WEIGHTS, TABLE, options=["--config", "without_gpu=error"], check=False))
    assert "no GPU found on this machine" in line
    assert "without_gpu: cpu" in line

    stopped = repo.watched(tmp_path / "stopped", train=("SIGSTOP", 1))
    first = repo.start(*PARALLEL, *SCALE, "--", WEIGHTS, TABLE, environment=stopped)
    training = stopped_training(first)
    try:
        done = run(repo, WEIGHTS, TABLE, check=False)
        assert done.returncode != 0
        assert "cannot be locked" in done.stderr
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        repo.snakemake("--unlock", *SCALE)
        (line,) = lines_of(run(repo, WEIGHTS, TABLE, check=False))
        assert "another process (started earlier) is training this; wait for it or end it" in line
        training.resume()
        with FileLock(repo.path / FOLD / "checkpoints/lock", timeout=120):
            pass  # the training has ended
    finally:
        if training.is_running():
            training.kill()
    assert (repo.path / WEIGHTS).read_bytes() == (features.path / WEIGHTS).read_bytes()
    run(repo, WEIGHTS, TABLE)
    assert tables(repo) == tables(features)
    log = log_of(repo, "train/mni/drf4/m_unet/fold-0")
    assert "device: cpu (no GPU found on this machine" in log
    assert "resuming" not in log
    assert not list(foreign.parent.glob("*.ckpt"))


def stopped_training(snakemake, seconds=120):
    """The training below a running Snakemake, once it has stopped itself."""
    for _ in range(seconds * 10):
        for process in psutil.Process(snakemake.pid).children(recursive=True):
            if process.status() == psutil.STATUS_STOPPED:
                return process
        assert snakemake.poll() is None, snakemake.communicate()
        time.sleep(0.1)
    raise AssertionError("no training stopped")

"""A real SLURM runs a lab's data set through the profile, as a lab would set it up: five lines edited, nothing else."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from cluster import slurm
from repo import ROOT, Repo

PROFILE = "profiles/slurm/profile.yaml"
SCALE = ("--configfile", "tests/config/lab.yaml")
DATA = "results/lab/lab/drf4"
FOLD = f"{DATA}/m_unet/fold-0"
# A restored image with all that it takes, and one job that needs nothing of that.
TARGETS = (
    f"{DATA}/m_unet/restored/sub-01/pet/sub-01_rec-drf4_desc-restored_pet.nii.gz",
    f"{DATA}/low_dose/metrics.tsv",
)
ONE_THREAD = ("--set-threads", "train=1", "restore_subject=1")
# Jobs of some seconds, and a node of four cores.
QUICK = ("--slurm-init-seconds-before-status-checks", "5", *ONE_THREAD)
pytestmark = pytest.mark.slow


def test_the_profile_names_every_rule_that_always_takes_a_gpu():
    text = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    taking = {block.split(":")[0] for block in re.split(r"^rule ", text, flags=re.MULTILINE)[1:] if re.search(r"\bgpu=1\b", block)}
    assert set(yaml.safe_load((ROOT / PROFILE).read_text())["set-resources"]) == taking


def test_five_lines_are_a_labs_own():
    text = "".join((ROOT / "profiles/slurm" / name).read_text() for name in ("profile.yaml", "partitions.yaml"))
    assert re.findall(r"# <- (\d)\. ", text) == ["1", "2", "3", "4", "5"]


def test_both_profiles_rerun_for_the_same_reasons():
    default, cluster = (yaml.safe_load((ROOT / f"profiles/{name}/profile.yaml").read_text()) for name in ("default", "slurm"))
    assert default["rerun-triggers"] == cluster["rerun-triggers"]


@pytest.fixture
def lab(features, tmp_path):
    """The project with a data set of two subjects, set up for the cluster of the test; a training takes some seconds."""
    path = tmp_path / "copy"
    shutil.copytree(features.path, path, ignore=shutil.ignore_patterns("results", ".snakemake"))
    shutil.copytree(features.path / "results/features/mni/bids", path / "lab")
    repo = Repo(path)
    repo.edit(PROFILE, "gpu_model: a100", "gpu_model: dummy")
    repo.edit(PROFILE, "# slurm-status-command", "slurm-status-command")
    repo.edit("profiles/slurm/partitions.yaml", "  cpu:", "  short:")
    repo.edit("profiles/slurm/partitions.yaml", "  gpu:", "  accelerated:")
    repo.edit("tests/config/lab.yaml", "steps: 2, batch_size: 2", "steps: 400, batch_size: 2")
    repo.edit("tests/config/lab.yaml", "resource_factor: 0.1", "resource_factor: 0.1\ncheckpoint_seconds: 0.1")
    # Snakemake's own process of each job takes memory too; a first attempt of one job has less than that alone
    repo.edit("rules/register.smk", "mem_mb=scaled(4_000)", "mem_mb=scaled(12_000)")
    repo.edit("rules/patches.smk", "mem_mb=scaled(4_000)", "mem_mb=scaled(12_000)")
    repo.edit("rules/evaluate.smk", "mem_mb=scaled(8_000)", "mem_mb=scaled(1_500)")
    return repo


def jobs(environment):
    """Every job that SLURM knows: its number, rule and wildcards, partition, state, memory in MB and GPUs."""
    fields = {
        "id": "JobID",
        "comment": "Comment",
        "partition": "Partition",
        "state": "State",
        "memory": "MinMemory",
        "gpus": "tres-per-job",
    }
    command = ["squeue", "--states=all", "--noheader", "--Format", ",".join(f"{field}:|" for field in fields.values())]
    lines = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    return [dict(zip(fields, line.split("|")[:-1], strict=True)) for line in lines]


def of_rule(found, rule):
    return [job for job in found if job["comment"].startswith(f"rule_{rule}_")]


def cancel_a_training(environment, folder: Path, running, log: Path):
    """Cancel the training of a fold once it has written a checkpoint."""
    while running.poll() is None:
        if list(folder.glob("checkpoints/*.ckpt")):
            (training,) = [
                job for job in of_rule(jobs(environment), "train") if job["comment"].endswith("_0") and job["state"] == "RUNNING"
            ]
            subprocess.run(["scancel", training["id"]], env=environment, check=True)
            return training["id"]
        time.sleep(0.2)
    raise AssertionError(f"no training wrote a checkpoint\n{log.read_text()[-4000:]}")


@pytest.mark.slurm
def test_a_run_on_slurm_survives_a_cancelled_training_and_a_job_that_lacks_memory(lab, tmp_path):
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", "profiles/slurm", *SCALE, *QUICK, "--", *TARGETS]
    log = tmp_path / "snakemake.log"
    with slurm(tmp_path / "slurm") as environment, open(log, "w") as output:
        running = subprocess.Popen(
            command,
            cwd=lab.path,
            env=environment | {"PYTHONPATH": str(lab.path / "src")},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            cancelled = cancel_a_training(environment, lab.path / FOLD, running, log)
            assert running.wait(timeout=1800) == 0, log.read_text()[-4000:]
        finally:
            running.terminate()
            running.wait()
        found = jobs(environment)

    states = {job["id"]: job["state"] for job in found}
    assert states[cancelled] == "CANCELLED"
    # jobs with a GPU ran where the GPUs are, on one each, which SLURM named to them
    for rule, partition, gpus in [("train", "accelerated", "gres:gpu:dummy:1"), ("restore_subject", "accelerated", "gres:gpu:dummy:1")]:
        assert {(job["partition"], job["gpus"]) for job in of_rule(found, rule)} == {(partition, gpus)}
    for rule in ("register", "prepare", "evaluate"):
        assert {(job["partition"], job["gpus"]) for job in of_rule(found, rule)} == {("short", "N/A")}
    logs = "".join(path.read_text() for path in (lab.path / "results/lab/logs/train").rglob("*.log"))
    assert re.findall(r"CUDA_VISIBLE_DEVICES is '[01]'", logs)
    # local rules never reach the queue
    assert {job["comment"].split("_wildcards")[0] for job in found} == {
        f"rule_{rule}" for rule in ("register", "prepare", "train", "restore_subject", "evaluate")
    }
    # the job that lacked memory came back with more of it
    tried = [(job["state"], int(job["memory"].removesuffix("M"))) for job in of_rule(found, "evaluate")]
    assert [state for state, memory in tried if memory == 150] not in ([], ["COMPLETED"])
    assert max(memory for state, memory in tried if state == "COMPLETED") > 150
    assert "exceeded memory limit" in "".join(path.read_text() for path in (lab.path / ".snakemake/slurm_logs").rglob("*.log"))

    # the cancelled training went on, to the weights of one that nothing disturbed
    assert "resuming at step" in (lab.path / "results/lab/logs/train/lab/drf4/m_unet/fold-0.log").read_text()
    weights = lab.path / FOLD / "model.safetensors"
    resumed = weights.read_bytes()
    weights.unlink()
    lab.snakemake("--cores", "1", *ONE_THREAD, *SCALE, "--", f"{FOLD}/model.safetensors")
    assert "resuming" not in (lab.path / "results/lab/logs/train/lab/drf4/m_unet/fold-0.log").read_text()
    assert weights.read_bytes() == resumed
    assert not subprocess.run(["pgrep", "-f", str(tmp_path / "slurm")], capture_output=True).stdout, "a daemon of SLURM lives on"
    assert os.environ.get("SLURM_CONF") is None

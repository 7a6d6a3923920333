"""A real SLURM runs a lab's data set through the profile, as a lab would set it up: five lines edited, nothing else."""

import re
import shutil
import subprocess
import sys
import time

import pytest
import yaml
from cluster import slurm
from repo import ROOT, Repo

PROFILE = "profiles/slurm/profile.yaml"
SCALE = ("--configfile", "tests/config/lab.yaml")
FOLD = "results/lab/lab/drf4/m_unet/fold-0"
TRAIN_LOG = "results/lab/logs/train/lab/drf4/m_unet/fold-0.log"
# The executor waits five seconds before each submission, and looks at the queue more and more seldom: good manners on a shared cluster.
IMPATIENT = """
import types, time
import snakemake_executor_plugin_slurm as plugin
from snakemake.cli import main
plugin.time = types.SimpleNamespace(**{**vars(time), "sleep": lambda seconds: time.sleep(0.1)})
plugin.Executor.next_seconds_between_status_checks = property(lambda self: 1.0, lambda self, seconds: None)
main()
"""
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
    """The project with a data set of two subjects, one to train on and one to test, set up for the cluster of the test."""
    path = tmp_path / "copy"
    shutil.copytree(features.path, path, ignore=shutil.ignore_patterns("results", ".snakemake"))
    shutil.copytree(features.path / "results/features/mni/bids", path / "lab")
    repo = Repo(path)
    repo.edit(PROFILE, "gpu_model: a100", "gpu_model: dummy")
    repo.edit(PROFILE, "# slurm-status-command", "slurm-status-command")
    repo.edit("profiles/slurm/partitions.yaml", "  cpu:", "  short:")
    repo.edit("profiles/slurm/partitions.yaml", "  gpu:", "  accelerated:")
    repo.edit("tests/config/datasets/lab.yaml", "{scheme: leave_one_out}", "{scheme: holdout, test: 1, validation: 0, seed: 0}")
    repo.edit("tests/config/lab.yaml", "resource_factor: 0.1", "resource_factor: 0.1\ncheckpoint_seconds: 0.001")
    # Snakemake's own process of each job takes memory too; a first attempt of one job has less than it needs with that
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


def cancel_the_training(environment, struck, running, log):
    """Cancel the training in its middle: it has written a checkpoint, and waits before it writes its weights."""
    while running.poll() is None:
        if struck.exists():
            (training,) = [job for job in of_rule(jobs(environment), "train") if job["state"] == "RUNNING"]
            subprocess.run(["scancel", training["id"]], env=environment, check=True)
            return training["id"]
        time.sleep(0.2)
    raise AssertionError(f"no training wrote a checkpoint\n{log.read_text()[-4000:]}")


@pytest.mark.slurm
def test_a_run_on_slurm_survives_a_cancelled_training_and_a_job_that_lacks_memory(lab, tmp_path):
    command = [sys.executable, "-c", IMPATIENT, "--workflow-profile", "profiles/slurm", *SCALE]
    log, watched = tmp_path / "snakemake.log", lab.watched(tmp_path / "watched", train=("sleep", 2))
    with slurm(tmp_path / "slurm", watched) as environment, open(log, "w") as output:
        command += ["--slurm-init-seconds-before-status-checks", "1", "--", "tables"]
        running = subprocess.Popen(command, cwd=lab.path, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            cancelled = cancel_the_training(environment, tmp_path / "watched/struck-train", running, log)
            assert running.wait(timeout=1200) == 0, log.read_text()[-4000:]
        finally:
            running.terminate()
            running.wait()
        found = jobs(environment)
    assert not subprocess.run(["pgrep", "-f", str(tmp_path / "slurm")], capture_output=True).stdout, "a daemon of SLURM lives on"

    assert {job["id"]: job["state"] for job in found}[cancelled] == "CANCELLED"
    # jobs with a GPU ran where the GPUs are, on one each, which SLURM named to them; local rules never reached the queue
    places = {(job["comment"].split("_wildcards")[0], job["partition"], job["gpus"]) for job in found}
    assert places == {(f"rule_{rule}", "short", "N/A") for rule in ("register", "prepare", "evaluate")} | {
        (f"rule_{rule}", "accelerated", "gres:gpu:dummy:1") for rule in ("train", "restore_subject")
    }
    training = (lab.path / TRAIN_LOG).read_text()
    assert re.search(r"CUDA_VISIBLE_DEVICES is '[01]'", training)
    # the jobs that lacked memory came back with more of it
    tried = [(job["state"], int(job["memory"].removesuffix("M"))) for job in of_rule(found, "evaluate")]
    assert {state for state, memory in tried if memory == 150} - {"COMPLETED"}
    assert any(state == "COMPLETED" and memory > 150 for state, memory in tried)
    assert "exceeded memory limit" in "".join(path.read_text() for path in (lab.path / ".snakemake/slurm_logs").rglob("*.log"))

    # the cancelled training went on, to the weights of one that nothing disturbed
    assert "resuming at step 1 of 2" in training
    weights = lab.path / FOLD / "model.safetensors"
    resumed = weights.read_bytes()
    weights.unlink()
    lab.snakemake("--cores", "1", *SCALE, "--", f"{FOLD}/model.safetensors")
    assert "resuming" not in (lab.path / TRAIN_LOG).read_text()
    assert weights.read_bytes() == resumed
    assert "M-UNet" in (lab.path / "results/lab/tables/lab.md").read_text()

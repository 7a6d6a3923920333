"""GPUs are spread over the jobs of a machine, one each; no GPU is needed to show it."""

import os
import signal
import subprocess
import sys

import pytest

from petbench.workflow.gpus import one_gpu, visible_gpus

HOLD = """
import os, sys, time
from pathlib import Path
from petbench.workflow.gpus import one_gpu
with one_gpu(os.environ, Path(sys.argv[1])) as name:
    print(name, flush=True)
    sys.stdin.readline()
"""


def holder(folder, devices, **environment):
    """A process that holds a GPU until it is told to stop."""
    return subprocess.Popen(
        [sys.executable, "-u", "-c", HOLD, str(folder)],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": devices} | environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def name_held(process):
    return process.stdout.readline().strip()


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("0,1", ["0", "1"]),
        ("3", ["3"]),
        (" 1, 0", ["1", "0"]),
        ("GPU-8932f937-d72c,MIG-52", ["GPU-8932f937-d72c", "MIG-52"]),
        ("", []),
        ("-1", []),
        ("0,-1,1", ["0"]),
        ("NoDevFiles", []),
    ],
)
def test_names_are_read_as_cuda_reads_them(given, names):
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": given}) == names


def test_each_job_has_a_gpu_of_its_own_and_the_next_one_waits(tmp_path):
    jobs = [holder(tmp_path, "0,1,2") for _ in range(3)]
    assert sorted(name_held(job) for job in jobs) == ["0", "1", "2"]
    fourth = holder(tmp_path, "0,1,2")
    assert name_held(fourth).startswith("waiting for a GPU: 3 here")
    jobs[1].communicate("stop\n")
    assert name_held(fourth) in ("0", "1", "2")
    for job in (jobs[0], jobs[2], fourth):
        job.communicate("stop\n")
        assert job.returncode == 0


def test_a_killed_job_frees_its_gpu(tmp_path):
    job = holder(tmp_path, "GPU-1")
    assert name_held(job) == "GPU-1"
    job.send_signal(signal.SIGKILL)
    job.communicate()
    with one_gpu({"CUDA_VISIBLE_DEVICES": "GPU-1"}, tmp_path) as name:
        assert name == "GPU-1"


def test_a_gpu_is_free_again_after_its_job_failed(tmp_path):
    environment = {"CUDA_VISIBLE_DEVICES": "0"}
    with pytest.raises(RuntimeError), one_gpu(environment, tmp_path):
        raise RuntimeError
    with one_gpu(environment, tmp_path) as name:
        assert name == "0"


def test_what_slurm_gave_to_a_job_alone_is_not_locked(tmp_path):
    # with a device cgroup every job sees one GPU, which is called 0
    environment = {"CUDA_VISIBLE_DEVICES": "0", "SLURM_JOB_ID": "7"}
    with one_gpu(environment, tmp_path) as first, one_gpu(environment | {"SLURM_JOB_ID": "8"}, tmp_path) as second:
        assert (first, second) == ("0", "0")


def test_several_gpus_of_one_allocation_are_spread(tmp_path):
    environment = {"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_JOB_ID": "7"}
    with one_gpu(environment, tmp_path) as first, one_gpu(environment, tmp_path) as second:
        assert {first, second} == {"0", "1"}


def test_without_a_gpu_nothing_is_held(tmp_path):
    with one_gpu({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) as name:
        assert name is None
    assert not list(tmp_path.iterdir())

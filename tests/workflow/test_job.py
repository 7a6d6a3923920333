"""What a script is given: a device as configured, and errors in one line."""

import errno
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from petbench.errors import InputError
from petbench.workflow.job import job


def described(tmp_path, gpus=1, **config):
    """A job as Snakemake describes it."""
    empty = SimpleNamespace()
    return SimpleNamespace(
        input=empty,
        output=empty,
        params=empty,
        wildcards=empty,
        config=config,
        threads=1,
        resources=SimpleNamespace(gpu=gpus),
        log=[str(tmp_path / "job.log")],
    )


@pytest.fixture(autouse=True)
def lost_gpu(monkeypatch):
    """A GPU that the job was given and that the machine does not have any more."""
    import torch

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def log(tmp_path):
    return (tmp_path / "job.log").read_text()


def test_a_lost_gpu_falls_back_and_says_so(tmp_path):
    with job(described(tmp_path)) as run:
        assert run.device == "cpu"
    assert "device: cpu (no GPU found on this machine, where CUDA_VISIBLE_DEVICES is '0')" in log(tmp_path)


def test_a_lost_gpu_ends_the_job_in_one_line_where_that_is_set(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended, job(described(tmp_path, without_gpu="error")) as run:
        _ = run.device
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no GPU found" in line
    assert "without_gpu: cpu" in line
    assert "Traceback" not in log(tmp_path)


def test_a_run_without_gpus_asks_for_none(tmp_path):
    with job(described(tmp_path, gpus=0, without_gpu="error")) as run:
        assert run.device == "cpu"
    assert "gpu=0" in log(tmp_path)


def test_a_gpu_is_held_until_the_job_ends_and_no_other_is_seen(tmp_path, monkeypatch):
    import torch

    from petbench.workflow import gpus

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpus, "FOLDER", tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    with job(described(tmp_path)) as run:
        assert (run.device, os.environ["CUDA_VISIBLE_DEVICES"]) == ("cuda", "4")
        with gpus.one_gpu({"CUDA_VISIBLE_DEVICES": "4,5"}) as other:
            assert other == "5"
    with gpus.one_gpu({"CUDA_VISIBLE_DEVICES": "4,5"}) as freed:
        assert freed == "4"


def test_errors_are_one_line_and_leave_a_traceback_in_the_log_only_if_unforeseen(tmp_path, capsys):
    read_only = OSError(errno.EROFS, os.strerror(errno.EROFS), "results/a.json")
    for error, traced in ((InputError("a.nii: cut short; copy it again."), False), (read_only, False), (ZeroDivisionError("zero"), True)):
        with pytest.raises(SystemExit), job(described(tmp_path)):
            raise error
        (line,) = capsys.readouterr().err.splitlines()
        assert (error.strerror if error is read_only else str(error)) in line
        assert ("Traceback" in log(tmp_path)) == traced


def test_a_job_says_how_long_it_took(tmp_path):
    with job(described(tmp_path)):
        pass
    assert "done in 0.00 s with 1 threads, " in log(tmp_path)


def test_a_jobs_ants_registers_and_brings_no_library_to_plot_or_fit_models(tmp_path):
    program = f"""
import sys
from types import SimpleNamespace as Some
from petbench.workflow.job import job
parts = dict.fromkeys(("input", "output", "params", "wildcards", "resources"), Some())
with job(Some(**parts, config={{}}, threads=1, log=[{str(tmp_path / "log")!r}])):
    import ants
assert callable(ants.registration)
print([name for name in ("matplotlib", "sklearn", "statsmodels") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

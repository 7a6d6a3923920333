"""What a run says of its work while it waits."""

import logging
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

from petbench.workflow.progress import WorkDone, expected, follow, read_seconds, write_seconds

JOBS = ["split/mni", "train/mni/drf4/a/fold-0", "train/mni/drf4/b/fold-0"]


@pytest.fixture
def benchmarks(tmp_path):
    for name, seconds in zip(JOBS, (1.0, 30.0, 69.0), strict=True):
        path = tmp_path / "benchmarks" / f"{name}.tsv"
        path.parent.mkdir(parents=True)
        path.write_text(f"s\th:m:s\n{seconds}\t0:00:00\n")
    return tmp_path / "benchmarks"


def test_seconds_of_a_finished_run_are_written_and_read(benchmarks, tmp_path):
    write_seconds(benchmarks, tmp_path / "demo.tsv")
    assert read_seconds(tmp_path / "demo.tsv") == dict(zip(JOBS, (1.0, 30.0, 69.0), strict=True))
    assert read_seconds(tmp_path / "none.tsv") == {}


def test_a_job_that_was_not_recorded_takes_what_others_of_its_rule_took():
    seconds = dict(zip(JOBS, (1.0, 30.0, 69.0), strict=True))
    asked = expected(["train/mni/drf4/b/fold-0", "train/mni/drf4/c/fold-0", "gate/one/0"], seconds)
    assert asked == {"train/mni/drf4/b/fold-0": 69.0, "train/mni/drf4/c/fold-0": 49.5, "gate/one/0": pytest.approx(100 / 3)}


def finished(number, event=LogEvent.JOB_FINISHED):
    return logging.makeLogRecord({"event": event, "job_id": number})


def test_the_share_is_of_work_and_not_of_jobs():
    said, clock = [], iter([100.0, 110.0, 130.0, 170.0])
    handler = WorkDone({1: 1.0, 2: 30.0, 3: 69.0}, said.append, now=lambda: next(clock))
    handler.emit(finished(1))
    assert said == []  # a third of the jobs, a hundredth of the work
    handler.emit(finished(2, LogEvent.JOB_STARTED))
    handler.emit(finished(7))
    assert said == []
    handler.emit(finished(2))
    assert said == ["petbench: 31% of the work is done, some 22 s left"]  # 10 s for 31 of 100
    handler.emit(finished(2))
    handler.emit(finished(3))
    assert len(said) == 1


def test_a_run_that_was_recorded_is_told_of(benchmarks, tmp_path, capsys):
    logger = logging.getLogger("snakemake.logging")
    before = list(logger.handlers)
    jobs = [SimpleNamespace(jobid=number, benchmark=str(benchmarks / f"{name}.tsv")) for number, name in enumerate(JOBS)]
    jobs += [SimpleNamespace(jobid=8, benchmark=None), SimpleNamespace(jobid=9, benchmark="results/downloads/benchmarks/weights/0.tsv")]
    try:
        follow(jobs, benchmarks, tmp_path / "demo.tsv")
        (kept,) = set(logger.handlers) - set(before)
        kept.emit(logging.makeLogRecord({"msg": "Terminating processes on user request, this might take some time."}))
        assert "the same command continues" in capsys.readouterr().err
        write_seconds(benchmarks, tmp_path / "demo.tsv")
        follow(jobs, benchmarks, tmp_path / "demo.tsv")
        (told,) = (one for one in logger.handlers if isinstance(one, WorkDone))
        told.emit(finished(1))
        assert "petbench: 30% of the work is done" in capsys.readouterr().err
    finally:
        logger.handlers = before

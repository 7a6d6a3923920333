import os
import time

from petbench.workflow.clock import future_files


def test_only_files_of_the_future_are_named(tmp_path):
    (tmp_path / "sub").mkdir()
    for name, ahead in (("now", 0), ("sub/later", 3600), ("past", -3600), ("a_little", 5)):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() + ahead,) * 2)
    assert future_files(tmp_path) == [str(tmp_path / "sub/later")]
    assert future_files(tmp_path / "none") == []


def test_files_that_vanish_while_looked_for_are_left_out(tmp_path, monkeypatch):
    ahead = time.time() + 3600
    for name in ("stays", "vanishes"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (ahead, ahead))
    whole = os.walk

    def walk(folder):
        for found in whole(folder):
            (tmp_path / "vanishes").unlink()
            yield found

    monkeypatch.setattr(os, "walk", walk)
    assert future_files(tmp_path) == [str(tmp_path / "stays")]

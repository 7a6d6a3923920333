"""A restoration that was killed goes on with the windows it has not done, to the same bits."""

from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

import petbench.restoration.restore as module
import petbench.restoration.scan as scan
from petbench.data.nifti import read_volume
from petbench.errors import InputError
from petbench.files import read_json, write_json
from petbench.methods.build import build
from petbench.preprocess.registration import Registered
from petbench.restoration.restore import restore
from petbench.restoration.scan import restore_scan
from petbench.restoration.weights import load_restorer, save_weights

PATCHES = {"inputs": ["low_dose", "mr"], "stride": [12, 12, 12], "batch_size": 8}
DIFFUSION = {"timesteps": 20, "prediction": "x0", "variance": "fixed_large", "vlb_weight": 0.0, "range": [0.0, 1.0]}
TRAIN = {
    "diffusion": DIFFUSION | {"schedule": {"name": "linear", "betas": [1e-3, 0.5]}},
    "network": {
        "spatial_dims": 2,
        "width": 4,
        "multipliers": [1, 2],
        "blocks": 1,
        "attention": [],
        "heads": 1,
        "dropout": 0.0,
        "head": "normalised",
    },
    "conditions": ["low_dose"],
}
SLICES = {"inputs": ["low_dose"], "batch_size": 7, "sampler": {"name": "ancestral", "steps": 3, "clip": [0.0, 2.0], "seed": 1}}


class KilledError(Exception):
    pass


@pytest.fixture
def sampled(tmp_path, subject, describe):
    """Weights of a method that samples slices, and a preparation for them."""
    torch.manual_seed(0)
    method = build("iddpm", TRAIN)
    for parameter in method.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    weights = str(tmp_path / "slices.safetensors")
    save_weights(weights, method.weights(), describe(module="iddpm", train=TRAIN, window=[48, 56, 1]))
    prepared = Path(subject["prepared"]).with_name("sampled.json")
    write_json(prepared, read_json(subject["prepared"]) | {"window": [48, 56, 1], "empty_below": 0.05})
    return str(prepared), weights


@pytest.fixture
def jobs(subject, trained, sampled, tmp_path):
    """A job of each kind: given files to write and keyword arguments, it restores."""
    return {
        "patches": lambda out, **given: restore(subject["prepared"], subject["low_dose"], trained, PATCHES, "cpu", 1, out, **given),
        "slices": lambda out, **given: restore(sampled[0], subject["low_dose"], sampled[1], SLICES, "cpu", 1, out, **given),
        "scan": lambda out, **given: restore_scan(subject["low_dose"], subject["t1"], sampled[1], "cpu", 1, out, sampling_steps=2, **given),
    }


@pytest.fixture
def seen(monkeypatch, subject):
    """Counts windows that a method is given, and dies at the batch that `at` names."""
    counted: dict[str, int | None] = {"windows": 0, "batches": 0, "at": None}

    def load(path, device):
        restorer, description = load_restorer(path, device)
        name = "sample" if hasattr(restorer, "sample") else "restore"
        work = getattr(restorer, name)

        def watched(low_dose, *given):
            if counted["batches"] == counted["at"]:
                raise KilledError
            counted["batches"] += 1
            counted["windows"] += len(low_dose)
            return work(low_dose, *given)

        monkeypatch.setattr(restorer, name, watched)
        return restorer, description

    monkeypatch.setattr(module, "load_restorer", load)
    monkeypatch.setattr(scan, "load_restorer", load)
    registered = Registered(read_volume(subject["standard_dose"]), {})
    monkeypatch.setattr(scan, "register", lambda *_, **__: registered)

    def of(job, at=None):
        counted.update(windows=0, batches=0, at=at)
        if at is None:
            job()
        else:
            with pytest.raises(KilledError):
                job()
        return counted["windows"]

    return of


def files(folder):
    folder.mkdir(exist_ok=True)
    return {"image": str(folder / "image.nii.gz"), "sidecar": str(folder / "image.json"), "page": str(folder / "page.html")}


def voxels(folder):
    return np.asarray(read_volume(folder / "image.nii.gz").dataobj)


@pytest.mark.parametrize("kind", ["patches", "slices", "scan"])
def test_a_killed_restoration_goes_on_to_the_same_bits(jobs, seen, tmp_path, kind, capsys):
    job, kept = jobs[kind], {"partial": tmp_path / "partial", "checkpoint_seconds": 0.0}
    whole = seen(lambda: job(files(tmp_path / "whole")))
    done = seen(lambda: job(files(tmp_path / "killed"), **kept), at=2)
    assert 0 < done < whole
    assert not (tmp_path / "killed" / "image.nii.gz").exists()
    assert seen(lambda: job(files(tmp_path / "killed"), **kept)) == whole - done
    assert f"resuming after {done} windows" in capsys.readouterr().out
    np.testing.assert_array_equal(voxels(tmp_path / "killed"), voxels(tmp_path / "whole"))
    assert not (tmp_path / "partial").exists()
    assert seen(lambda: job(files(tmp_path / "killed"), **kept)) == whole


def test_twice_killed_the_time_of_all_counts(jobs, seen, tmp_path):
    kept = {"partial": tmp_path / "partial", "checkpoint_seconds": 0.0}
    for at in (1, 1):
        seen(lambda: jobs["slices"](files(tmp_path / "out"), **kept), at=at)
    (path,) = (tmp_path / "partial").glob("*.ckpt")
    state = torch.load(path, weights_only=True)
    assert state["windows"] == 2 * SLICES["batch_size"]
    torch.save({**state, "seconds": 1000.0}, path)
    seen(lambda: jobs["slices"](files(tmp_path / "out"), **kept))
    assert read_json(tmp_path / "out" / "image.json")["restore_seconds"] > 1000


@pytest.mark.parametrize("change", ["weights", "settings", "code", "inputs", "evaluated"])
def test_what_was_kept_of_anything_else_is_not_gone_on_with(subject, trained, untrained, seen, tmp_path, change):
    given = {"prepared": subject["prepared"], "weights": trained, "settings": PATCHES, "code": "a", "evaluated": None}

    def job():
        restore(
            given["prepared"],
            subject["low_dose"],
            given["weights"],
            given["settings"],
            "cpu",
            1,
            files(tmp_path / "out"),
            given["evaluated"],
            tmp_path / "partial",
            0.0,
            given["code"],
        )

    whole = seen(job)
    seen(job, at=2)
    other = tmp_path / "other"
    other.mkdir()
    for path in Path(subject["prepared"]).parent.glob("*.npy"):
        np.save(other / path.name, np.load(path) * (1.5 if path.stem == "low_dose" else 1))
    write_json(other / "prepared.json", read_json(subject["prepared"]))
    given |= {
        "weights": {"weights": untrained},
        "settings": {"settings": PATCHES | {"blend": "average"}},
        "code": {"code": "b"},
        "inputs": {"prepared": str(other / "prepared.json")},
        "evaluated": {"evaluated": {"axis": 0, "slices": [3]}},
    }[change]
    assert seen(job) == whole


def test_one_process_at_a_time_and_nothing_damaged(jobs, seen, tmp_path):
    kept = {"partial": tmp_path / "partial", "checkpoint_seconds": 0.0}
    (tmp_path / "partial").mkdir()
    with FileLock(tmp_path / "partial" / "lock"), pytest.raises(InputError, match=r"another process .* is restoring this"):
        jobs["slices"](files(tmp_path / "out"), **kept)
    seen(lambda: jobs["slices"](files(tmp_path / "out"), **kept), at=2)
    (path,) = (tmp_path / "partial").glob("*.ckpt")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=rf"{path.name}: the checkpoint is damaged .* delete it to begin the restoring anew"):
        jobs["slices"](files(tmp_path / "out"), **kept)


def test_what_is_kept_is_written_no_more_often_than_asked_for(jobs, seen, tmp_path):
    seen(lambda: jobs["slices"](files(tmp_path / "out"), partial=tmp_path / "partial", checkpoint_seconds=3600.0), at=2)
    assert not list((tmp_path / "partial").glob("*.ckpt"))

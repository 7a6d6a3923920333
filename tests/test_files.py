import hashlib
import os
import pickle
import stat
import subprocess

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from petbench.checkpoint import Checkpoint
from petbench.data.nifti import volume, write_volume
from petbench.errors import InputError
from petbench.files import atomic, checksum, digest, open_array, read_json, write_json
from petbench.preprocess.prepare import save_array


@pytest.mark.parametrize("before", [None, "old"])
def test_a_failing_block_leaves_what_was_there(tmp_path, before):
    path = tmp_path / "folder" / "table.tsv"
    if before is not None:
        path.parent.mkdir()
        path.write_text(before)
    with pytest.raises(TypeError, match="bytes-like"), atomic(path) as temporary, open(temporary, "wb", buffering=0) as file:
        file.writelines([b"half", 2.0])
    assert [file.read_text() for file in path.parent.iterdir()] == ([] if before is None else [before])


def test_a_block_that_succeeds_replaces_the_file_and_respects_the_umask(tmp_path):
    path = tmp_path / "volume.nii.gz"
    path.write_text("old")
    mask = os.umask(0o027)
    try:
        with atomic(path) as temporary:
            assert temporary.name.endswith("volume.nii.gz")
            temporary.write_text("new")
            assert path.read_text() == "old"
    finally:
        os.umask(mask)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_json_round_trip(tmp_path):
    content = {"scale": 1.25, "window": [1, 2], "note": "grey \u00b5", "none": None}
    write_json(tmp_path / "a.json", content)
    assert read_json(tmp_path / "a.json") == content


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_has_no_nan_and_keeps_the_old_file(tmp_path, value):
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"value": value})
    assert read_json(tmp_path / "a.json") == 1


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe"])
def test_a_broken_json_file_is_named(tmp_path, content):
    path = tmp_path / "broken.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"broken\.json: not valid JSON"):
        read_json(path)
    with pytest.raises(InputError, match=r"missing\.json: no such file"):
        read_json(tmp_path / "missing.json")


def test_checksum_is_sha256_of_the_bytes(tmp_path):
    content = os.urandom(300_000)
    (tmp_path / "a").write_bytes(content)
    assert checksum(tmp_path / "a") == hashlib.sha256(content).hexdigest()


def test_digest_follows_content_not_order():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1, "b": [1, 2]}) != digest({"a": 1, "b": [2, 1]})


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 kB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def json_file(path):
    write_json(path, "x" * 400_000)


def array(path):
    save_array(path, np.ones(200_000))


def volume_file(path):
    data = np.random.default_rng(0).random((50, 50, 50), dtype=np.float32)
    write_volume(path.with_suffix(".nii.gz"), data, like=volume(data, np.eye(4)))


def checkpoint(path):
    Checkpoint(path.with_suffix(".ckpt")).save({"tensor": torch.ones(200_000)})


def weights(path):
    with atomic(path) as temporary:
        save_file({"tensor": torch.ones(200_000)}, temporary)


def hdf5(path):
    with atomic(path) as temporary, h5py.File(temporary, "w") as file:
        file["counts"] = np.random.default_rng(0).random(200_000)


@pytest.mark.mount
@pytest.mark.parametrize("write", [json_file, array, volume_file, checkpoint, weights, hdf5])
def test_a_full_disk_is_said_in_one_line_and_leaves_nothing(small_disk, write):
    (small_disk / "other").write_text("kept")
    with pytest.raises(InputError, match=r"file\S*: the disk or your share of it is full; make room"):
        write(small_disk / "file")
    assert [path.name for path in small_disk.iterdir()] == ["other"]


@pytest.mark.mount
def test_a_disk_that_cannot_be_written_is_said_in_one_line(small_disk):
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for path in (small_disk / "a.json", small_disk / "new" / "a.json"):
        with pytest.raises(InputError, match=r"a\.json: cannot be written \(Read-only file system\); make its folder writable"):
            write_json(path, 1)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", pickle.dumps([1])])
def test_a_broken_array_is_named_and_runs_nothing(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.npy: is cut short or damaged .* delete it and run again"):
        open_array(tmp_path / "a.npy")
    with pytest.raises(InputError, match=r"b\.npy: no such file"):
        open_array(tmp_path / "b.npy")

import hashlib
import os
import stat

import pytest

from petbench.errors import InputError
from petbench.files import atomic, checksum, digest, read_json, write_json


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

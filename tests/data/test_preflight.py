import numpy as np
import pytest

from petbench.data.nifti import volume, write_volume
from petbench.data.preflight import check_images
from petbench.errors import InputError
from petbench.files import read_json

AFFINE = np.diag([2.0, 3.0, 4.0, 1.0])


def image(path, data):
    write_volume(path, data, like=volume(data, AFFINE))
    return str(path)


def test_records_every_grid(tmp_path):
    path = image(tmp_path / "a.nii.gz", np.random.default_rng(0).random((4, 5, 6), dtype=np.float32))
    check_images([path], str(tmp_path / "out.json"))
    assert read_json(tmp_path / "out.json") == {path: {"shape": [4, 5, 6], "voxel_mm": [2.0, 3.0, 4.0]}}


def test_lists_all_problems_at_once_and_writes_nothing(tmp_path):
    good = image(tmp_path / "good.nii.gz", np.random.default_rng(0).random((4, 4, 4), dtype=np.float32))
    zero = image(tmp_path / "zero.nii.gz", np.zeros((4, 4, 4), np.float32))
    (tmp_path / "cut.nii.gz").write_bytes((tmp_path / "good.nii.gz").read_bytes()[:150])
    with pytest.raises(InputError) as error:
        check_images([good, zero, str(tmp_path / "cut.nii.gz"), str(tmp_path / "none.nii.gz")], str(tmp_path / "out.json"))
    lines = str(error.value).splitlines()
    assert len(lines) == 3
    assert all(name in line for name, line in zip(["zero.nii.gz", "cut.nii.gz", "none.nii.gz"], lines, strict=True))
    assert not (tmp_path / "out.json").exists()

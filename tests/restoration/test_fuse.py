import numpy as np
import pytest

from petbench.data.nifti import read_volume, volume, write_volume
from petbench.errors import InputError
from petbench.files import read_json, write_json
from petbench.restoration.fuse import fuse

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def parts(folder, data, affine=AFFINE):
    images, sidecars = [], []
    for number, values in enumerate(data):
        images.append(str(folder / f"{number}.nii.gz"))
        sidecars.append(str(folder / f"{number}.json"))
        write_volume(images[-1], values, like=volume(values, affine))
        cost: dict[str, object] = {"parameters": 10, "gmac_modules": 0.5, "gflop": 1.0}
        cost |= {"restore_seconds": number + 1.0, "restore_peak_mb": 10.0 * number, "device": "cpu, 1 threads"}
        write_json(sidecars[-1], {"Sources": ["low.nii.gz"]} | cost)
    return images, sidecars


def test_the_mean_and_the_cost_of_all(tmp_path):
    data = np.random.default_rng(0).random((3, 4, 5, 6), dtype=np.float32)
    fuse(*parts(tmp_path, data), "mean", {"image": str(tmp_path / "out.nii.gz"), "sidecar": str(tmp_path / "out.json")})
    fused = read_volume(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(np.asarray(fused.dataobj), data.mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(fused.affine, AFFINE)
    sidecar = read_json(tmp_path / "out.json")
    assert sidecar["Sources"] == ["low.nii.gz"]
    assert (sidecar["parameters"], sidecar["gmac_modules"]) == (30, 1.5)
    assert (sidecar["restore_seconds"], sidecar["restore_peak_mb"]) == (6.0, 20.0)


def test_volumes_on_different_grids_are_refused(tmp_path):
    data = np.ones((2, 4, 5, 6), np.float32)
    images, sidecars = parts(tmp_path, data)
    write_volume(images[1], data[1], like=volume(data[1], AFFINE + np.diag([0.5, 0, 0, 0])))
    with pytest.raises(InputError, match=r"1\.nii\.gz: its grid"):
        fuse(images, sidecars, "mean", {"image": str(tmp_path / "out.nii.gz"), "sidecar": str(tmp_path / "out.json")})

import numpy as np
import pytest

from petbench.data.nifti import read_volume, volume, write_volume
from petbench.errors import InputError
from petbench.files import read_json, write_json
from petbench.restoration.fuse import dwt, fuse

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
    fuse(*parts(tmp_path, data), {"fuse": "mean"}, {"image": str(tmp_path / "out.nii.gz"), "sidecar": str(tmp_path / "out.json")})
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
        fuse(images, sidecars, {"fuse": "mean"}, {"image": str(tmp_path / "out.nii.gz"), "sidecar": str(tmp_path / "out.json")})


RNG = np.random.default_rng(3)


@pytest.mark.parametrize("shape", [(16, 16, 16), (17, 23, 12), (13, 13, 13)])
@pytest.mark.parametrize("wavelet", ["haar", "db2"])
def test_a_volume_fused_with_itself_is_itself(shape, wavelet):
    one = RNG.normal(size=shape)
    fused = dwt([one, one], wavelet, 2)
    assert fused.shape == shape
    np.testing.assert_allclose(fused, one, atol=1e-10)


def test_fusing_scales_with_the_volumes_and_knows_no_order():
    volumes = list(RNG.normal(size=(3, 12, 11, 10)))
    fused = dwt(volumes, "haar", 2)
    np.testing.assert_allclose(dwt([-7 * volume for volume in volumes], "haar", 2), -7 * fused, atol=1e-10)
    np.testing.assert_allclose(dwt(volumes[::-1], "haar", 2), fused, atol=1e-10)


def test_approximations_are_averaged_and_the_stronger_detail_is_kept():
    """Haar by hand: a detail that one volume alone has stays whole, where the mean would halve it; levels of 1 and 3 become 2."""
    detail = np.tile([1.0, -1.0], (8, 8, 4))
    fused = dwt([1.0 + detail, 3.0 + 0.25 * detail], "haar", 1)
    np.testing.assert_allclose(fused, 2.0 + detail, atol=1e-12)
    np.testing.assert_allclose(dwt([np.full((8, 8, 8), 1.0), np.full((8, 8, 8), 3.0)], "db2", 1), 2.0, atol=1e-12)


def test_volumes_too_small_for_the_levels_are_refused():
    with pytest.raises(InputError, match=r"restore/level: 3 levels of db2 need larger volumes than \(12, 12, 6\); take at most 1"):
        dwt([np.ones((12, 12, 6))] * 2, "db2", 3)


def test_wavelet_fusion_writes_a_volume_and_the_cost_of_all(tmp_path):
    data = RNG.random((3, 12, 13, 14), dtype=np.float32)
    images, sidecars = parts(tmp_path, data)
    for path in sidecars:
        write_json(path, read_json(path) | {"sampling_steps": 50})
    fuse(images, sidecars, {"fuse": "dwt", "level": 1}, {"image": str(tmp_path / "out.nii.gz"), "sidecar": str(tmp_path / "out.json")})
    np.testing.assert_allclose(np.asarray(read_volume(tmp_path / "out.nii.gz").dataobj), dwt(list(data), level=1), atol=1e-5)
    sidecar = read_json(tmp_path / "out.json")
    assert sidecar["sampling_steps"] == 150
    assert sidecar["Description"].startswith("Wavelet fusion")

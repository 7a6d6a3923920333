import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from petbench.data.nifti import volume, write_volume
from petbench.errors import InputError
from petbench.files import checksum, read_json
from petbench.preprocess.prepare import prepare, prepare_maps
from petbench.preprocess.windows import window_starts
from petbench.training.data import open_windows

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
SCALING = {"mode": "low_dose", "percentile": 99.5, "smooth_mm": 6.0, "mr_percentile": 99.5}
DOMAIN = {"window": [8, 8, 8], "stride": [4, 4, 4]}


@pytest.fixture
def paths(tmp_path):
    rng = np.random.default_rng(0)
    x, y, z = np.indices((20, 18, 16))
    ball = ((x - 9) ** 2 + (y - 8) ** 2 + (z - 8) ** 2 < 36).astype(np.float32)
    for kind, level in {"low_dose": 9e3, "standard_dose": 1e4, "mr": 150}.items():
        data = (level * gaussian_filter(ball + 0.1 * rng.random(ball.shape), 1)).astype(np.float32)
        write_volume(tmp_path / f"{kind}.nii.gz", data, like=volume(data, AFFINE))
    return {kind: str(tmp_path / f"{kind}.nii.gz") for kind in ("low_dose", "standard_dose", "mr")}


def outputs(folder):
    files = {kind: str(folder / f"{kind}.npy") for kind in ("low_dose", "standard_dose", "mr", "index")}
    return files | {"parameters": str(folder / "prepared.json")}


def test_writes_volumes_windows_and_the_way_back(tmp_path, paths):
    out = outputs(tmp_path / "prepared")
    prepare(paths, {"grid": {"shape": [16, 16, 16]}, "scaling": SCALING}, DOMAIN, out)
    parameters = read_json(out["parameters"])
    for kind in ("low_dose", "standard_dose", "mr"):
        data = np.load(out[kind], mmap_mode="r")
        assert data.shape == tuple(parameters["shape"]) == (16, 16, 16)
        assert data.dtype == np.float32
        assert parameters["sources"][kind] == {"file": f"{kind}.nii.gz", "sha256": checksum(paths[kind])}
    np.testing.assert_array_equal(np.load(out["index"]), window_starts((16, 16, 16), **DOMAIN))
    assert parameters["voxel_mm"] == pytest.approx([2, 2, 3])
    assert {key: parameters[key] for key in DOMAIN} == DOMAIN
    assert parameters["scales"]["low_dose"] == parameters["scales"]["standard_dose"]


def test_chosen_slices_alone_are_indexed_and_recorded(tmp_path, paths):
    out = outputs(tmp_path / "prepared")
    domain = {"window": [16, 16, 1], "stride": [16, 16, 1], "slices": [9, 5, 7]}
    prepare(paths, {"grid": {"shape": [16, 16, 16]}, "scaling": SCALING}, domain, out)
    assert np.load(out["index"]).tolist() == [[0, 0, 5], [0, 0, 7], [0, 0, 9]]
    assert np.load(out["low_dose"]).shape == (16, 16, 16)
    assert read_json(out["parameters"])["slices"] == domain["slices"]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_nearly_empty_slices_are_left_out_of_the_training_by_the_low_dose_alone(tmp_path, paths, axis):
    out = outputs(tmp_path / "prepared")
    window = [16, 16, 16]
    window[axis] = 1
    domain = {"window": window, "stride": window, "slices": {"uniform": 8}, "empty_below": 0.2}
    prepare(paths, {"grid": {"shape": [16, 16, 16]}, "scaling": SCALING}, domain, out)
    index, parameters = np.load(out["index"]), read_json(out["parameters"])
    sums = np.load(out["low_dose"]).sum(axis=tuple({0, 1, 2} - {axis}))
    assert index[:, axis].tolist() == [place for place in range(1, 16, 2) if sums[place] >= 0.2 * sums.max()]
    assert parameters["windows"] == len(index) < 8
    assert parameters["windows_left_out"] == 8 - len(index)


def test_images_on_different_grids_are_refused(tmp_path, paths):
    data = np.random.default_rng(0).random((20, 18, 16), dtype=np.float32)
    shifted = AFFINE.copy()
    shifted[0, 3] = 1
    write_volume(paths["mr"], data, like=volume(data, shifted))
    with pytest.raises(InputError, match=r"mr\.nii\.gz: its grid"):
        prepare(paths, {"grid": {"shape": [16, 16, 16]}, "scaling": SCALING}, DOMAIN, outputs(tmp_path / "prepared"))
    assert not (tmp_path / "prepared").exists()


def test_nan_names_the_file(tmp_path, paths):
    import nibabel

    data = np.ones((20, 18, 16), np.float32)
    data[3, 3, 3] = np.nan
    nibabel.save(volume(data, AFFINE), paths["standard_dose"])
    with pytest.raises(InputError, match=r"standard_dose\.nii\.gz: 1 voxels are NaN"):
        prepare(paths, {"grid": {"shape": [16, 16, 16]}, "scaling": SCALING}, DOMAIN, outputs(tmp_path / "prepared"))


@pytest.mark.parametrize("diagnosis", [0, 1])
def test_a_training_is_told_the_diagnosis_that_was_written_and_no_other(tmp_path, paths, diagnosis):
    maps, volumes = {kind: paths[kind] for kind in ("mr", "standard_dose")}, ["mr", "standard_dose"]
    domain = {"window": [20, 18, 16], "stride": [20, 18, 16]}
    files = []
    for name, told in (("told", diagnosis), ("untold", None)):
        out = outputs(tmp_path / name)
        prepare_maps(maps, {"scaling": {"mode": "min_max"}}, domain, out, told)
        files.append(out["parameters"])
    assert open_windows(files[:1], [*volumes, "diagnosis"]).batch([0])["diagnosis"].tolist() == [diagnosis]
    assert set(open_windows(files, volumes).batch([0])) == set(volumes)
    with pytest.raises(InputError, match="untold: has no diagnosis, which the entry's restore/inputs or train/supervision names") as caught:
        open_windows(files, [*volumes, "diagnosis"])
    assert "\n" not in str(caught.value)

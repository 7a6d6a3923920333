from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import petbench.restoration.restore as module
from petbench.data.nifti import read_volume
from petbench.errors import InputError
from petbench.files import read_json, write_json
from petbench.preprocess.grid import box_of
from petbench.restoration.extent import FADE
from petbench.restoration.restore import restore, stitch
from petbench.restoration.weights import load_restorer, save_weights

RNG = np.random.default_rng(0)
LOW_DOSE, MR = RNG.random((2, 20, 18, 13), dtype=np.float32)


@pytest.mark.parametrize("stride", [(1, 5, 3), (4, 4, 4), (8, 8, 8), (7, 2, 8)])
def test_overlaps_average_to_the_input(identity, stride):
    np.testing.assert_allclose(stitch(identity, LOW_DOSE, MR, (8, 8, 8), stride, 7, "cpu"), LOW_DOSE, rtol=1e-6)
    assert max(identity.batches) == 7


@pytest.mark.parametrize("window", [(20, 18, 1), (20, 1, 13), (1, 18, 13)])
def test_slices_in_any_direction_make_up_the_volume(identity, window):
    stride = [max(1, size - 1) if size > 1 else 1 for size in window]
    np.testing.assert_array_equal(stitch(identity, LOW_DOSE, MR, window, stride, 4, "cpu"), LOW_DOSE)


@pytest.mark.parametrize("blend", ["average", "taper"])
def test_windows_are_averaged_where_they_overlap(identity, monkeypatch, blend):
    """Each window is given its own number: the result is the mean number of the windows over a voxel, weighted by the blend."""
    numbers = iter(range(1000))
    monkeypatch.setattr(identity, "restore", lambda low_dose, mr: low_dose * 0 + float(next(numbers)))
    found = stitch(identity, LOW_DOSE[:, :8, :8], None, (8, 8, 8), (4, 8, 8), 1, "cpu", blend=blend)[:, 0, 0]
    rise = np.full(4, 0.5) if blend == "average" else np.sin(np.pi * (np.arange(4) + 0.5) / 8) ** 2
    np.testing.assert_allclose(found, np.concatenate([np.zeros(4), rise, 1 + rise, 2 + rise, np.full(4, 3.0)]), rtol=1e-6)


def test_either_image_may_be_left_out(identity):
    np.testing.assert_allclose(stitch(identity, LOW_DOSE, None, (8, 8, 8), (4, 4, 4), 3, "cpu"), LOW_DOSE, rtol=1e-6)
    np.testing.assert_allclose(stitch(identity, None, MR, (8, 8, 8), (4, 4, 4), 3, "cpu"), MR, rtol=1e-6)


def test_the_batch_size_does_not_matter(untrained):
    restorer, _ = load_restorer(untrained, "cpu")
    found = [stitch(restorer, LOW_DOSE, MR, (8, 8, 8), (6, 6, 6), size, "cpu") for size in (1, 5, 100)]
    assert np.ptp(found[0]) > 0.01
    for one, other in pairwise(found):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(("window", "stride"), [((8, 8, 8), (5, 4, 8)), ((20, 18, 1), (20, 18, 1)), ((1, 18, 13), (1, 18, 13))])
def test_every_window_is_given_its_place(identity, monkeypatch, window, stride):
    """What is restored is where each voxel lies, whichever window it is seen in."""
    for axis in range(3):
        monkeypatch.setattr(identity, "restore", lambda low_dose, mr, coordinates, axis=axis: coordinates[:, axis : axis + 1])
        found = stitch(identity, LOW_DOSE, None, window, stride, 7, "cpu", placed=["coordinates"])
        lies = np.linspace(-1, 1, LOW_DOSE.shape[axis])
        np.testing.assert_allclose(np.moveaxis(found, axis, -1) - lies, 0, atol=1e-6)


@pytest.fixture
def files(tmp_path):
    return {"image": str(tmp_path / "restored.nii.gz"), "sidecar": str(tmp_path / "restored.json")}


SETTINGS = {"inputs": ["low_dose", "mr"], "stride": [12, 12, 12], "batch_size": 8}


def test_an_identity_gives_back_the_low_dose_in_its_own_units_and_grid(subject, untrained, files, identity, monkeypatch):
    load = module.load_restorer
    monkeypatch.setattr(module, "load_restorer", lambda *given: (identity, load(*given)[1]))
    restore(subject["prepared"], subject["low_dose"], untrained, SETTINGS, "cpu", 1, files)
    image, restored = read_volume(subject["low_dose"]), read_volume(files["image"])
    np.testing.assert_array_equal(restored.affine, image.affine)
    np.testing.assert_allclose(np.asarray(restored.dataobj), np.asarray(image.dataobj), rtol=1e-5, atol=1e-3)


def test_a_trained_method_changes_what_lies_inside_its_grid_only(subject, trained, files):
    restore(subject["prepared"], subject["low_dose"], trained, SETTINGS, "cpu", 1, files)
    image, restored = (read_volume(path) for path in (subject["low_dose"], files["image"]))
    data, new = np.asarray(image.dataobj), np.asarray(restored.dataobj)
    parameters = read_json(subject["prepared"])
    box = tuple(slice(*bounds) for bounds in box_of(image, parameters["shape"], np.asarray(parameters["affine"])))
    outside = np.ones(data.shape, bool)
    outside[box] = False
    assert outside.any()
    np.testing.assert_array_equal(new[outside], data[outside])
    assert (new[box] != data[box]).mean() > 0.9
    core = tuple(slice(first + FADE, last - FADE) for first, last in box_of(image, parameters["shape"], np.asarray(parameters["affine"])))
    restorer, _ = load_restorer(trained, "cpu")
    volumes = [np.load(subject["prepared"].replace("prepared.json", f"{kind}.npy")) for kind in ("low_dose", "mr")]
    scaled = stitch(restorer, *volumes, (16, 16, 16), SETTINGS["stride"], 1, "cpu")
    inner = tuple(slice(FADE, size - FADE) for size in parameters["shape"])
    np.testing.assert_allclose(new[core], (scaled * parameters["scales"]["low_dose"])[inner], rtol=1e-4, atol=1)
    sidecar = read_json(files["sidecar"])
    assert sidecar["Weights"] == {"module": "m_unet", "dataset": "mni", "dose": "drf4", "fold": "0"}
    assert sidecar["Sources"] == ["low_dose.nii.gz"]
    assert min(sidecar["restore_seconds"], sidecar["restore_peak_mb"]) > 0
    assert "not for diagnosis" in sidecar["Description"]


def test_only_the_inputs_of_the_entry_reach_the_method(subject, untrained, files, identity, monkeypatch):
    seen = []
    load = module.load_restorer
    monkeypatch.setattr(module, "load_restorer", lambda *given: (identity, load(*given)[1]))
    restore_windows = identity.restore
    monkeypatch.setattr(identity, "restore", lambda *given: seen.append([image is None for image in given]) or restore_windows(*given))
    for inputs, missing in ((["low_dose"], [False, True]), (["mr"], [True, False])):
        seen.clear()
        restore(subject["prepared"], subject["low_dose"], untrained, SETTINGS | {"inputs": inputs}, "cpu", 1, files)
        assert all(given == missing for given in seen)


def test_the_place_of_a_window_is_among_the_inputs_of_the_entry(subject, untrained, files, identity, monkeypatch):
    seen = []
    load = module.load_restorer
    monkeypatch.setattr(module, "load_restorer", lambda *given: (identity, load(*given)[1]))
    restore_windows = identity.restore
    monkeypatch.setattr(identity, "restore", lambda *given, **more: seen.append(more) or restore_windows(*given))
    restore(subject["prepared"], subject["low_dose"], untrained, SETTINGS | {"inputs": ["low_dose", "coordinates"]}, "cpu", 1, files)
    assert all(more.keys() == {"coordinates"} and more["coordinates"].shape[1:] == (3, 16, 16, 16) for more in seen)
    assert seen[0]["coordinates"][0, :, 0, 0, 0].tolist() == [-1, -1, -1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"window": [8, 8, 8]}, r"was trained with window \[16, 16, 16\]"),
        ({"scaling": {"mode": "own_range"}}, "was trained with scaling"),
        ({"voxel_mm": [9.0, 9.0, 9.0]}, "was trained on voxels of"),
    ],
)
def test_weights_of_another_preparation_are_refused(subject, untrained, files, tmp_path, change, words):
    write_json(tmp_path / "prepared.json", read_json(subject["prepared"]) | change)
    with pytest.raises(InputError, match=rf"model\.safetensors: {words}"):
        restore(str(tmp_path / "prepared.json"), subject["low_dose"], untrained, SETTINGS, "cpu", 1, files)


def test_weights_of_before_low_doses_were_smoothed_go_with_volumes_that_were_not(subject, untrained, files, tmp_path, describe):
    preprocess = describe().preprocess
    scaling = {key: value for key, value in preprocess["scaling"].items() if key != "smooth_mm"}
    old = str(tmp_path / "old.safetensors")
    save_weights(old, load_restorer(untrained, "cpu")[0].weights(), describe(preprocess=preprocess | {"scaling": scaling}))
    with pytest.raises(InputError, match=r"was trained with scaling .*'smooth_mm': 0\.0.* has .*'smooth_mm': 6\.0"):
        restore(subject["prepared"], subject["low_dose"], old, SETTINGS, "cpu", 1, files)
    prepared = str(Path(subject["prepared"]).with_name("unsmoothed.json"))
    write_json(prepared, read_json(subject["prepared"]) | {"scaling": scaling | {"smooth_mm": 0.0}})
    restore(prepared, subject["low_dose"], old, SETTINGS, "cpu", 1, files)


def test_the_sidecar_tells_the_cost_of_the_network(subject, untrained, files):
    restore(subject["prepared"], subject["low_dose"], untrained, SETTINGS, "cpu", 1, files)
    cost = read_json(files["sidecar"])
    assert cost["parameters"] > 0
    assert cost["gflop"] >= 2 * cost["gmac_modules"] * 0.5 > 0

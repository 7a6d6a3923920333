"""What is restored and what stays the low dose: slices without signal, slices nobody asks for, and all beyond the working grid."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import petbench.restoration.restore as module
import petbench.restoration.scan as scan
from petbench.data.nifti import read_volume, volume, write_volume
from petbench.errors import InputError
from petbench.files import read_json
from petbench.methods.base import Restorer
from petbench.preprocess.prepare import prepare
from petbench.preprocess.registration import Registered
from petbench.restoration.extent import FADE, grid_slices, put_back, slices_restored
from petbench.restoration.restore import restore
from petbench.restoration.scan import restore_scan
from petbench.restoration.weights import read_description, save_weights

SHAPE, GRID = (40, 44, 32), (32, 36, 32)
SCALING = {"mode": "low_dose", "percentile": 99.5, "mr_percentile": 99.5, "smooth_mm": 6.0}
PREPROCESS = {"grid": {"shape": list(GRID)}, "scaling": SCALING}
AXIAL, CORONAL = [32, 36, 1], [32, 1, 32]
SETTINGS = {"inputs": ["low_dose"], "batch_size": 5}
LEVEL = 7.0
TRAIN: dict[str, object] = {}


class Inventor(Restorer):
    """Sees activity everywhere."""

    def restore(self, low_dose: Tensor | None, mr: Tensor | None, **more: Tensor) -> Tensor:
        assert low_dose is not None
        return torch.full_like(low_dose, LEVEL)


@pytest.fixture
def head(tmp_path):
    """A head from slice 8 to 23, noise all around it."""
    rng = np.random.default_rng(0)
    x, y, z = np.indices(SHAPE)
    ball = (x - 19.5) ** 2 / 144 + (y - 21.5) ** 2 / 196 + (z - 15.5) ** 2 / 64 < 1
    files = {}
    for kind, counts in {"low_dose": 3, "standard_dose": 60, "mr": 200}.items():
        data = rng.poisson(ball * counts + 0.02 * counts).astype(np.float32) * (1000 / counts)
        files[kind] = str(tmp_path / f"sub-1_{kind}.nii.gz")
        write_volume(files[kind], data, like=volume(data, np.diag([4.0, 4.0, 4.0, 1.0])))
    return files


@pytest.fixture
def restored(tmp_path, head, describe, monkeypatch):
    """What comes of a domain and settings: the low dose, the restored image and the sidecar."""

    def run(domain, evaluated=None, **settings):
        folder = tmp_path / "prepared"
        out = {kind: str(folder / f"{kind}.npy") for kind in ("low_dose", "standard_dose", "mr", "index")}
        prepare(head, PREPROCESS, domain, out | {"parameters": str(folder / "prepared.json")})
        weights = str(tmp_path / "model.safetensors")
        about = describe(train=TRAIN, preprocess=PREPROCESS, window=domain["window"], voxel_mm=[4.0] * 3)
        save_weights(weights, {"weight": torch.ones(1)}, about)
        monkeypatch.setattr(module, "load_restorer", lambda *_: (Inventor(), about))
        files = {"image": str(tmp_path / "restored.nii.gz"), "sidecar": str(tmp_path / "restored.json")}
        restore(str(folder / "prepared.json"), head["low_dose"], weights, SETTINGS | settings, "cpu", 1, files, evaluated)
        low, found = (np.asarray(read_volume(path).dataobj) for path in (head["low_dose"], files["image"]))
        return low, found, read_json(files["sidecar"])

    return run


def uniform(window=AXIAL, **more):
    return {"window": window, "stride": window, "slices": {"uniform": 16}, **more}


INNER = (slice(4 + FADE, 36 - FADE), slice(4 + FADE, 40 - FADE))


def test_slices_without_signal_come_back_as_the_low_dose_to_the_last_bit(restored):
    low, found, sidecar = restored(uniform())
    changed = (found != low).any(axis=(0, 1))
    assert changed.sum() == sidecar["RestoredWindows"]
    assert changed[9:23].all()
    assert not changed[:6].any()
    assert not changed[26:].any()
    assert (found[INNER][:, :, 9:23] == found[20, 20, 15]).all()
    (first, last) = sidecar["UnrestoredSlices"]["slices"]
    assert sidecar["UnrestoredSlices"]["axis"] == 2
    assert [first[0], last[1]] == [0, 31]
    np.testing.assert_array_equal(np.flatnonzero(changed), np.arange(first[1] + 1, last[0]))
    assert f"{32 - changed.sum()} slices are the low dose: as those that training leaves out" in sidecar["Unrestored"][0]


def test_the_rule_is_that_of_the_training_and_its_own_to_turn_off(restored):
    below = {share: restored(uniform(empty_below=share))[2]["RestoredWindows"] for share in (0.0, 0.05, 0.5)}
    assert 32 == below[0.0] > below[0.05] > below[0.5] > 0
    low, found, sidecar = restored(uniform(), slices="all")
    assert (found[INNER] != low[INNER]).all()
    assert "UnrestoredSlices" not in sidecar


@pytest.mark.parametrize("blend", ["taper", "average"])
def test_only_evaluated_slices_are_restored_and_counted_along_the_image(restored, blend):
    low, found, sidecar = restored(uniform(), {"axis": 2, "slices": [11, 13, 14]}, blend=blend)
    assert np.flatnonzero((found != low).any(axis=(0, 1))).tolist() == [11, 13, 14]
    assert sidecar["RestoredWindows"] == 3
    assert sidecar["UnrestoredSlices"] == {"axis": 2, "slices": [[0, 10], [12, 12], [15, 31]]}
    assert "29 slices are the low dose: they are not evaluated" in sidecar["Unrestored"][0]


def test_slices_evaluated_along_another_axis_take_every_window(restored):
    _, _, sidecar = restored(uniform(CORONAL), {"axis": 2, "slices": [11]}, slices="filled")
    assert sidecar["RestoredWindows"] > 20
    # the image's slices along an axis that the grid is shorter along are counted from the image's first
    low, found, sidecar = restored(uniform(CORONAL), {"axis": 1, "slices": [20, 21]})
    assert np.flatnonzero((found != low).any(axis=(0, 2))).tolist() == [20, 21]


def test_slices_listed_for_the_training_alone_are_restored(restored):
    low, found, sidecar = restored({"window": AXIAL, "stride": AXIAL, "slices": [12, 16]})
    assert np.flatnonzero((found != low).any(axis=(0, 1))).tolist() == [12, 16]
    assert sidecar["RestoredWindows"] == 2


def test_patches_are_all_restored(restored):
    low, found, sidecar = restored({"window": [16, 18, 16], "stride": [8, 9, 8]})
    assert (found[INNER] != low[INNER]).all()
    assert sidecar["RestoredWindows"] == 27
    assert "UnrestoredSlices" not in sidecar


@pytest.mark.parametrize(("blend", "fade"), [("taper", FADE), ("average", 0)])
def test_beyond_the_grid_is_the_low_dose_into_which_the_restored_image_fades(restored, blend, fade):
    low, found, sidecar = restored(uniform(), slices="all", blend=blend)
    assert sidecar["RestoredBox"] == [[4, 35], [4, 39], [0, 31]]
    outside = np.ones(SHAPE, dtype=bool)
    outside[4:36, 4:40] = False
    np.testing.assert_array_equal(found[outside], low[outside])
    whole = found[20, 20, 15]
    share = ((found - low) / (whole - low))[4:36, 20, 0]
    rise = (np.arange(FADE) + 0.5) / FADE if fade else np.ones(FADE)
    np.testing.assert_allclose(share, np.concatenate([rise, np.ones(32 - 2 * FADE), rise[::-1]]), rtol=1e-3)
    assert (found[20, 20] == whole).all()  # the grid ends with the image there
    assert ("fades into it over 4 voxels" in sidecar["Unrestored"][-1]) == (blend == "taper")


def test_an_image_of_another_order_and_voxels_is_faded_and_left_alone_where_it_should():
    """Slices along the grid's third axis, which the file stores first and upside down, at half the voxel size."""
    data = np.random.default_rng(1).random((40, 30, 30), dtype=np.float32)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = -2.0, 2.0, 2.0, 1.0
    image = volume(data, affine)
    restored = np.full((10, 10, 20), LEVEL, dtype=np.float32)
    grid = np.diag([4.0, 4.0, 4.0, 1.0])
    grid[:3, 3] = [11.0, 11.0, -77.0]
    slices = slices_restored(None, restored.shape, [10, 10, 1], wanted=range(5, 15))
    found, facts = put_back(restored, grid, image, slices, "taper")
    assert facts["UnrestoredSlices"]["axis"] == 0
    first, last = facts["UnrestoredSlices"]["slices"]
    np.testing.assert_array_equal(found[: first[1] + 1], data[: first[1] + 1])
    np.testing.assert_array_equal(found[last[0] :], data[last[0] :])
    assert (found[19:21, 15, 15] == LEVEL).all()
    assert first[1] + 1 + 40 - last[0] == 40 - np.count_nonzero((found != data).any(axis=(1, 2)))


@pytest.mark.parametrize(("voxel_mm", "needed"), [(2.0, [7]), (4.0, [3, 4]), (1.0, [12, 13, 14, 15, 16])])
def test_slices_of_the_image_that_the_grid_has_others_of_take_their_neighbours(voxel_mm, needed):
    image = volume(np.zeros((10, 10, 10), np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    found = grid_slices(image, np.diag([2.0, 2.0, voxel_mm, 1.0]), 2, [7])
    assert found == needed


def test_a_labs_scan_follows_the_rule_that_its_weights_were_trained_by(tmp_path, head, describe, monkeypatch):
    files = {"image": str(tmp_path / "out.nii.gz"), "sidecar": str(tmp_path / "out.json"), "page": str(tmp_path / "out.html")}
    monkeypatch.setattr(scan, "register", lambda *_, **__: Registered(read_volume(head["mr"]), {}))
    preprocess = PREPROCESS | {"registration": {}}
    found = {}
    domains = {"usual": uniform(), "before": {}, "loud": uniform(empty_below=0.5), "listed": {"window": AXIAL, "slices": [12, 16]}}
    for name, domain in domains.items():
        weights = str(tmp_path / f"{name}.safetensors")
        about = describe(train=TRAIN, preprocess=preprocess, window=AXIAL, voxel_mm=[4.0] * 3, domain=domain)
        save_weights(weights, {"weight": torch.ones(1)}, about)
        assert read_description(weights).domain == domain
        monkeypatch.setattr(scan, "load_restorer", lambda path, _: (Inventor(), read_description(path)))
        restore_scan(head["low_dose"], head["mr"], weights, "cpu", 1, files)
        low, image = (np.asarray(read_volume(path).dataobj) for path in (head["low_dose"], files["image"]))
        found[name] = np.flatnonzero((image != low).any(axis=(0, 1)))
        sidecar = read_json(files["sidecar"])
        assert "slices are the low dose: as those that training leaves out" in sidecar["Unrestored"][0]
        assert sidecar["Unrestored"][0] in Path(files["page"]).read_text().replace("&#x27;", "'")
        assert sidecar.get("TrainedOnSlices") == (domain["slices"] if name == "listed" else None)
    np.testing.assert_array_equal(found["usual"], found["before"])
    np.testing.assert_array_equal(found["usual"], found["listed"])
    assert 0 < len(found["loud"]) < len(found["usual"]) < 20


@pytest.mark.parametrize("domain", [{"empty_below": "0.05"}, {"empty_below": 2}, {"empty_below": True}, [0.05]])
def test_a_rule_that_is_none_is_refused(tmp_path, describe, domain, monkeypatch):
    about = describe()
    object.__setattr__(about, "domain", domain)
    save_weights(tmp_path / "bad.safetensors", {"weight": torch.ones(1)}, about)
    with pytest.raises(InputError, match=r"bad\.safetensors: is not a weights file of petbench"):
        read_description(tmp_path / "bad.safetensors")

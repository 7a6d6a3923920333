"""Methods that sample: the same image for the same seed, and what their sidecars say."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from petbench.data.nifti import read_volume
from petbench.errors import InputError
from petbench.files import read_json, write_json
from petbench.methods.build import build
from petbench.methods.diffusion import Sampler
from petbench.preprocess.registration import Registered
from petbench.restoration.restore import restore, stitch
from petbench.restoration.scan import restore_scan
from petbench.restoration.weights import save_weights

SLICE = [48, 56, 1]
LOW_DOSE = np.random.default_rng(0).random((8, 12, 5), dtype=np.float32)
ANCESTRAL = Sampler("ancestral", 4, seed=1, clip=[0.0, 2.0])
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
        "head": "normalised",
        "dropout": 0.5,
    },
    "conditions": ["low_dose"],
}


def draw(method, window=(8, 12, 1), batch_size=3, sampler=ANCESTRAL, subject="sub-01", volume=LOW_DOSE, stride=None):
    return stitch(method, volume, None, window, stride or window, batch_size, "cpu", sampler, subject)


@pytest.fixture(scope="module")
def method():
    torch.manual_seed(0)
    method = build("iddpm", TRAIN).eval()
    for parameter in method.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    return method


@pytest.mark.parametrize("sampler", [ANCESTRAL, Sampler("ddim", 4, seed=1), Sampler("ddim", 4, seed=1, eta=1.0)])
def test_the_batch_size_does_not_matter(method, sampler):
    found = [draw(method, batch_size=size, sampler=sampler) for size in (1, 2, 5, 100)]
    assert np.ptp(found[0]) > 0.1
    for one, other in pairwise(found):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_the_order_of_windows_does_not_matter(method, monkeypatch):
    """A slice is the same from a volume of its own, had it lain there."""
    whole = draw(method)
    starts = np.stack([np.zeros(5), np.zeros(5), np.arange(5)], axis=1).astype(np.int32)
    monkeypatch.setattr("petbench.restoration.restore.window_starts", lambda *_: starts[[3, 0, 4, 1, 2]])
    np.testing.assert_allclose(draw(method), whole, atol=1e-4)


def test_seed_subject_and_place_each_change_the_noise(method):
    same = np.repeat(LOW_DOSE[:, :, :1], 5, axis=2)
    whole = draw(method, volume=same)
    np.testing.assert_array_equal(draw(method, volume=same), whole)
    assert np.abs(whole[:, :, 0] - whole[:, :, 1]).mean() > 0.01
    assert np.abs(draw(method, volume=same, subject="sub-02") - whole).mean() > 0.01
    assert np.abs(draw(method, volume=same, sampler=Sampler("ancestral", 4, seed=2, clip=[0.0, 2.0])) - whole).mean() > 0.01


def test_the_random_state_is_left_alone(method):
    before = torch.get_rng_state()
    draw(method)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_sampler_goes_with_a_method_that_samples(method, identity):
    with pytest.raises(InputError, match="this method samples; give its entry restore/sampler"):
        draw(method, sampler=None)
    with pytest.raises(InputError, match="does not sample; remove restore/sampler"):
        draw(identity)
    with pytest.raises(InputError, match="21 exceed the 20"):
        draw(method, sampler=Sampler("ddim", 21, seed=0))


@pytest.fixture
def files(tmp_path):
    return {"image": str(tmp_path / "restored.nii.gz"), "sidecar": str(tmp_path / "restored.json"), "page": str(tmp_path / "page.html")}


@pytest.fixture
def weights(tmp_path, method, describe):
    path = tmp_path / "model.safetensors"
    save_weights(path, method.weights(), describe(module="iddpm", train=TRAIN, window=SLICE))
    return str(path)


def test_the_sidecar_names_the_sampler_and_counts_one_evaluation(subject, weights, files):
    prepared = Path(subject["prepared"]).with_name("slices.json")
    write_json(prepared, read_json(subject["prepared"]) | {"window": SLICE})
    settings = {"inputs": ["low_dose"], "batch_size": 64, "sampler": {"name": "ddim", "steps": 2, "eta": 0.0, "seed": 0}}
    costs = []
    for steps in (2, 3):
        settings["sampler"]["steps"] = steps
        restore(str(prepared), subject["low_dose"], weights, settings, "cpu", 1, files)
        costs.append(read_json(files["sidecar"]))
    assert [(cost["sampler"], cost["sampling_steps"]) for cost in costs] == [("DDIM, eta 0", 2), ("DDIM, eta 0", 3)]
    assert costs[0]["gflop"] == costs[1]["gflop"] > 0
    assert costs[0]["parameters"] == sum(parameter.numel() for parameter in build("iddpm", TRAIN).parameters())


def test_a_labs_scan_is_sampled_alike_each_time(subject, weights, files, monkeypatch):
    registered = Registered(read_volume(subject["standard_dose"]), {})
    monkeypatch.setattr("petbench.restoration.scan.register", lambda *_, **__: registered)
    images = []
    for _ in range(2):
        restore_scan(subject["low_dose"], subject["t1"], weights, "cpu", 1, files, sampling_steps=2)
        images.append(np.asarray(read_volume(files["image"]).dataobj))
    np.testing.assert_array_equal(*images)
    assert read_json(files["sidecar"])["SamplingSteps"] == 2

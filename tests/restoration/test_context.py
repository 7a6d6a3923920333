"""A method that takes another's restored volumes: how they are made, given, counted and refused."""

import numpy as np
import pytest
import torch

from petbench.errors import InputError
from petbench.files import read_json
from petbench.methods.build import build
from petbench.restoration.restore import restore, restore_context, stitch
from petbench.restoration.scan import restore_scan
from petbench.restoration.weights import load_restorer, save_weights

from .conftest import TRAIN

SETTINGS = {"inputs": ["low_dose", "mr"], "stride": [16, 16, 16], "batch_size": 8}
SECOND = SETTINGS | {"inputs": ["low_dose", "mr", "context"]}
NETWORK = {"spatial_dims": 3, "regions": 2, "channels": [4, 8], "normalisation": "none", "upsampling": "nearest", "residual": False}


@pytest.fixture(scope="module")
def stages(tmp_path_factory, describe):
    """Weights of a first and of a second stage, as they were drawn."""
    found = []
    for number, inputs in ((2, SETTINGS["inputs"]), (3, SECOND["inputs"])):
        train = TRAIN | {
            "network": NETWORK | {"modalities": number},
            "discriminator": {"channels": [2, 4], "normalisation": "none", "size": 1},
            "loss": {"objective": "bce", "adversarial": 1.0, "l1": 100.0},
        }
        path = tmp_path_factory.mktemp("stage") / "model.safetensors"
        torch.manual_seed(number)
        save_weights(path, build("la_gan", train).weights(), describe(module="la_gan", train=train, inputs=inputs))
        found.append(str(path))
    return found


@pytest.fixture
def context(tmp_path, subject, stages):
    out = {"volume": str(tmp_path / "context.npy"), "sidecar": str(tmp_path / "context.json")}
    restore_context(subject["prepared"], "sub-01", stages[0], SETTINGS, "cpu", 1, out)
    return out


def volumes(subject):
    return {kind: np.load(subject["prepared"].replace("prepared.json", f"{kind}.npy")) for kind in ("low_dose", "mr")}


def second(tmp_path, subject, stages, context):
    out = {"image": str(tmp_path / "restored.nii.gz"), "sidecar": str(tmp_path / "restored.json")}
    given = {"context": context["volume"], "context_sidecar": context["sidecar"]}
    restore(subject["prepared"], subject["low_dose"], stages[1], SECOND, "cpu", 1, out, **given)
    return out


def test_a_context_is_what_the_first_stage_restores_scaled_as_its_low_dose(subject, stages, context):
    made = np.load(context["volume"], mmap_mode="r")
    assert made.dtype == np.float32
    first, _ = load_restorer(stages[0], "cpu")
    own = volumes(subject)
    np.testing.assert_array_equal(made, stitch(first, own["low_dose"], own["mr"], (16, 16, 16), (16, 16, 16), 8, "cpu"))


def test_a_second_stage_is_given_its_context_window_by_window(tmp_path, subject, stages, context, monkeypatch):
    seen = []

    def look(self, low_dose, mr, **more):
        seen.append(more["context"][:, 0])
        return low_dose

    monkeypatch.setattr("petbench.methods.la_gan.LAGAN.generate", look)
    second(tmp_path, subject, stages, context)
    windows = torch.cat(seen)[:-1].numpy()  # the last is what operations are counted on
    whole = np.load(context["volume"])
    corners = {whole[:16, :16, :16].tobytes(), whole[-16:, -16:, -16:].tobytes()}
    assert corners <= {np.ascontiguousarray(window).tobytes() for window in windows}


def test_the_cost_of_a_second_stage_is_that_of_both(tmp_path, subject, stages, context):
    before, whole = read_json(context["sidecar"]), read_json(second(tmp_path, subject, stages, context)["sidecar"])
    regions = 2**3
    assert whole["parameters"] == 2 * before["parameters"] + regions
    assert whole["gmac_modules"] == pytest.approx(2 * before["gmac_modules"])
    assert whole["restore_seconds"] > before["restore_seconds"]
    assert whole["Context"] == before["Weights"]


def test_a_second_stage_without_its_context_is_refused(tmp_path, subject, stages, context):
    with pytest.raises(InputError, match="this method needs context"):
        restore(subject["prepared"], subject["low_dose"], stages[1], SECOND, "cpu", 1, {})


def test_a_scan_has_no_context(tmp_path, subject, stages):
    out = {kind: str(tmp_path / kind) for kind in ("image", "sidecar", "page")}
    with pytest.raises(InputError, match="restores a low dose with its context, which another method makes first") as caught:
        restore_scan(subject["low_dose"], subject["t1"], stages[1], "cpu", 1, out)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []

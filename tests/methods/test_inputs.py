"""An entry that says it is given one image sees one image: what lies beside it on the disk changes nothing that it restores."""

import numpy as np
import pytest
import torch

from petbench.data.nifti import read_volume, volume, write_volume
from petbench.files import write_json
from petbench.methods.build import build
from petbench.restoration.restore import restore
from petbench.restoration.weights import Description, save_weights
from petbench.training.probes import Phantoms, batches, learn

from .test_contract import METHODS, WINDOWS, trained_as

SCALING = {"mode": "low_dose", "percentile": 99.5, "smooth_mm": 6.0, "mr_percentile": 99.5}
THIN = {"axial": 2, "coronal": 1, "sagittal": 0}
ONE_IMAGE = [name for name, entry in METHODS.items() if len(entry["restore"].get("inputs", ["low_dose", "mr"])) == 1]


@pytest.fixture
def restored(tmp_path):
    """Restore a made-up subject by an entry with random weights; images are random unless they are given."""

    def run(name, **images):
        source, settings = trained_as(name), METHODS[name]["restore"]
        domain = source["train"]["domain"]
        window = list(WINDOWS[domain])
        if domain in THIN:
            window.insert(THIN[domain], 1)
        shape = [3 if side == 1 else side for side in window]
        for number, kind in enumerate(("low_dose", "mr", "standard_dose")):
            np.save(tmp_path / f"{kind}.npy", images.get(kind, np.random.default_rng(number).random(shape, dtype=np.float32)))
        content = {"window": window, "shape": shape, "voxel_mm": [4.0] * 3, "affine": np.diag([4.0, 4.0, 4.0, 1.0]).tolist()}
        write_json(tmp_path / "prepared.json", content | {"scaling": SCALING, "scales": {"low_dose": 1.0, "mr": 1.0, "standard_dose": 1.0}})
        image = volume(np.ones(shape, np.float32), np.diag([4.0, 4.0, 4.0, 1.0]))
        write_volume(tmp_path / "sub-01_pet.nii.gz", np.asarray(image.dataobj), like=image)
        torch.manual_seed(0)
        method = build(source["module"], source["train"])
        for parameter in method.parameters():  # what starts at zero would hide what comes before it
            torch.nn.init.normal_(parameter, std=0.2)
        if not method.optimised():  # what has no weights is made of training images
            learn(method, batches(Phantoms(WINDOWS[domain], 2, seed=1), [*source["restore"]["inputs"], "standard_dose"], 1), 0.0)
        weights = tmp_path / "model.safetensors"
        about = Description(source["module"], source["train"], {"scaling": SCALING}, window, content["voxel_mm"], "mni", "drf4", "0", "")
        save_weights(weights, method.weights(), about)
        out = {"image": str(tmp_path / "restored.nii.gz"), "sidecar": str(tmp_path / "restored.json")}
        pet = str(tmp_path / "sub-01_pet.nii.gz")
        restore(str(tmp_path / "prepared.json"), pet, str(weights), settings | {"stride": window, "slices": "all"}, "cpu", 1, out)
        return np.asarray(read_volume(out["image"]).dataobj), shape, bool(method.optimised())

    return run


def test_entries_of_one_image_are_found():
    given = [tuple(METHODS[name]["restore"]["inputs"]) for name in ONE_IMAGE]
    assert ("low_dose",) in given
    assert ("mr",) in given


@pytest.mark.parametrize("name", ONE_IMAGE)
def test_what_is_no_input_is_not_seen(name, restored):
    (given,) = METHODS[name]["restore"]["inputs"]
    planted = "mr" if given == "low_dose" else "low_dose"
    plain, shape, learns = restored(name)
    another = np.random.default_rng(9).random(shape, dtype=np.float32)
    np.testing.assert_array_equal(restored(name, **{planted: another})[0], plain)
    if learns:
        assert not np.allclose(restored(name, **{given: another})[0], plain)

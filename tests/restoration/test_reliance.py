"""What swapping a method's inputs is said to do."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from petbench.data.nifti import read_volume, volume, write_volume
from petbench.evaluation.definitions import RELIANCE
from petbench.evaluation.evaluate import evaluate
from petbench.evaluation.settings import Settings
from petbench.files import read_json
from petbench.methods.build import build
from petbench.preprocess.prepare import prepare
from petbench.restoration.reliance import measure_reliance, relied_on, swapped
from petbench.restoration.restore import restore
from petbench.restoration.weights import save_weights

from .conftest import DOMAIN, PREPROCESS

SHAPE = (6, 7, 5)
CASES = ("other_mr", "no_mr", "other_pet")
SETTINGS = {"inputs": ["low_dose", "mr"], "stride": [16, 16, 16], "batch_size": 8}
ENTRY = yaml.safe_load((Path(__file__).parents[2] / "config/methods/iddpm.yaml").read_text())["train"]
SMALL = {"spatial_dims": 3, "width": 4, "multipliers": [1, 2], "blocks": 1, "attention": [], "heads": 1, "dropout": 0.0}
DIFFUSION = {
    "diffusion": ENTRY["diffusion"] | {"timesteps": 20, "schedule": {"name": "linear", "betas": [1e-3, 0.5]}},
    "network": ENTRY["network"] | SMALL,
    "conditions": ["low_dose", "mr"],
}


def images(seed):
    rng = np.random.default_rng(seed)
    return {kind: 1 + rng.random(SHAPE, dtype=np.float32) for kind in ("low_dose", "mr")}


@pytest.fixture
def pair():
    return images(1), images(2)


def values(restoring, own, other):
    made = swapped(restoring, own, other)
    return relied_on(made, own["low_dose"], None)


def test_what_a_method_ignores_changes_nothing(pair):
    ignores_mr = values(lambda low_dose, mr: 0.5 * low_dose, *pair)
    assert [ignores_mr[f"change_{case}"] for case in CASES[:2]] == [0, 0]
    assert [ignores_mr[f"loss_{case}"] for case in CASES[:2]] == [0, 0]
    assert ignores_mr["change_other_pet"] > 0.1
    ignores_pet = values(lambda low_dose, mr: mr, *pair)
    assert ignores_pet["change_other_pet"] == ignores_pet["loss_other_pet"] == 0
    assert ignores_pet["change_no_mr"] == pytest.approx(1)  # all that it returned is gone


def test_a_method_is_given_the_others_image_and_the_rest_as_it_was(pair):
    own, other = pair
    made = swapped(lambda low_dose, mr: np.stack([low_dose, mr]), own, other)
    expected = {"own": (own, own), "other_mr": (own, other), "other_pet": (other, own)}
    for case, (pet, mr) in expected.items():
        np.testing.assert_array_equal(made[case], [pet["low_dose"], mr["mr"]])
    np.testing.assert_array_equal(made["no_mr"], [own["low_dose"], np.zeros(SHAPE)])


def test_the_numbers_are_those_of_a_plain_reckoning_in_the_region(pair):
    own, other = pair
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2:5, 1:6] = True
    found = relied_on(swapped(lambda low_dose, mr: low_dose + 0.1 * mr, own, other), own["low_dose"], mask)
    truth, right, wrong = (image[mask].astype(float) for image in (own["low_dose"], own["mr"], other["mr"]))
    psnr = [10 * math.log10(truth.max() ** 2 / np.mean((0.1 * mr) ** 2)) for mr in (right, wrong)]
    assert found["psnr_own"] == pytest.approx(psnr[0], rel=1e-5)
    assert found["loss_other_mr"] == pytest.approx(psnr[0] - psnr[1], abs=1e-4)
    change = np.sqrt(np.mean((0.1 * (right - wrong)) ** 2)) / np.sqrt(np.mean((truth + 0.1 * right) ** 2))
    assert found["change_other_mr"] == pytest.approx(change, rel=1e-4)


def test_an_input_that_a_method_does_not_have_is_not_swapped(pair):
    own, other = ({"low_dose": image["low_dose"]} for image in pair)
    given = []
    made = swapped(lambda low_dose, mr: (given.append(mr), low_dose)[1], own, other)
    assert list(made) == ["own", "other_pet"]
    assert given == [None, None]


@pytest.fixture
def other(subject, tmp_path):
    """Another person: the mirror image of the subject, brighter on one side."""
    paths = {}
    for kind in ("low_dose", "standard_dose"):
        image = read_volume(subject[kind])
        tilted = np.asarray(image.dataobj)[::-1] * np.linspace(0.5, 1.5, image.shape[0], dtype=np.float32)[:, None, None]
        paths[kind] = str(tmp_path / f"{kind}.nii.gz")
        write_volume(paths[kind], tilted, like=volume(tilted, image.affine))
    out = {kind: str(tmp_path / f"{kind}.npy") for kind in ("low_dose", "standard_dose", "mr", "index")}
    prepare(paths | {"mr": paths["standard_dose"]}, PREPROCESS, DOMAIN, out | {"parameters": str(tmp_path / "prepared.json")})
    return str(tmp_path / "prepared.json")


def measured(out, subject, other, weights, restoring, **change):
    given = {"dataset": "mni", "dose": "drf4", "method": "m", "fold": "0", "subjects": ["01"], "people": ["01"], "weights": weights}
    given |= {"prepared": [subject["prepared"]], "others": [other], "low_dose": [subject["low_dose"]]}
    given |= {"standard_dose": [subject["standard_dose"]], "restoring": restoring, "grid": PREPROCESS["grid"], "settings": Settings()}
    table = measure_reliance(out, **(given | {"device": "cpu", "threads": 1} | change))
    return table.set_index(["region", "metric"])["value"]


def test_with_its_own_images_a_subject_is_restored_as_its_row_and_measured_alike(subject, other, trained, tmp_path):
    out = {"image": str(tmp_path / "restored.nii.gz"), "sidecar": str(tmp_path / "restored.json")}
    restore(subject["prepared"], subject["low_dose"], trained, SETTINGS, "cpu", 1, out)
    rows = evaluate(
        tmp_path / "metrics.tsv",
        **{"dataset": "mni", "dose": "drf4", "method": "m", "subjects": ["01"], "folds": [0]},
        restored=[out["image"]],
        standard_dose=[subject["standard_dose"]],
        grid=PREPROCESS["grid"],
    ).set_index(["region", "metric"])["value"]
    found = measured(tmp_path / "reliance.tsv", subject, other, trained, SETTINGS)
    for region in ("whole", "brain"):
        assert found[region, "psnr_own"] == pytest.approx(rows[region, "psnr"], abs=1e-6)
        for case in CASES:
            assert found[region, f"change_{case}"] > 0
            assert found[region, f"loss_{case}"] == pytest.approx(found[region, "psnr_own"] - found[region, f"psnr_{case}"])


def test_a_method_without_mr_has_values_for_another_pet_alone(subject, other, tmp_path, describe):
    weights = str(tmp_path / "model.safetensors")
    train = {"widths": [0.5, 1.0], "epochs": 1}
    save_weights(weights, build("gaussian", train).weights(), describe(module="gaussian", train=train))
    found = measured(tmp_path / "reliance.tsv", subject, other, weights, {"inputs": ["low_dose"], "batch_size": 1})["whole"]
    known = {name for name in RELIANCE if not math.isnan(found[name])}
    assert known == {"psnr_own", "psnr_other_pet", "loss_other_pet", "change_other_pet"}


def test_the_noise_of_a_sampler_is_the_subjects_in_every_case(subject, other, tmp_path, describe):
    """So that whoever is swapped for itself changes nothing, and what changes is due to the images."""
    torch.manual_seed(0)
    method = build("iddpm", DIFFUSION)
    for parameter in method.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)
    weights = str(tmp_path / "model.safetensors")
    save_weights(weights, method.weights(), describe(module="iddpm", train=DIFFUSION))
    restoring = SETTINGS | {"sampler": {"name": "ancestral", "steps": 2, "seed": 0}}
    itself = measured(tmp_path / "a.tsv", subject, subject["prepared"], weights, restoring)["whole"]
    assert itself["change_other_mr"] == itself["change_other_pet"] == 0
    assert itself["change_no_mr"] > 0
    assert measured(tmp_path / "b.tsv", subject, other, weights, restoring)["whole"]["change_other_pet"] > 0


def test_another_persons_pet_is_taken_at_the_subjects_own_scale(subject, other, tmp_path, describe):
    """Networks see scaled images; what they make of them is in the subject's units."""
    weights = str(tmp_path / "model.safetensors")
    train = {"widths": [0.01], "epochs": 1}
    save_weights(weights, build("gaussian", train).weights(), describe(module="gaussian", train=train, window=[48, 56, 40]))
    restoring = {"inputs": ["low_dose"], "batch_size": 1, "blend": "average"}  # nothing fades where the grid ends
    found = measured(tmp_path / "reliance.tsv", subject, other, weights, restoring)["whole"]
    folder, its = (path.rpartition("/")[0] for path in (subject["prepared"], other))
    own, swap, target = (np.load(path) for path in (f"{folder}/low_dose.npy", f"{its}/low_dose.npy", f"{folder}/standard_dose.npy"))
    assert read_json(other)["scales"] != read_json(subject["prepared"])["scales"]
    assert found["change_other_pet"] == pytest.approx(np.linalg.norm(swap - own) / np.linalg.norm(own), rel=1e-4)
    assert found["psnr_other_pet"] == pytest.approx(10 * math.log10(target.max() ** 2 / np.mean((swap - target) ** 2)), abs=1e-3)

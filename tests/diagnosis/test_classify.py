import numpy as np
import pandas as pd
import pytest
import torch

from petbench.diagnosis.classify import Classification, People, as_inputs, classify
from petbench.errors import InputError
from petbench.files import write_json
from petbench.methods.base import Progress
from petbench.methods.build import build
from petbench.networks.volume_classifier import VolumeClassifier
from petbench.preprocess.prepare import save_array
from petbench.restoration.weights import Description, save_weights

SIDE = 8
TRAIN, TEST = ["01", "02", "03", "04", "05", "06"], ["07", "08"]
ILL = {name: int(name) % 2 for name in TRAIN + TEST}
CLASSIFIER = {
    "domain": "volumes",
    "network": {"channels": [4], "normalisation": "none", "dropout": 0.0},
    "train": {
        "optimiser": {"classifier": {"name": "adam", "lr": 3e-2}},
        "batch_size": 6,
        "steps": 30,
        "seed": 0,
        "precision": "fp32",
    },
    "repeats": 2,
}


@pytest.fixture
def cohort(tmp_path):
    """Volumes whose MR says nothing of the illness and whose PET says all; and the mean PET of patients alone, as a generator."""
    rng = np.random.default_rng(0)
    files = {"train": [], "test": []}
    for name in TRAIN + TEST:
        folder = tmp_path / name
        save_array(folder / "mr.npy", rng.random((SIDE,) * 3).astype(np.float32))
        save_array(folder / "standard_dose.npy", np.full((SIDE,) * 3, 0.2 + 0.6 * ILL[name], np.float32))
        write_json(folder / "prepared.json", {"window": [SIDE] * 3})
        files["train" if name in TRAIN else "test"].append(str(folder / "prepared.json"))
    train = {"epochs": 1, "batch_size": 1}
    mean = build("mean_pet", train)
    list(mean.losses({"standard_dose": torch.full((1, 1, SIDE, SIDE, SIDE), 0.8)}, Progress(0, 1)))
    description = Description("mean_pet", train, {}, [SIDE] * 3, [6.0] * 3, "ad", "none", "0", "code")
    save_weights(tmp_path / "model.safetensors", mean.weights(), description)
    files["generators"] = [str(tmp_path / "model.safetensors")]
    return files


def plan(rows):
    place = {"dataset": "ad", "dose": "none", "classifier": "resnet", "study": "paired", "fold": "0"}
    return place | {"train": TRAIN, "test": TEST, "ill": ILL, "rows": rows}


def run(files, rows, tmp_path, where="out", **change):
    out = {name: str(tmp_path / where / f"{name}.tsv") for name in ("scores", "history")}
    classify(plan(rows), CLASSIFIER | change, files, tmp_path / where / "checkpoints", "cpu", 1, out, "code")
    return pd.read_csv(out["scores"], sep="\t", dtype={"subject": str}), pd.read_csv(out["history"], sep="\t")


def test_real_pet_tells_what_mr_cannot_and_pet_that_is_everybodys_tells_nothing(cohort, tmp_path):
    own = dict.fromkeys(TRAIN + TEST)
    rows = {"mr": None, "real_pet": own, "same": dict.fromkeys(TRAIN + TEST, 0)}
    scores, history = run(cohort, rows, tmp_path)
    assert set(scores["subject"]) == set(TEST)
    assert len(scores) == 3 * 2 * 2
    real = scores[scores["row"] == "real_pet"].groupby("ill")["score"].mean()
    assert real[1] > 0.8 > 0.2 > real[0]
    same = scores[scores["row"] == "same"].groupby("ill")["score"].mean()
    assert abs(same[1] - same[0]) < 0.4
    assert set(zip(history["row"], history["repeat"], strict=True)) == {(row, repeat) for row in rows for repeat in (0, 1)}


def test_generated_pet_may_be_for_the_tested_alone(cohort, tmp_path):
    """A classifier of real PET that is shown the PET of patients calls everybody a patient."""
    makers = dict.fromkeys(TRAIN) | dict.fromkeys(TEST, 0)
    scores, _ = run(cohort, {"mean_pet": makers}, tmp_path, repeats=1)
    assert (scores["score"] > 0.8).all()


def test_it_repeats_bit_for_bit_and_repeats_differ(cohort, tmp_path):
    first, second = (run(cohort, {"mr": None}, tmp_path, where)[0] for where in ("a", "b"))
    pd.testing.assert_frame_equal(first, second)
    assert not np.allclose(*(first.loc[first["repeat"] == repeat, "score"] for repeat in (0, 1)))


@pytest.mark.parametrize(("ill", "alone"), [(0, "controls alone"), (1, "patients alone")])
def test_a_study_that_trains_on_one_group_is_one_line_before_anything_is_read(tmp_path, ill, alone):
    study = plan({"mr": None}) | {"study": "mr_only", "fold": "all", "ill": dict.fromkeys(TRAIN, ill) | dict.fromkeys(TEST, 1 - ill)}
    with pytest.raises(InputError, match=rf"ad.yaml: fold all of the study mr_only trains a classifier on {alone}; give") as refused:
        classify(study, CLASSIFIER, {"train": [], "test": []}, tmp_path, "cpu", 1, {}, "code")
    assert "\n" not in str(refused.value)


def test_both_groups_weigh_the_same_whatever_their_size():
    people = People(np.ones((4, 1, SIDE, SIDE, SIDE), np.float32), np.array([1, 0, 0, 0], np.float32))
    training = Classification(VolumeClassifier(1, [SIDE] * 3, [2], "none", 0.0), patients=0.25)
    (step,) = training.losses(people.batch([0, 1, 2, 3]), Progress(0, 1))
    step.loss.backward()
    # For one and the same volume the loss is least, its gradient zero, at even odds.
    torch.nn.init.zeros_(training.network.head.weight)
    torch.nn.init.zeros_(training.network.head.bias)
    training.zero_grad()
    (step,) = training.losses(people.batch([0, 1, 2, 3]), Progress(0, 1))
    step.loss.backward()
    torch.testing.assert_close(training.network.head.bias.grad, torch.zeros(1))


def test_inputs_are_read_over_their_mean_and_against_the_people_trained_on():
    volumes = np.random.default_rng(0).uniform(1, 2, (6, 2, 4, 4, 4)).astype(np.float32)
    volumes[:, :, 0] = 0.01  # background
    seen = as_inputs(volumes, 4, pool=2, by_mean=True, standardise=True)
    assert seen.shape == (6, 2, 2, 2, 2)
    np.testing.assert_allclose(seen[:4].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(as_inputs(volumes * np.float32(3), 4, pool=2, by_mean=True, standardise=True), seen, atol=1e-4)
    # what is learned of the others does not depend on who is tested
    volumes[4:] *= np.random.default_rng(1).uniform(1, 2, volumes[4:].shape)
    np.testing.assert_array_equal(as_inputs(volumes, 4, pool=2, by_mean=True, standardise=True)[:4], seen[:4])
    assert not as_inputs(volumes, 4, standardise=True)[:, :, 0].any()
    np.testing.assert_array_equal(as_inputs(volumes, 4), volumes)


def test_a_linear_classifier_finds_what_forty_people_show_in_places(tmp_path):
    """Illness is one standard deviation in a quarter of the cubes, which a mean over the volume hardly shows."""
    rng = np.random.default_rng(0)
    ill = np.arange(80) % 2
    volumes = rng.normal(1, 0.1, (80, 1, SIDE, SIDE, SIDE)).astype(np.float32)
    volumes[ill == 1, :, :4, :4] -= 0.1 / np.sqrt(8)
    files, names = {"train": [], "test": []}, [f"{number:02d}" for number in range(80)]
    for number, name in enumerate(names):
        save_array(tmp_path / name / "mr.npy", volumes[number, 0])
        write_json(tmp_path / name / "prepared.json", {"window": [SIDE] * 3})
        files["train" if number < 40 else "test"].append(str(tmp_path / name / "prepared.json"))
    linear = {
        "inputs": {"pool": 2, "by_mean": True, "standardise": True},
        "network": {"channels": [], "normalisation": "none", "dropout": 0.0, "head": "voxels"},
        "train": {**CLASSIFIER["train"], "optimiser": {"classifier": {"name": "adamw", "lr": 1e-2, "weight_decay": 0.1}}, "steps": 60},
        "repeats": 1,
    }
    people = dict(zip(names, ill.tolist(), strict=True))
    place = plan({"mr": None}) | {"train": names[:40], "test": names[40:], "ill": people}
    out = {name: str(tmp_path / f"{name}.tsv") for name in ("scores", "history")}
    classify(place, CLASSIFIER | linear, files, tmp_path / "checkpoints", "cpu", 1, out, "code")
    scores = pd.read_csv(out["scores"], sep="\t")
    above = scores.loc[scores["ill"] == 1, "score"].to_numpy()[:, None] > scores.loc[scores["ill"] == 0, "score"].to_numpy()
    assert above.mean() > 0.8

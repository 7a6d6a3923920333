import numpy as np
import pandas as pd
import pytest
import torch

import petbench.restoration.representations as module
from petbench.errors import InputError
from petbench.files import write_json
from petbench.methods.build import build
from petbench.restoration.representations import compare_layers, layer_activations, windows_of
from petbench.restoration.weights import save_weights

KINDS = ("low_dose", "mr", "standard_dose")
WINDOW = [8, 8, 1]
SETTINGS = {"time_step": 3, "samples": 6, "pixels": 2, "seed": 5}
TRAIN = {
    "domain": "axial",
    "diffusion": {
        "timesteps": 10,
        "schedule": {"name": "linear", "betas": [1.0e-4, 2.0e-2]},
        "prediction": "x0",
        "variance": "fixed_large",
        "vlb_weight": 0.0,
        "range": [0.0, 1.0],
    },
    "network": {
        "spatial_dims": 2,
        "width": 4,
        "multipliers": [1, 2],
        "blocks": 1,
        "attention": [2],
        "heads": 2,
        "head": "plain",
        "dropout": {"encoder": 0.0, "pet_decoder": 0.0, "mr_decoder": 0.0},
        "hff": "concat",
        "bottleneck": "separate",
        "decoders": 2,
    },
    "loss": {"recovery": 0.4, "consistency": 0.2},
    "mr_dropout": 0.0,
    "mr_flag": "sample",
    "mr_head": "spared",
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Two subjects of five axial slices, of which the second and third are indexed and the fourth and fifth."""
    paths = []
    for number, indexed in enumerate(([1, 2, 4], [0, 3, 4])):
        folder = tmp_path_factory.mktemp(f"sub-{number}")
        for kind in KINDS:
            np.save(folder / f"{kind}.npy", np.random.default_rng([number, KINDS.index(kind)]).random((8, 8, 5), dtype=np.float32))
        np.save(folder / "index.npy", np.array([[0, 0, z] for z in indexed], np.int32))
        write_json(folder / "prepared.json", {})
        paths.append(str(folder / "prepared.json"))
    return paths


@pytest.fixture
def weights(tmp_path, describe):
    torch.manual_seed(0)
    method = build("m2diff", TRAIN)
    for parameter in method.parameters():  # layers that start silent would hide what differs
        torch.nn.init.normal_(parameter, std=0.3)
    save_weights(tmp_path / "model.safetensors", method.weights(), describe(module="m2diff", train=TRAIN, window=WINDOW))
    return str(tmp_path / "model.safetensors")


def test_windows_are_indexed_slices_evenly_spaced_over_the_subjects(prepared):
    found = windows_of(prepared, WINDOW, 3)
    for kind in KINDS:
        first, second = (np.load(path.replace("prepared.json", f"{kind}.npy")) for path in prepared)
        expected = np.stack([first[..., 2], second[..., 0], second[..., 4]])  # the middle one of each pair of the six, the later of two
        np.testing.assert_array_equal(found[kind].numpy()[:, 0], expected)
    with pytest.raises(InputError, match="similarity/samples: 7 are asked for, and the subjects tested have 6 windows; lower it"):
        windows_of(prepared, WINDOW, 7)


def test_activations_do_not_depend_on_how_many_windows_are_computed_at_once(prepared, weights, monkeypatch):
    restorer, _ = module.load_restorer(weights, "cpu")
    windows, found = windows_of(prepared, WINDOW, 6), []
    for at_once in (1, 4):
        monkeypatch.setattr(module, "AT_ONCE", at_once)
        found.append(layer_activations(restorer.features, windows, SETTINGS, "cpu"))
    for part in ("encoder", "decoder"):
        for branch in ("pet", "mr"):
            assert len(found[0][part][branch]) == len(found[1][part][branch]) > 1
            for one, other in zip(found[0][part][branch], found[1][part][branch], strict=True):
                assert one.shape[0] == 6
                np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)


def test_every_pair_of_layers_is_compared_and_written(prepared, weights, tmp_path):
    matrices = compare_layers(weights, prepared, SETTINGS, "cpu", 1, tmp_path / "table.tsv")
    table = pd.read_csv(tmp_path / "table.tsv", sep="\t")
    assert list(matrices) == ["encoder", "decoder"]
    assert len(table) == sum(matrix.size for matrix in matrices.values())
    assert set(table["row_branch"]) == {"pet"}
    assert set(table["column_branch"]) == {"mr"}
    for row in table.itertuples():
        assert row.cka == pytest.approx(matrices[row.part][row.row_layer - 1, row.column_layer - 1], rel=1e-4, nan_ok=True)
    assert (table["samples"] == 6).all()
    assert (table["time_step"] == 3).all()


def test_branches_that_are_equal_up_to_scale_are_alike_on_the_diagonal(prepared, weights, tmp_path, monkeypatch):
    def features(batch, time, generators):
        layers = [batch["standard_dose"], batch["low_dose"]]
        return {"encoder": {"pet": layers, "mr": [3 * layer for layer in layers]}}

    restorer, description = module.load_restorer(weights, "cpu")
    monkeypatch.setattr(restorer, "features", features, raising=False)
    monkeypatch.setattr(module, "load_restorer", lambda *_: (restorer, description))
    matrix = compare_layers(weights, prepared, SETTINGS | {"pixels": 8}, "cpu", 1, tmp_path / "table.tsv")["encoder"]
    np.testing.assert_allclose(np.diag(matrix), 1, rtol=1e-5)
    assert abs(matrix[0, 1]) < 0.9
    assert matrix[0, 1] == pytest.approx(matrix[1, 0], rel=1e-4)


def test_a_method_of_one_branch_is_refused(untrained, prepared, tmp_path):
    with pytest.raises(InputError, match="m_unet has no two branches"):
        compare_layers(untrained, prepared, SETTINGS, "cpu", 1, tmp_path / "table.tsv")

"""The predictor, trained on an analytic stand-in for simulated media: kernels that fall off with the mass a straight path crosses."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import petbench.training.fit as engine
from petbench.errors import InputError
from petbench.positron_range.material_kernels import check_voxels, kernels_of, material_kernels, read_material_kernels, truncated_fractions
from petbench.positron_range.operators import NoCorrection, positron_range
from petbench.positron_range.predictor import load_predictor, make_network, read_predictor_description
from petbench.positron_range.predictor_training import (
    PsfSamples,
    PsfTraining,
    check_alive,
    held_out_losses,
    kl_divergence,
    l1_distance,
    samples_of,
    train_predictor,
)
from petbench.positron_range.psf_set import Origin, PsfSet, read_psf_set, write_psf_set
from petbench.positron_range.symmetries import CUBE_SYMMETRIES, symmetrised, turned

MU = np.array([0.0247, 0.096, 0.1716], dtype=np.float32)
ORIGIN = Origin("Ga68", 2.0, "point", "stand-in", "straight paths", "none", 1)
TRAIN = {
    "kernel_size": 7,
    "tail": "renormalise",
    "loss": "kl",
    "symmetries": True,
    "network": {"channels": 4, "blocks": 1},
    "optimiser": {"predictor": {"name": "adam", "lr": 1.0e-2}},
    "batch_size": 8,
    "steps": 60,
    "seed": 3,
    "precision": "32",
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def stand_in(mu: np.ndarray) -> np.ndarray:
    """Probabilities that fall off with the mass crossed on the straight way from the middle, (K, K, K)."""
    size = mu.shape[-1]
    middle = size // 2
    ends = np.indices(mu.shape).reshape(3, -1).T
    steps = (np.arange(8) + 0.5) / 8
    path = np.rint(middle + steps[:, None, None] * (ends - middle)).astype(int)
    mass = mu[path[..., 0], path[..., 1], path[..., 2]].mean(axis=0) * np.linalg.norm(ends - middle, axis=1)
    kernel = np.exp(-12 * mass) * mu.ravel()
    return (kernel / kernel.sum()).reshape(mu.shape)


def made_up(seed: int, count: int = 12, size: int = 9, lost: float = 0.2, **origin: object) -> PsfSet:
    """The three homogeneous media, then random slabs."""
    rng = np.random.default_rng(seed)
    labels = [np.full((size,) * 3, material) for material in range(3)]
    for _ in range(count - 3):
        slab = np.full((size,) * 3, rng.integers(3))
        slab[rng.integers(1, size - 1) :] = rng.integers(3)
        labels.append(np.moveaxis(slab, 0, rng.integers(3)))
    mu = MU[np.stack(labels)]
    positrons = np.full(count, 200_000, dtype=np.uint32)
    counts = np.stack([rng.poisson((1 - lost) * 200_000 * stand_in(medium)) for medium in mu]).astype(np.uint32)
    outside = (positrons - counts.sum(axis=(1, 2, 3))).astype(np.uint32)
    names = tuple(f"medium-{seed}-{number}" for number in range(count))
    return PsfSet(names, mu, counts, outside, positrons, replace(ORIGIN, **origin))


@pytest.fixture(scope="module")
def psf_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("psf") / "training.h5"
    write_psf_set(path, made_up(1, count=24))
    return str(path)


@pytest.fixture(scope="module")
def trainer(tmp_path_factory, psf_file):
    """Train into a folder of its own and return that folder."""

    def run(name=None, sets=None, **changes):
        folder = tmp_path_factory.mktemp("training") if name is None else name
        out = {
            kind: str(folder / f"{kind}.{ending}") for kind, ending in (("weights", "safetensors"), ("history", "tsv"), ("cost", "json"))
        }
        seconds = changes.pop("checkpoint_seconds", 60.0)
        train_predictor(TRAIN | changes, sets or [psf_file], folder / "checkpoints", "cpu", 1, out, "abc", seconds)
        return folder

    return run


@pytest.fixture(scope="module")
def trained(trainer):
    return trainer()


def test_training_lowers_both_distances_on_held_out_media(trained, trainer):
    before = held_out_losses(load_predictor(trainer(steps=1) / "weights.safetensors"), made_up(2))
    after = held_out_losses(load_predictor(trained / "weights.safetensors"), made_up(2))
    assert after["l1"] < 0.6 * before["l1"]
    assert after["kl"] < 0.3 * before["kl"]
    history = pd.read_csv(trained / "history.tsv", sep="\t")
    assert history["step"].iloc[-1] == TRAIN["steps"]
    np.testing.assert_allclose(history["loss_predictor"], history["kl"])
    assert json.loads((trained / "cost.json").read_text())["steps"] == TRAIN["steps"]


def test_the_published_loss_is_what_is_minimised(trainer):
    history = pd.read_csv(trainer(loss="l1", steps=2) / "history.tsv", sep="\t")
    np.testing.assert_allclose(history["loss_predictor"], history["l1"])


def test_a_resumed_training_equals_an_uninterrupted_one(trainer, tmp_path, monkeypatch):
    whole = trainer(steps=6)
    advance = engine._Run.advance

    def stopped(run, batch):
        if run.step == 4:
            raise KeyboardInterrupt
        advance(run, batch)

    with monkeypatch.context() as patch:
        patch.setattr(engine._Run, "advance", stopped)
        with pytest.raises(KeyboardInterrupt):
            trainer(tmp_path, steps=6, checkpoint_seconds=0)
    parts = trainer(tmp_path, steps=6)
    for name in ("weights.safetensors", "history.tsv"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()


def test_samples_are_the_media_under_every_symmetry():
    psfs = made_up(3, count=4)
    samples = samples_of([psfs], TRAIN)
    assert len(samples) == 4 * 48
    batch = samples.batch([3 * 48 + 17])
    cut = slice(1, -1)
    np.testing.assert_array_equal(batch["mu"][0], turned(psfs.mu[3, cut, cut, cut], CUBE_SYMMETRIES[17]))
    np.testing.assert_array_equal(batch["kernel"][0], turned(kernels_of(psfs, 7, "renormalise")[3], CUBE_SYMMETRIES[17]))
    assert len(samples_of([psfs], TRAIN | {"symmetries": False})) == 4


def test_symmetries_are_the_48_of_a_cube():
    cube = np.random.default_rng(0).random((3, 3, 3))
    assert len({turned(cube, symmetry).tobytes() for symmetry in CUBE_SYMMETRIES}) == 48
    even = symmetrised(cube)
    for symmetry in CUBE_SYMMETRIES:
        np.testing.assert_allclose(turned(even, symmetry), even)


@pytest.mark.parametrize("tail", ["renormalise", "lose"])
def test_a_kernel_keeps_or_loses_its_tail(tail):
    psfs = made_up(4, count=3)
    inside = psfs.counts[:, 2:-2, 2:-2, 2:-2].sum(axis=(1, 2, 3))
    expected = np.ones(3) if tail == "renormalise" else inside / psfs.positrons
    np.testing.assert_allclose(kernels_of(psfs, 5, tail).sum(axis=(1, 2, 3)), expected, rtol=1e-5)
    np.testing.assert_allclose(list(truncated_fractions(psfs, 5).values()), 1 - inside / psfs.positrons)


def test_a_trained_predictor_loses_what_leaves_the_kernel(trainer, psf_file):
    predictor = load_predictor(trainer(tail="lose", steps=300, schedule={"milestones": [0.6], "gamma": 0.1}) / "weights.safetensors")
    kept = {name: float(kernel.sum()) for name, kernel in predictor.homogeneous().items()}
    lost = truncated_fractions(read_psf_set(psf_file), 7)
    for (name, share), left in zip(kept.items(), list(lost.values())[:3], strict=True):
        assert share == pytest.approx(1 - left, abs=0.08), name


def test_distances_of_known_kernels():
    one, other = torch.zeros(2, 1, 1, 2), torch.tensor([0.5, 0.25])
    one[:] = torch.tensor([0.5, 0.5])
    predicted = torch.stack([torch.tensor([0.25, 0.75]), other]).reshape(2, 1, 1, 2).log()
    losing = torch.tensor([[[[0.5, 0.5]]], [[[0.5, 0.25]]]])
    assert float(l1_distance(predicted, one)) == pytest.approx((0.5 + 0.25) / 2)
    kl = 0.5 * np.log(0.5 / 0.25) + 0.5 * np.log(0.5 / 0.75)
    # The second kernel loses as much as its prediction, so it agrees with it.
    assert float(kl_divergence(predicted, losing)) == pytest.approx(kl / 2, rel=1e-5)


def test_the_file_says_what_it_is_for(trained):
    description = read_predictor_description(trained / "weights.safetensors")
    assert (description.isotope, description.voxel_mm, description.kernel_size) == ("Ga68", 2.0, 7)
    assert (description.tail, description.source, description.code) == ("renormalise", "point", "abc")
    assert description.materials == {"lung": 0.0247, "water": 0.096, "rib_bone": 0.1716}
    assert description.simulation["data"] == "stand-in"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"isotope": "F-18"}, "trained for Ga68, but the scan is of F-18"),
        ({"voxel_mm": (2.0, 2.0, 2.1)}, "made for voxels of 2 mm"),
        ({"kernel_size": 11}, "predicts kernels of 7 voxels"),
    ],
)
def test_a_predictor_that_does_not_fit_is_refused(trained, asked, said):
    path = trained / "weights.safetensors"
    assert load_predictor(path, isotope="68Ga", voxel_mm=(2.0, 2.01, 1.99), kernel_size=7).description.isotope == "Ga68"
    with pytest.raises(InputError, match=said) as raised:
        load_predictor(path, **asked)
    assert str(path) in str(raised.value)


def test_kernels_of_cubes_serve_voxels_that_are_nearly_cubes():
    mmr = (2.0863, 2.0863, 2.03125)
    check_voxels("kernels", 2.068, mmr)
    with pytest.raises(InputError, match=r"made for voxels of 2 mm, but the image has 2\.0863 x 2\.0863 x 2\.03125 mm"):
        check_voxels("kernels", 2.0, mmr)
    with pytest.raises(InputError, match="made for cubic voxels"):
        check_voxels("kernels", 2.0, (2.05, 2.05, 1.9))


def test_files_that_are_no_predictor_are_refused(tmp_path, trained):
    with pytest.raises(InputError, match="no such file"):
        load_predictor(tmp_path / "none.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((trained / "weights.safetensors").read_bytes()[:100])
    for name in ("other", "cut"):
        with pytest.raises(InputError, match="is not a PSF predictor"):
            load_predictor(tmp_path / f"{name}.safetensors")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss": "mse"}, "train/loss: 'mse'"),
        ({"tail": "cut"}, "tail: 'cut'"),
        ({"kernel_size": 11}, "kernel_size: 11 cannot be cut from kernels of 9"),
    ],
)
def test_bad_entries_are_refused(trainer, changes, said):
    with pytest.raises(InputError, match=said):
        trainer(steps=1, **changes)


def test_sets_of_two_isotopes_are_not_mixed(trainer, psf_file, tmp_path):
    write_psf_set(tmp_path / "other.h5", made_up(5, count=3, isotope="F18"))
    with pytest.raises(InputError, match="Ga68 and F18"):
        trainer(sets=[psf_file, str(tmp_path / "other.h5")], steps=1)
    with pytest.raises(InputError, match="held_out/isotope: F18"):
        held_out_losses(load_predictor(trainer(steps=1) / "weights.safetensors"), made_up(5, isotope="F18"))


def test_kernels_of_materials_are_even_and_less_noisy():
    psfs = made_up(6)
    kernels = material_kernels(psfs, 7)
    assert list(kernels.mu_per_cm) == ["lung", "water", "rib_bone"]
    for material, kernel in enumerate(kernels.kernels):
        exact = symmetrised(stand_in(psfs.mu[material])[1:-1, 1:-1, 1:-1])
        exact /= exact.sum()
        np.testing.assert_allclose(turned(kernel, CUBE_SYMMETRIES[9]), kernel, rtol=1e-5)
        noisy = kernels_of(psfs, 7, "renormalise")[material]
        assert np.abs(kernel - exact).sum() < 0.5 * np.abs(noisy - exact).sum()


def test_a_set_without_homogeneous_media_is_refused(tmp_path):
    psfs = made_up(7)
    mixed = [number for number in range(len(psfs.mu)) if np.ptp(psfs.mu[number]) > 0]
    arrays = [getattr(psfs, name)[mixed] for name in ("mu", "counts", "outside", "positrons")]
    write_psf_set(tmp_path / "mixed.h5", PsfSet(tuple(psfs.names[number] for number in mixed), *arrays, origin=psfs.origin))
    with pytest.raises(InputError, match=r"mixed\.h5: psf_set: it holds no homogeneous medium"):
        read_material_kernels(tmp_path / "mixed.h5", 7)


def test_every_strategy_from_its_files(trained, psf_file):
    mu = np.full((9, 9, 9), MU[1], dtype=np.float32)
    mu[:4] = MU[0]
    point = np.zeros(mu.shape, dtype=np.float32)
    point[4, 4, 4] = 1.0
    given = {"mu": mu, "voxel_mm": (2.0, 2.0, 2.0), "isotope": "Ga-68"}
    assert isinstance(positron_range("none", **given), NoCorrection)
    weights = str(trained / "weights.safetensors")
    blurred = {
        "svtd": positron_range("svtd", **given, kernels=psf_file, kernel_size=7)(point),
        "ddconv": positron_range("ddconv", **given, weights=weights)(point),
        "simulated": positron_range("ddconv", **given, weights=weights, kernels=psf_file)(point),
    }
    truth = stand_in(mu)[1:-1, 1:-1, 1:-1]
    truth /= truth.sum()
    far = {name: np.abs(image[1:-1, 1:-1, 1:-1] - truth).sum() for name, image in blurred.items()}
    assert far["ddconv"] < 0.6
    assert far["simulated"] == pytest.approx(far["ddconv"], abs=1e-4)  # the source lies at an interface
    assert far["svtd"] < np.abs(point[1:-1, 1:-1, 1:-1] - truth).sum()


@pytest.mark.parametrize(
    ("strategy", "said"),
    [("svtd", "positron_range/kernels"), ("ddconv", "positron_range/weights"), ("magnet", "choose one of none, svtd, ddconv")],
)
def test_a_strategy_without_its_file_is_refused(strategy, said):
    with pytest.raises(InputError, match=said):
        positron_range(strategy, np.full((5, 5, 5), MU[1]), (2.0, 2.0, 2.0), "Ga68")


def test_samples_are_counted_without_symmetries():
    cubes = np.zeros((5, 3, 3, 3), dtype=np.float32)
    assert (len(PsfSamples(cubes, cubes, False)), len(PsfSamples(cubes, cubes, True))) == (5, 240)


def test_a_network_that_ran_away_is_refused():
    """Its kernels are single voxels wherever, which the training's loss alone does not show; a fresh one is even, and may be written."""
    torch.manual_seed(0)
    training = PsfTraining(make_network(TRAIN), "l1")
    samples = samples_of([made_up(1, count=24)], TRAIN)
    check_alive(training, samples)
    with torch.no_grad():
        for parameter in training.parameters():
            parameter.normal_(std=30.0)
    with pytest.raises(InputError, match=r"training ran away: its kernels have an l1 of (1\.9|2\.0)"):
        check_alive(training, samples)

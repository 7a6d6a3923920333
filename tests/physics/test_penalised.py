"""Penalised reconstruction against its optimum, found by a literal method that knows nothing of subsets."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize

from petbench.errors import InputError
from petbench.physics.counts import expectation, poisson
from petbench.physics.listmode import ListModeProjector
from petbench.physics.operators import ForwardModel, GaussianBlur
from petbench.physics.penalised import Penalised, information, listmode_penalised, penalised
from petbench.physics.penalties import RelativeDifference, bowsher, relative_difference
from petbench.physics.projector import DirectProjector
from petbench.physics.reconstruction import mlem, osem, sinogram_parts
from petbench.physics.scanner import Scanner

Array = NDArray[np.float32]
SUBSETS = 6


@pytest.fixture(scope="module")
def scanner() -> Scanner:
    entry = {
        "name": "disc",
        "ring_radius_mm": 120.0,
        "crystals_per_ring": 160,
        "radial": "uniform",
        "radial_bins": 24,
        "radial_spacing_mm": 4.0,
    }
    entry |= {"views": 24, "planes": 3, "plane_spacing_mm": 4.0, "image": {"shape": [22, 22, 3], "voxel_mm": [4.0] * 3}, "fov_mm": 84.0}
    return Scanner.from_entry(entry)


@pytest.fixture(scope="module")
def truth(scanner: Scanner) -> Array:
    x, y, _ = np.indices(scanner.image_shape)
    inside = (x - 10.5) ** 2 + (y - 10.5) ** 2 < 80
    hot = (x - 14) ** 2 + (y - 9) ** 2 < 9
    return (500.0 + 2500.0 * inside + 9000.0 * hot).astype(np.float32)


@pytest.fixture(scope="module")
def scan(scanner: Scanner, truth: Array) -> tuple[ForwardModel, Array]:
    plain = ForwardModel(DirectProjector(scanner), image_operators=(GaussianBlur(6.0, scanner.voxel_mm),))
    expected = expectation(plain(truth), scanner, 1e5, randoms_fraction=0.2, scatter_fraction=0.1)
    model = replace(plain, scale=expected.scale, background=expected.background)
    return model, poisson(model.expected(truth), seed=3)


def rough(scanner: Scanner, truth: Array, kind: str) -> RelativeDifference:
    return relative_difference(scanner.voxel_mm) if kind == "rdp" else bowsher((truth > 600).astype(np.float32), scanner.voxel_mm)


def objective(
    model: ForwardModel, counts: Array, penalty: RelativeDifference, settings: Penalised
) -> Callable[[NDArray[np.float64]], tuple[float, Array]]:
    """Minus Phi and its gradient, whole: the same epsilon, kappa and beta, worked out apart."""
    parts, start = sinogram_parts(model, counts, SUBSETS)
    reference = float(start.sum(dtype=float) / (start > 0).sum())
    kappa = information(parts, osem(model, counts, settings.warm, SUBSETS))
    own, beta, sensitivity = penalty.of(settings.epsilon * reference, kappa), settings.strength * reference, model.sensitivity()

    def of(flat: NDArray[np.float64]) -> tuple[float, Array]:
        image = flat.reshape(sensitivity.shape).astype(np.float32)
        expected = model.expected(image).astype(float)
        value, slope, _ = own(image)
        likelihood = float((counts * np.log(expected) - expected).sum())
        gradient = model.adjoint((counts / expected).astype(np.float32)) - sensitivity
        return -(likelihood - beta * value), -(gradient - beta * slope).astype(float).ravel()

    return of


@pytest.mark.parametrize("kind", ["rdp", "bowsher"])
def test_both_algorithms_meet_the_optimum_of_a_literal_method(
    scan: tuple[ForwardModel, Array], scanner: Scanner, truth: Array, kind: str
) -> None:
    model, counts = scan
    penalty, settings = rough(scanner, truth, kind), Penalised(strength=0.1, relaxation=0.0)
    of = objective(model, counts, penalty, settings)
    start = osem(model, counts, 1, SUBSETS).astype(float).ravel()
    bounds = [(0.0, None if value > 0 else 0.0) for value in start]
    best = minimize(
        of, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 800, "maxfun": 4000, "ftol": 1e-14, "gtol": 1e-9}
    )
    relaxed = replace(settings, algorithm="bsrem", relaxation=0.1)
    bsrem, svrg = (penalised(model, counts, penalty, chosen, 60, SUBSETS) for chosen in (relaxed, settings))
    # Of the whole climb from the first estimate: the steps of BSREM fall, so it comes ever nearer ever more slowly.
    climb = of(start)[0] - best.fun
    for image, left, far in ((svrg, 1e-4, 0.003), (bsrem, 1e-2, 0.03)):
        assert (of(image.astype(float).ravel())[0] - best.fun) / climb < left
        assert np.linalg.norm(image.ravel() - best.x) < far * np.linalg.norm(best.x)


def test_without_a_penalty_and_subsets_the_first_steps_are_expectation_maximisation(scan: tuple[ForwardModel, Array]) -> None:
    model, counts = scan
    settings = Penalised(strength=0.0, algorithm="bsrem", relaxation=0.0, warm=0)
    image = penalised(model, counts, relative_difference((4.0, 4.0, 4.0)), settings, 5, 1)
    expected = mlem(model, counts, 5)
    np.testing.assert_allclose(image, expected, atol=2e-3 * expected.max())


def test_the_penalty_smooths_and_an_anatomical_one_spares_its_edges(
    scan: tuple[ForwardModel, Array], scanner: Scanner, truth: Array
) -> None:
    model, counts = scan
    images = {"none": osem(model, counts, 12, SUBSETS)}
    images |= {
        kind: penalised(model, counts, rough(scanner, truth, kind), Penalised(strength=0.3), 12, SUBSETS) for kind in ("rdp", "bowsher")
    }
    x, y, _ = np.indices(scanner.image_shape)
    flat = ((x - 6) ** 2 + (y - 10.5) ** 2 < 12) & (truth == 3000)
    spread = {name: image[flat].std() / image[flat].mean() for name, image in images.items()}
    assert spread["rdp"] < 0.5 * spread["none"]
    edge = (truth > 600) & (np.roll(truth, 1, axis=0) < 600)
    error = {name: np.abs(image - truth)[edge].mean() for name, image in images.items()}
    assert error["bowsher"] < 0.9 * error["rdp"]


def test_events_and_their_sinogram_have_one_solution(scan: tuple[ForwardModel, Array], scanner: Scanner) -> None:
    model, counts = scan
    penalty, settings = relative_difference(scanner.voxel_mm), Penalised(strength=0.05, warm=1)
    bins = np.repeat(np.argwhere(counts > 0), counts[counts > 0], axis=0)
    bins = np.random.default_rng(0).permutation(bins)
    listed = ListModeProjector(scanner, "direct", *bins.T)
    assert model.background is not None
    events = replace(model, projector=listed, background=model.background[tuple(bins.T)])
    image = listmode_penalised(events, model.sensitivity(), penalty, settings, 25, SUBSETS)
    expected = penalised(model, counts, penalty, settings, 25, SUBSETS)
    assert np.linalg.norm(image - expected) < 0.05 * np.linalg.norm(expected)


@pytest.mark.parametrize("algorithm", ["bsrem", "svrg"])
def test_the_same_on_tensors(scan: tuple[ForwardModel, Array], scanner: Scanner, truth: Array, algorithm: str) -> None:
    model, counts = scan
    penalty, settings = rough(scanner, truth, "bowsher"), Penalised(strength=0.1, algorithm=algorithm)
    kept: list[tuple[int, float]] = []
    image = penalised(model.to("cpu"), counts, penalty, settings, 3, SUBSETS, callback=lambda k, _, value: kept.append((k, value)), at=[3])
    assert isinstance(image, torch.Tensor)
    expected = penalised(model, counts, penalty, settings, 3, SUBSETS)
    np.testing.assert_allclose(image.numpy(), expected, rtol=1e-3, atol=1e-3 * expected.max())
    assert [k for k, _ in kept] == [3]


@pytest.mark.parametrize("keys", [{"algorithm": "newton"}, {"strength": -1.0}, {"refresh": 0}, {"epsilon": 0.0}])
def test_what_is_out_of_range_is_refused(keys: dict) -> None:
    with pytest.raises(InputError, match="penalty"):
        Penalised(**keys)

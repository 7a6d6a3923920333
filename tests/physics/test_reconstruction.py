from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats

from petbench.errors import InputError
from petbench.physics.counts import expectation, poisson, thin
from petbench.physics.operators import ForwardModel, GaussianBlur, attenuation_factors
from petbench.physics.projector import DirectProjector
from petbench.physics.reconstruction import mlem, osem, post_filter, subset_order, subset_sensitivities
from petbench.physics.scanner import Scanner, field_of_view

Array = NDArray[np.float32]
PSF_MM = 6.0


@pytest.fixture
def truth(head_scanner: Scanner, disc: Callable[..., Array]) -> Array:
    """A warm cylinder with a hot and a cold one in it, both much wider than the resolution; Bq/ml."""
    return (
        4000 * disc(head_scanner, 75.0)
        + 8000 * disc(head_scanner, 22.0, 35.0, 10.0)
        - 4000 * disc(head_scanner, 20.0, -30.0, -20.0)
    ).clip(0)  # fmt: skip


@pytest.fixture
def model(head_scanner: Scanner, disc: Callable[..., Array], truth: Array) -> ForwardModel:
    """The standard dose: attenuation of water, resolution, randoms and scatter, a million prompts."""
    projector = DirectProjector(head_scanner)
    factors = attenuation_factors(projector, 0.096 * disc(head_scanner, 80.0))
    unscaled = ForwardModel(projector, factors, image_operators=(GaussianBlur(PSF_MM, head_scanner.voxel_mm),))
    counts = expectation(unscaled(truth), head_scanner, 1e6, randoms_fraction=0.2, scatter_fraction=0.3)
    return replace(unscaled, scale=counts.scale, background=counts.background)


def at_dose(model: ForwardModel, fraction: float) -> ForwardModel:
    assert model.background is not None
    return replace(model, scale=model.scale * fraction, background=model.background * np.float32(fraction))


def regions(scanner: Scanner, disc: Callable[..., Array]) -> dict[str, NDArray[np.bool_]]:
    """Interior of the warm, hot and cold parts, a resolution's width away from their edges."""
    warm = (disc(scanner, 65.0) == 1) & (disc(scanner, 36.0, 35.0, 10.0) == 0) & (disc(scanner, 34.0, -30.0, -20.0) == 0)
    return {"warm": warm, "hot": disc(scanner, 10.0, 35.0, 10.0) == 1}


@pytest.mark.parametrize("with_background", [False, True])
def test_likelihood_never_decreases(model: ForwardModel, truth: Array, with_background: bool) -> None:
    model = model if with_background else replace(model, background=None)
    counts = poisson(model.expected(truth), seed=1)
    values: list[float] = []
    reference: list[float] = []

    def callback(iteration: int, image: Array, likelihood: float) -> None:
        values.append(likelihood)
        expected = np.maximum(model.expected(image).astype(float), 1e-30)
        reference.append(stats.poisson.logpmf(counts, expected).sum())

    mlem(model, counts, 15, callback=callback)
    # Rounding: a sum of a hundred thousand float32 terms of this size.
    assert (np.diff(values) > -1e-6 * abs(values[-1])).all()
    assert values[-1] > values[0]
    # The likelihood itself but for terms that no estimate changes.
    np.testing.assert_allclose(np.subtract(values, values[0]), np.subtract(reference, reference[0]), rtol=1e-4, atol=1e-6 * abs(values[-1]))


def test_counts_are_preserved_without_background(model: ForwardModel, truth: Array) -> None:
    model = replace(model, background=None)
    counts = poisson(model.expected(truth), seed=2)
    sums: list[float] = []
    mlem(model, counts, 4, callback=lambda _, image, __: sums.append(float(model(image).sum(dtype=float))))
    np.testing.assert_allclose(sums, counts.sum(), rtol=1e-4)


def test_noise_free_data_give_back_the_activity_of_wide_regions(
    model: ForwardModel, truth: Array, head_scanner: Scanner, disc: Callable[..., Array]
) -> None:
    estimate = osem(model, model.expected(truth), 25, 6)
    for name, activity in (("warm", 4000), ("hot", 12000)):
        region = regions(head_scanner, disc)[name]
        assert estimate[region].mean() == pytest.approx(activity, rel=0.01), name
    assert estimate[disc(head_scanner, 10.0, -30.0, -20.0) == 1].mean() < 0.05 * 4000  # EM empties a cold region slowly


def test_warm_regions_are_unbiased_over_realisations(
    model: ForwardModel, truth: Array, head_scanner: Scanner, disc: Callable[..., Array]
) -> None:
    region = regions(head_scanner, disc)["warm"]
    expected, known = model.expected(truth), subset_sensitivities(model, 6)
    means = np.array([osem(model, poisson(expected, seed), 6, 6, sensitivities=known)[region].mean() for seed in range(10)])
    error = means.std(ddof=1) / np.sqrt(means.size)
    assert abs(means.mean() - 4000) < 4000 * 0.003 + 5 * error
    assert error < 10


def test_every_dose_estimates_the_same_activity(
    model: ForwardModel, truth: Array, head_scanner: Scanner, disc: Callable[..., Array]
) -> None:
    """A twenty-fifth of the counts is noisy: single images of it err by 3 %, so that each dose is the mean of a few realisations."""
    region = regions(head_scanner, disc)["warm"]
    expected, known = model.expected(truth), subset_sensitivities(model, 6)
    for fraction in (1.0, 0.25, 0.04):
        scan = at_dose(model, fraction)
        doses = [thin(poisson(expected, seed), fraction, seed=100 + seed) for seed in range(5)]
        means = np.array([osem(scan, counts, 4, 6, sensitivities=known)[region].mean() for counts in doses])
        error = means.std(ddof=1) / np.sqrt(means.size)
        assert abs(means.mean() - 4000) < 4000 * 0.015 + 3 * error, fraction
        assert error < 80


def test_error_of_a_back_projection_falls_as_one_over_the_counts(model: ForwardModel, truth: Array) -> None:
    """Back projection is linear, so its squared distance to the noise-free one is inverse to the dose; thinned or independent."""
    sensitivity = model.sensitivity()
    seen = sensitivity > 0.2 * sensitivity.max()
    assert model.background is not None
    expected = model.expected(truth)

    def linear(counts: NDArray[np.generic], fraction: float) -> Array:
        return (model.adjoint(counts / np.float32(fraction) - model.background) / np.where(seen, sensitivity, 1))[seen]

    reference = linear(expected, 1.0)

    def error(fraction: float, thinned: bool) -> float:
        draws = []
        for seed in range(8):
            counts = thin(poisson(expected, seed), fraction, 100 + seed) if thinned else poisson(expected * fraction, 200 + seed)
            draws.append(((linear(counts, fraction) - reference) ** 2).mean())
        return float(np.mean(draws))

    full = error(1.0, thinned=False)
    for fraction in (0.25, 0.05):
        for thinned in (True, False):
            assert error(fraction, thinned) * fraction == pytest.approx(full, rel=0.15), (fraction, thinned)


def test_osem_with_one_subset_is_mlem_and_subsets_speed_it_up(model: ForwardModel, truth: Array) -> None:
    expected = model.expected(truth)
    np.testing.assert_array_equal(osem(model, expected, 3, 1), mlem(model, expected, 3))
    slow, fast = mlem(model, expected, 12), osem(model, expected, 2, 6)
    assert np.abs(fast - slow).mean() < 0.05 * slow.mean()


def test_what_the_scanner_cannot_see_stays_zero(model: ForwardModel, truth: Array, head_scanner: Scanner) -> None:
    estimate = osem(model, poisson(model.expected(truth), seed=5), 2, 6)
    outside = ~field_of_view(head_scanner)
    assert outside.any()
    assert not estimate[outside].any()
    assert np.isfinite(estimate).all()
    assert estimate.min() >= 0


def test_lines_without_counts_or_sensitivity_do_no_harm(model: ForwardModel, truth: Array) -> None:
    assert model.factors is not None
    blocked = model.factors.copy()
    blocked[:, :, 2] = 0.0
    model = replace(model, factors=blocked, background=None, image_operators=())
    estimate = osem(model, poisson(model.expected(truth), seed=6), 2, 5)
    assert np.isfinite(estimate).all()
    assert not estimate[:, :, 2].any()
    assert not osem(model, np.zeros(blocked.shape, dtype=np.uint32), 1, 5).any()


def test_what_one_subset_does_not_see_is_left_to_the_others(model: ForwardModel, truth: Array) -> None:
    """All lines of one subset through a plane are blocked; the plane's image comes from the other five."""
    assert model.factors is not None
    blocked = model.factors.copy()
    blocked[:, ::6, 2] = 0.0
    model = replace(model, factors=blocked, background=None, image_operators=())
    estimate = osem(model, model.expected(truth), 8, 6)
    warm = truth[:, :, 2] > 3900
    assert estimate[:, :, 2][warm].mean() == pytest.approx(truth[:, :, 2][warm].mean(), rel=0.02)


def test_reconstruction_continues_from_an_initial_image(model: ForwardModel, truth: Array) -> None:
    counts = poisson(model.expected(truth), seed=7)
    steps: list[int] = []
    halfway = osem(model, counts, 2, 6, callback=lambda iteration, _, __: steps.append(iteration))
    np.testing.assert_array_equal(osem(model, counts, 2, 6, initial=halfway), osem(model, counts, 4, 6))
    assert steps == [1, 2]


@pytest.mark.parametrize("subsets", [1, 2, 3, 6, 7, 21, 28])
def test_subsets_are_visited_once_each_and_neighbours_are_far_apart(subsets: int) -> None:
    order = subset_order(subsets)
    assert sorted(order) == list(range(subsets))
    if subsets >= 7:
        hops = np.diff(order) % subsets
        assert np.minimum(hops, subsets - hops).min() >= subsets // 5


def test_callback_is_called_only_when_asked(model: ForwardModel, truth: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a likelihood costs projections only then."""
    counts = poisson(model.expected(truth), seed=8)
    calls = 0
    project = ForwardModel.expected

    def counted(self: ForwardModel, image: Array) -> Array:
        nonlocal calls
        calls += 1
        return np.asarray(project(self, image))

    monkeypatch.setattr(ForwardModel, "expected", counted)
    seen: dict[int, Array] = {}
    final = osem(model, counts, 5, 3, callback=lambda iteration, image, _: seen.update({iteration: image}), at=[2, 5])
    assert list(seen) == [2, 5]
    assert calls == 5 * 3 + 2 * 3
    np.testing.assert_array_equal(seen[5], final)
    np.testing.assert_array_equal(seen[2], osem(model, counts, 2, 3))


def test_sensitivities_serve_every_dose(model: ForwardModel, truth: Array, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = poisson(model.expected(truth), seed=9)
    low, thinned = at_dose(model, 0.25), thin(counts, 0.25, seed=10)
    expected = osem(model, counts, 2, 6), osem(low, thinned, 2, 6)
    known = subset_sensitivities(model, 6)
    monkeypatch.delattr(ForwardModel, "sensitivity")
    for result, scan, data in zip(expected, (model, low), (counts, thinned), strict=True):
        np.testing.assert_array_equal(osem(scan, data, 2, 6, sensitivities=known), result)
    with pytest.raises(InputError, match="reconstruction/subsets: 6 sensitivities"):
        osem(model, counts, 2, 5, sensitivities=known)


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_tensors_reconstruct_as_arrays_do(model: ForwardModel, truth: Array, device: str) -> None:
    """Counts and initial image may be of either kind; no graph of gradients is built, whatever the model's parts ask for."""
    counts = poisson(model.expected(truth), seed=11)
    start = truth + np.float32(100)
    expected = osem(model, counts, 2, 4, initial=start)
    assert model.background is not None
    moved = model.to(device)
    moved.background.requires_grad_()
    tensors = torch.from_numpy(counts.astype(np.float32)).to(device), torch.from_numpy(start).to(device)
    for data, initial in ((counts, start), tensors):
        image = osem(moved, data, 2, 4, initial=initial)
        assert image.device.type == device
        assert not image.requires_grad
        np.testing.assert_allclose(image.cpu().numpy(), expected, rtol=1e-4, atol=1e-4 * expected.max())


def test_initial_image_counts_only_where_the_scanner_sees(model: ForwardModel, truth: Array, head_scanner: Scanner) -> None:
    counts = poisson(model.expected(truth), seed=12)
    start = np.full_like(truth, 500.0)
    before = start.copy()
    estimate = osem(model, counts, 1, 6, initial=start)
    assert not estimate[~field_of_view(head_scanner)].any()
    np.testing.assert_array_equal(start, before)


@pytest.mark.parametrize(("progress", "shown"), [(False, False), (None, False), (True, True)])
def test_progress_goes_to_stderr_when_asked(
    model: ForwardModel, truth: Array, progress: bool | None, shown: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """None shows it on a terminal, which a test has not."""
    osem(model, model.expected(truth), 2, 6, progress=progress)
    out, err = capfd.readouterr()
    assert not out
    assert ("reconstruction" in err and "2/2" in err) == shown


@pytest.mark.parametrize(
    ("iterations", "subsets", "message"),
    [(1, 61, "subsets: 61 subsets of 60 views"), (0, 6, "0 iterations"), (1, 0, "0 subsets")],
)
def test_impossible_reconstructions_are_refused(model: ForwardModel, truth: Array, iterations: int, subsets: int, message: str) -> None:
    with pytest.raises(InputError, match=f"reconstruction.*{message}"):
        osem(model, model.expected(truth), iterations, subsets)


def test_impossible_data_are_refused(model: ForwardModel, truth: Array) -> None:
    counts = model.expected(truth)
    assert model.background is not None
    negative, gap = counts.copy(), counts.copy()
    negative[3, 4, 1], gap[3, 4, 1] = -1.0, np.nan
    for data, scan, initial, message in [
        (negative, model, None, "counts: holds values that are negative"),
        (gap, model, None, "counts: holds values that are negative or not finite"),
        (counts[:, :, :2], model, None, "counts: shape"),
        (counts, replace(model, factors=-model.factors), None, "factors: hold values that are negative"),
        (counts, replace(model, factors=model.factors * np.float32(np.nan)), None, "factors: hold values that are negative or not finite"),
        (counts, replace(model, factors=model.factors[:, :, 0]), None, "factors: shape"),
        (counts, replace(model, scale=0.0), None, "scale: 0.0 is not positive"),
        (counts, replace(model, scale=np.nan), None, "scale: nan is not positive"),
        (counts, replace(model, background=negative), None, "background: holds values that are negative"),
        (counts, replace(model, background=model.background[:5]), None, "background: shape"),
        (counts, model, truth - 1, "initial: holds values that are negative"),
        (counts, model, np.where(truth > 0, np.inf, truth), "initial: holds values that are negative or not finite"),
        (counts, model, truth[1:], "initial: shape"),
    ]:
        with pytest.raises(InputError, match=f"reconstruction/{message}"):
            osem(scan, data, 1, 6, initial=initial)


def test_post_filter_keeps_constants_and_smooths_noise(head_scanner: Scanner) -> None:
    inside = np.broadcast_to(field_of_view(head_scanner)[:, :, None], head_scanner.image_shape)
    np.testing.assert_allclose(post_filter(inside * np.float32(7.0), 8.0, head_scanner), 7.0 * inside, rtol=1e-5)
    noise = inside * np.random.default_rng(0).random(head_scanner.image_shape, dtype=np.float32)
    smooth = post_filter(noise, 8.0, head_scanner)
    interior = ndimage.binary_erosion(inside[:, :, 1], iterations=5)
    assert smooth[interior].std() < 0.4 * noise[interior].std()
    assert post_filter(noise, 0.0, head_scanner) is noise

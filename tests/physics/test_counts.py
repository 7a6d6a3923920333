import numpy as np
import pytest
from scipy import stats

from petbench.errors import InputError
from petbench.physics.counts import FAINTEST_PLANE, expectation, plane_weights, poisson, thin
from petbench.physics.planes import planes_of
from petbench.physics.scanner import Scanner, radial_positions

BINS, DRAWS = 400, 2000


def line_integrals(scanner: Scanner) -> np.ndarray:
    profile = np.maximum(0, 1 - (radial_positions(scanner) / 40.0) ** 2)
    return np.broadcast_to(profile[:, None, None], scanner.sinogram_shape).astype(np.float32)


def test_expected_counts_add_up_as_asked(head_scanner: Scanner) -> None:
    result = expectation(line_integrals(head_scanner), head_scanner, 1e6, randoms_fraction=0.2, scatter_fraction=0.3)
    prompts, trues = result.prompts.sum(dtype=float), result.trues.sum(dtype=float)
    assert prompts == pytest.approx(1e6, rel=1e-5)
    scatter = result.background.sum(dtype=float) - 0.2e6
    assert scatter == pytest.approx(0.3 * trues, rel=1e-4)
    np.testing.assert_allclose(result.trues, result.scale * line_integrals(head_scanner), rtol=1e-5)


def test_randoms_are_the_same_in_every_bin(head_scanner: Scanner) -> None:
    result = expectation(line_integrals(head_scanner), head_scanner, 1e6, randoms_fraction=0.2, scatter_fraction=0.0)
    np.testing.assert_allclose(result.background, 0.2e6 / result.background.size, rtol=1e-6)


def test_scatter_is_broader_than_the_trues_and_without_detail(head_scanner: Scanner) -> None:
    result = expectation(line_integrals(head_scanner), head_scanner, 1e6, randoms_fraction=0.0, scatter_fraction=0.3)
    positions = radial_positions(head_scanner)

    def width(sinogram: np.ndarray) -> float:
        profile = sinogram[:, 7, 2].astype(float)
        return float(np.sqrt((positions**2 * profile).sum() / profile.sum()))

    assert width(result.background) > 2 * width(result.trues)
    assert result.background.min() >= 0


def test_no_background_when_none_is_asked_for(head_scanner: Scanner) -> None:
    result = expectation(line_integrals(head_scanner), head_scanner, 1e5, 0.0, 0.0)
    assert not result.background.any()
    assert result.trues.sum(dtype=float) == pytest.approx(1e5, rel=1e-5)


def test_a_smaller_injected_activity_has_randoms_with_its_square(head_scanner: Scanner) -> None:
    whole = expectation(line_integrals(head_scanner), head_scanner, 1e6, 0.2, 0.3)
    low = expectation(line_integrals(head_scanner), head_scanner, 1e6, 0.2, 0.3, fraction=0.25, randoms_ratio=0.0625)
    ratios = {name: low.total[name] / whole.total[name] for name in whole.total}
    assert ratios == pytest.approx({"trues": 0.25, "scatter": 0.25, "randoms": 0.0625}, rel=1e-6)
    assert low.scale == pytest.approx(0.25 * whole.scale)
    np.testing.assert_allclose(low.trues, 0.25 * whole.trues, rtol=1e-5)
    assert low.prompts.sum(dtype=float) == pytest.approx(0.25 * 0.8e6 + 0.0625 * 0.2e6, rel=1e-5)


@pytest.mark.parametrize("tof_bins", [None, 5])
def test_totals_are_those_of_the_arrays(head_scanner: Scanner, tof_bins: int | None) -> None:
    lines = line_integrals(head_scanner)
    lines = lines if tof_bins is None else lines[..., None] * np.linspace(1, 2, tof_bins, dtype=np.float32)
    result = expectation(lines, head_scanner, 1e6, 0.2, 0.3)
    assert result.prompts.shape == lines.shape
    assert result.prompts.sum(dtype=float) == pytest.approx(1e6, rel=1e-5)
    assert result.total["trues"] == pytest.approx(result.trues.sum(dtype=float), rel=1e-5)
    assert result.total["scatter"] + result.total["randoms"] == pytest.approx(result.background.sum(dtype=float), rel=1e-5)
    assert sum(result.total.values()) == pytest.approx(1e6, rel=1e-5)


def test_time_of_flight_bins_have_their_own_scatter_and_the_same_randoms(head_scanner: Scanner) -> None:
    lines = line_integrals(head_scanner)[..., None] * np.array([0.0, 1.0, 3.0], dtype=np.float32)
    randoms = expectation(lines, head_scanner, 1e6, 0.2, 0.0).background
    np.testing.assert_allclose(randoms, 0.2e6 / lines.size, rtol=1e-6)
    scatter = expectation(lines, head_scanner, 1e6, 0.0, 0.3).background
    assert not scatter[..., 0].any()
    np.testing.assert_allclose(scatter[..., 2], 3 * scatter[..., 1], rtol=1e-4)


def test_each_plane_of_a_slice_scope_expects_the_counts(head_scanner: Scanner) -> None:
    uptake = np.array([1.0, 0.3, 0.0, 0.02], dtype=np.float32)
    lines = line_integrals(head_scanner) * uptake
    weights = plane_weights(lines)
    np.testing.assert_allclose(weights, [1, 1 / 0.3, 1 / FAINTEST_PLANE, 1 / FAINTEST_PLANE], rtol=1e-5)
    result = expectation(lines * weights.astype(np.float32), head_scanner, 1e5, 0.2, 0.3, scope="slice")
    prompts = result.prompts.sum(axis=(0, 1), dtype=float)
    np.testing.assert_allclose(prompts, [1e5, 1e5, 2e4, 2e4 + 8e4 * 0.02 / FAINTEST_PLANE], rtol=1e-4)


def test_randoms_of_oblique_planes_follow_their_ring_pairs() -> None:
    entry = {"ring_radius_mm": 80.0, "crystals_per_ring": 60, "radial": "uniform", "radial_bins": 20, "radial_spacing_mm": 4.0}
    entry |= {"name": "rings", "views": 6, "planes": 7, "plane_spacing_mm": 4.0, "image": {"shape": [16, 16, 7], "voxel_mm": [4.0] * 3}}
    rings = Scanner.from_entry(entry | {"fov_mm": 60.0, "oblique": {"rings": 4, "max_ring_difference": 2, "span": 3}})
    planes = planes_of(rings, "oblique")
    lines = np.ones((20, 6, planes.size), dtype=np.float32)
    randoms = expectation(lines, rings, 1e5, 0.4, 0.0, geometry="oblique").background
    assert randoms.sum(dtype=float) == pytest.approx(0.4e5, rel=1e-5)
    np.testing.assert_allclose(
        randoms / randoms[0, 0, 0], np.broadcast_to(planes.ring_pairs / planes.ring_pairs[0], lines.shape), rtol=1e-5
    )
    only = np.zeros_like(lines)
    first = planes.segments[1]
    only[:, :, first.first_plane : first.first_plane + first.planes] = 1
    scatter = expectation(only, rings, 1e5, 0.0, 0.3, geometry="oblique").background
    np.testing.assert_array_equal(scatter.any(axis=(0, 1)), only.any(axis=(0, 1)))  # segments do not leak into each other


@pytest.mark.parametrize(
    ("counts", "randoms", "scatter", "field"),
    [
        (0, 0.2, 0.3, "counts"),
        (1e5, 1.0, 0.3, "randoms_fraction"),
        (1e5, -0.1, 0.3, "randoms"),
        (1e5, 0.2, -1, "scatter_fraction"),
        (float("nan"), 0.2, 0.3, "counts"),
        (1e5, float("nan"), 0.3, "randoms"),
        (1e5, 0.2, float("nan"), "scatter"),
    ],
)
def test_numbers_out_of_range_are_refused(head_scanner: Scanner, counts: float, randoms: float, scatter: float, field: str) -> None:
    with pytest.raises(InputError, match=field):
        expectation(line_integrals(head_scanner), head_scanner, counts, randoms, scatter)


def test_unseen_activity_is_refused(head_scanner: Scanner) -> None:
    nothing = np.zeros(head_scanner.sinogram_shape, dtype=np.float32)
    with pytest.raises(InputError, match="sees none"):
        expectation(nothing, head_scanner, 1e5, 0.2, 0.3)
    with pytest.raises(InputError, match="sees none"):
        plane_weights(nothing)


def test_a_bin_holds_what_32_bits_hold() -> None:
    assert poisson(np.full((2, 2, 2), 4.28e9), seed=1).min() > 4.27e9
    for mean, background in ((4.3e9, None), (4e9, np.full((2, 2, 2), 4e8)), (float("nan"), None)):
        with pytest.raises(InputError, match=r"simulation/counts: a bin expects .* lower the counts"):
            poisson(np.full((2, 2, 2), mean), seed=1, background=background)


@pytest.mark.parametrize("mean", [0.3, 4.0, 900.0])
def test_poisson_mean_and_variance(mean: float) -> None:
    counts = poisson(np.full(200_000, mean, dtype=np.float32), seed=5).astype(float)
    n = counts.size
    assert abs(counts.mean() - mean) < 5 * np.sqrt(mean / n)
    # Variance of the sample variance: (mu4 - sigma^4) / n with mu4 = mean + 3 mean^2.
    assert abs(counts.var(ddof=1) - mean) < 5 * np.sqrt((mean + 2 * mean**2) / n)


@pytest.mark.parametrize("fraction", [0.04, 0.25, 0.5])
def test_thinning_given_the_counts_is_binomial(fraction: float) -> None:
    counts = np.full(100_000, 37, dtype=np.uint32)
    thinned = thin(counts, fraction, seed=9)
    assert (thinned <= counts).all()
    mean, variance = 37 * fraction, 37 * fraction * (1 - fraction)
    assert abs(thinned.mean() - mean) < 5 * np.sqrt(variance / counts.size)
    fourth = stats.binom(37, fraction).stats("k") * variance**2 + 2 * variance**2
    assert abs(thinned.var(ddof=1) - variance) < 5 * np.sqrt(fourth / counts.size)


def test_thinning_over_realisations_is_poisson_and_correlates_with_its_parent() -> None:
    expected, fraction = np.linspace(1.0, 30.0, BINS), 0.25
    parents = np.stack([poisson(expected, seed) for seed in range(DRAWS)]).astype(float)
    children = np.stack([thin(parent.astype(np.uint32), fraction, 10_000 + seed) for seed, parent in enumerate(parents)]).astype(float)
    mean = fraction * expected
    variance = children.var(axis=0, ddof=1) / mean
    covariance = ((children - mean) * (parents - expected)).mean(axis=0) / mean
    # Fourth moments of a Poisson child c of a parent p: Var[(c - m)^2] / m^2 = 2 + 1/m, Var[(c - m)(p - e)] / m^2 = 1 + e/m + 1/m.
    assert abs(variance.mean() - 1) < 5 * np.sqrt((2 + (1 / mean).mean()) / (DRAWS * BINS))
    spread = np.sqrt((1 + 1 / fraction + (1 / mean).mean()) / (DRAWS * BINS))
    assert abs(covariance.mean() - 1) < 5 * spread
    assert np.abs(children.mean(axis=0) - mean).max() < 5 * np.sqrt(mean.max() / DRAWS)


def test_whole_fraction_keeps_every_count_and_seeds_repeat() -> None:
    counts = poisson(np.full(1000, 5.0), seed=1)
    np.testing.assert_array_equal(thin(counts, 1.0, seed=2), counts)
    np.testing.assert_array_equal(thin(counts, 0.3, seed=2), thin(counts, 0.3, seed=2))
    assert (thin(counts, 0.3, seed=2) != thin(counts, 0.3, seed=3)).any()


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.01, float("nan")])
def test_fractions_out_of_range_are_refused(fraction: float) -> None:
    with pytest.raises(InputError, match="outside"):
        thin(np.ones(3, dtype=np.uint32), fraction, seed=0)

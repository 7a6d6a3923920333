"""Measures on distributions whose distances, ranges and recoveries are known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from petbench.errors import InputError
from petbench.positron_range.measures import (
    EPSILON,
    axis_profiles,
    background_of,
    distances_to_runs,
    image_distances,
    kernel_distances,
    kl_divergence,
    l1_distance,
    lesion_measures,
    lesion_parts,
    mean_range_mm,
    middle_voxel,
    near_interfaces,
)

rng = np.random.default_rng(11)
SIZE = 11


def gaussian(sigma_mm: float, size: int = SIZE, voxel_mm: float = 2.0) -> np.ndarray:
    """A normal distribution, exactly integrated over the voxels and cut to `size` of them."""
    from scipy.special import ndtr

    edges = (np.arange(size + 1) - size / 2) * voxel_mm / sigma_mm
    line = np.diff(ndtr(edges))
    return line[:, None, None] * line[None, :, None] * line[None, None, :]


distributions = arrays(np.float64, 6, elements=st.floats(0, 1)).filter(lambda values: values.sum() > 1e-3)


@given(distributions, distributions)
def test_divergence_is_never_negative_and_bounds_the_l1_distance(p: np.ndarray, q: np.ndarray) -> None:
    """Pinsker: l1^2 / 2 <= KL, here of the mixed distributions, whose l1 is 1 - epsilon of that of p and q."""
    kl, l1 = kl_divergence(p, q), (1 - EPSILON) * l1_distance(p, q)
    assert kl >= l1**2 / 2 - 1e-12
    assert kl_divergence(p, 3 * p) == pytest.approx(0, abs=1e-12)
    assert l1_distance(p, 3 * p) == pytest.approx(0, abs=1e-12)


def test_distances_of_two_voxels_are_as_computed_by_hand() -> None:
    p, q = np.array([3.0, 1.0]), np.array([1.0, 1.0])
    assert l1_distance(p, q) == pytest.approx(0.5)
    exact = 0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    assert kl_divergence(p, q, 1e-9) == pytest.approx(exact, rel=1e-6)
    assert l1_distance(np.array([1, 0]), np.array([0, 1])) == 2
    # All of p where q has only its share of the even distribution.
    mixed = (1 - 0.5) + 0.5 / 2, 0.5 / 2
    expected = mixed[0] * np.log(mixed[0] / mixed[1]) + mixed[1] * np.log(mixed[1] / mixed[0])
    assert kl_divergence(np.array([1, 0]), np.array([0, 1]), 0.5) == pytest.approx(expected)


def test_what_lies_beyond_a_kernel_counts() -> None:
    kernel = gaussian(2.0)
    lost = 0.8 * kernel
    assert kernel_distances(kernel, kernel)["l1"] == pytest.approx(0, abs=1e-12)
    assert kernel_distances(kernel / kernel.sum(), lost / kernel.sum())["l1"] == pytest.approx(0.4, rel=1e-6)


@pytest.mark.parametrize("bad", [np.zeros(3), np.array([1.0, -1.0, 2.0]), np.array([1.0, np.nan, 1.0]), np.ones(4)])
def test_what_is_no_distribution_is_refused(bad: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"^distance"):
        l1_distance(np.ones(3), bad)
    with pytest.raises(InputError, match=r"^epsilon"):
        kl_divergence(np.ones(3), np.ones(3), epsilon=0.0)


@pytest.fixture(scope="module")
def runs() -> list[np.ndarray]:
    """Three independent runs of the same medium and positrons."""
    truth = gaussian(3.0).ravel() / gaussian(3.0).sum()
    return [rng.multinomial(200_000, truth).reshape((SIZE,) * 3) / 200_000 for _ in range(3)]


def test_another_run_is_at_the_floor_and_the_exact_model_below_it(runs: list[np.ndarray]) -> None:
    another = distances_to_runs((runs[0], runs[1]), runs[2])
    assert another["l1_ratio"] == pytest.approx(1, abs=0.05)
    assert another["kl_ratio"] == pytest.approx(1, abs=0.1)
    exact = distances_to_runs((runs[0], runs[1]), gaussian(3.0) / gaussian(3.0).sum())
    assert exact["l1_ratio"] == pytest.approx(1 / np.sqrt(2), abs=0.05)
    assert exact["kl_ratio"] == pytest.approx(0.5, abs=0.1)
    wrong = distances_to_runs((runs[0], runs[1]), gaussian(3.6) / gaussian(3.6).sum())
    assert wrong["l1_ratio"] > 3
    assert wrong["l1_floor"] == another["l1_floor"] == exact["l1_floor"]


def test_the_squared_error_is_free_of_the_runs_noise() -> None:
    truth = rng.uniform(5, 15, (40, 40, 40))
    off = truth + rng.normal(0, 1.0, truth.shape)
    noisy = (rng.poisson(truth).astype(float), rng.poisson(truth).astype(float))
    everywhere = np.ones(truth.shape, bool)
    found = image_distances(noisy, off, everywhere)
    assert found["nrmse"] == pytest.approx(1.0 / truth.mean(), rel=0.1)
    assert abs(image_distances(noisy, truth, everywhere)["nrmse"]) < 0.05
    assert image_distances(noisy, truth, everywhere)["l1_ratio"] == pytest.approx(1 / np.sqrt(2), abs=0.02)
    part = np.zeros(truth.shape, bool)
    part[:10] = True
    worse = np.where(part, off, 2 * truth)
    assert image_distances(noisy, worse, part) == image_distances(noisy, off, part)


@pytest.mark.parametrize(("sigma_mm", "within"), [(1.0, 0.06), (2.0, 0.02), (3.0, 0.01)])
def test_the_mean_range_of_a_normal_distribution(sigma_mm: float, within: float) -> None:
    kernel = gaussian(sigma_mm, size=21)
    assert mean_range_mm(kernel, 2.0) == pytest.approx(2 * sigma_mm * np.sqrt(2 / np.pi), rel=within)
    assert mean_range_mm(7 * kernel, 1.0) == pytest.approx(mean_range_mm(kernel, 2.0) / 2)


def test_the_mean_range_of_positrons_from_a_point() -> None:
    """Distances as of Ga-68 in water: most annihilate near the source, the mean is 2.3 mm."""
    distance, direction = rng.gamma(2.0, 1.15, 200_000), rng.standard_normal((200_000, 3))
    points = direction / np.linalg.norm(direction, axis=1)[:, None] * distance[:, None]
    edges = [(np.arange(22) - 10.5) * 2.0] * 3
    assert mean_range_mm(np.histogramdd(points, edges)[0], 2.0) == pytest.approx(2.3, rel=0.03)


def test_interfaces_of_a_slab() -> None:
    labels = np.zeros((20, 4, 4), np.uint8)
    labels[8:] = 1
    near = near_interfaces(labels, (2.0, 3.0, 3.0), 4.0)
    assert near[:, 0, 0].nonzero()[0].tolist() == [6, 7, 8, 9]
    assert not near_interfaces(np.zeros((4, 4, 4), np.uint8), (2.0,) * 3, 10.0).any()


def test_profiles_run_through_the_voxel_and_sum_up() -> None:
    image = rng.random((4, 5, 6))
    rows = list(axis_profiles(image, (1, 2, 3), (2.0, 3.0, 4.0)))
    assert [row["axis"] for row in rows] == ["x"] * 4 + ["y"] * 5 + ["z"] * 6
    at_centre = [row for row in rows if row["position_mm"] == 0]
    assert [row["line"] for row in at_centre] == [image[1, 2, 3]] * 3
    assert [row["position_mm"] for row in rows if row["axis"] == "y"] == [-6, -3, 0, 3, 6]
    for axis in "xyz":
        assert sum(row["projection"] for row in rows if row["axis"] == axis) == pytest.approx(image.sum())


def test_a_lesion_is_measured_as_a_whole_and_by_material() -> None:
    lesion = np.zeros((9, 9, 9), bool)
    lesion[3:6, 3:6, 3:6] = True
    labels = np.zeros(lesion.shape, np.uint8)
    labels[5:] = 1
    parts = lesion_parts(lesion, labels, ("lung", "water", "rib_bone"))
    assert {name: int(mask.sum()) for name, mask in parts.items()} == {"whole": 27, "lung": 18, "water": 9}
    assert set(lesion_parts(lesion, np.zeros_like(labels), ("lung", "water"))) == {"whole"}
    truth = np.where(lesion, 8.0, 1.0)
    image = np.where(labels == 1, 1.5, 0.75) * truth
    found = {(row["part"], row["quantity"]): row["value"] for row in lesion_measures(image, truth, {("1", k): m for k, m in parts.items()})}
    assert found["lung", "recovery"] == pytest.approx(0.75)
    assert found["water", "bias_percent"] == pytest.approx(50)
    assert found["whole", "recovery"] == pytest.approx((18 * 0.75 + 9 * 1.5) / 27)
    assert found["whole", "recovery_error"] == pytest.approx((18 * 0.25 + 9 * 0.5) / 27)
    assert found["whole", "nrmse"] == pytest.approx(np.sqrt((18 * 0.25**2 + 9 * 0.5**2) / 27))
    assert middle_voxel(lesion) == (4, 4, 4)


def test_the_background_is_a_shell_without_other_lesions() -> None:
    lesions = np.zeros((21, 21, 21), np.uint8)
    lesions[10, 10, 10], lesions[14, 10, 10] = 1, 2
    body = np.ones(lesions.shape, bool)
    body[:, :, 15:] = False
    shell = background_of(lesions, 1, body, (1.0, 1.0, 1.0), (2.0, 5.0))
    x, y, z = np.indices(lesions.shape) - 10
    distance = np.sqrt(x**2 + y**2 + z**2)
    expected = (distance > 2) & (distance <= 5) & (z < 5)
    expected[14, 10, 10] = False
    np.testing.assert_array_equal(shell, expected)
    with pytest.raises(InputError, match="background_mm"):
        background_of(lesions, 1, np.zeros_like(body), (1.0, 1.0, 1.0), (2.0, 5.0))
    with pytest.raises(InputError, match="no voxels"):
        middle_voxel(lesions == 3)

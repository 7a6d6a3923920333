from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from petbench.errors import InputError
from petbench.physics.penalties import OFFSETS, RelativeDifference, bowsher, relative_difference

Array = NDArray[np.float32]
VOXEL_MM = (4.0, 4.0, 3.0)
SHAPE = (5, 6, 4)


def image(seed: int = 0) -> Array:
    return np.random.default_rng(seed).gamma(2.0, 3.0, SHAPE).astype(np.float32)


def literal(x: Array, gamma: float, epsilon: float, kappa: Array, weigh) -> float:
    """Every ordered pair of neighbours, half; `weigh(j, k)` beside edge over distance."""
    total = 0.0
    for j in np.ndindex(x.shape):
        for step in product((-1, 0, 1), repeat=3):
            k = tuple(a + b for a, b in zip(j, step, strict=True))
            if step == (0, 0, 0) or not all(0 <= a < n for a, n in zip(k, x.shape, strict=True)):
                continue
            w = VOXEL_MM[0] / np.linalg.norm(np.multiply(step, VOXEL_MM)) * kappa[j] * kappa[k] * weigh(j, k)
            a, b = float(x[j]), float(x[k])
            total += 0.5 * w * (a - b) ** 2 / (a + b + gamma * abs(a - b) + epsilon)
    return total


def penalties() -> dict[str, RelativeDifference]:
    kappa = np.random.default_rng(4).uniform(0.5, 2.0, SHAPE).astype(np.float32)
    return {
        "plain": relative_difference(VOXEL_MM, gamma=2.0, epsilon=0.1),
        "weighted": replace(relative_difference(VOXEL_MM, gamma=0.7, epsilon=0.1), kappa=kappa),
        "bowsher": replace(bowsher(image(7), VOXEL_MM, similar=9, epsilon=0.1), kappa=kappa),
    }


@pytest.fixture(params=penalties())
def penalty(request: pytest.FixtureRequest) -> RelativeDifference:
    return penalties()[request.param]


def test_half_of_the_neighbours_and_their_opposites_are_all() -> None:
    assert len({tuple(offset) for offset in (*OFFSETS, *-OFFSETS)}) == 26


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_the_value_is_the_sum_as_written(gamma: float) -> None:
    kappa = np.random.default_rng(4).uniform(0.5, 2.0, SHAPE).astype(np.float32)
    value, _, _ = replace(relative_difference(VOXEL_MM, gamma, 0.1), kappa=kappa)(image())
    assert value == pytest.approx(literal(image(), gamma, 0.1, kappa, lambda j, k: 1.0), rel=1e-5)


def test_two_voxels_have_the_closed_form() -> None:
    pair = np.array([5.0, 2.0], dtype=np.float32).reshape(2, 1, 1)
    value, gradient, curvature = relative_difference(VOXEL_MM, gamma=2.0, epsilon=0.5)(pair)
    below = 5 + 2 + 2 * 3 + 0.5
    assert value == pytest.approx(9 / below)
    np.testing.assert_allclose(gradient.ravel(), [3 * (5 + 3 * 2 + 6 + 1) / below**2, -3 * (2 + 3 * 5 + 6 + 1) / below**2], rtol=1e-6)
    np.testing.assert_allclose(curvature.ravel(), [2 * (2 * 2 + 0.5) ** 2 / below**3, 2 * (2 * 5 + 0.5) ** 2 / below**3], rtol=1e-6)


def test_gradient_and_curvature_are_the_value_s_derivatives(penalty: RelativeDifference) -> None:
    x, rng = image(), np.random.default_rng(2)
    _, gradient, curvature = penalty(x)
    share = penalty.share

    def exact(y: NDArray[np.float64]) -> float:
        total = 0.0
        for number, offset in enumerate(OFFSETS.tolist()):
            here = tuple(slice(max(0, -s), n - max(0, s)) for s, n in zip(offset, SHAPE, strict=True))
            there = tuple(slice(max(0, s), n - max(0, -s)) for s, n in zip(offset, SHAPE, strict=True))
            w = float(penalty.strengths[number]) * (1.0 if share is None else share[number][here] / 2)
            w = w * (1.0 if penalty.kappa is None else penalty.kappa[here].astype(float) * penalty.kappa[there])
            d = y[here] - y[there]
            total += float((w * d**2 / (y[here] + y[there] + penalty.gamma * abs(d) + penalty.epsilon)).sum())
        return total

    for _ in range(6):
        place = tuple(int(rng.integers(n)) for n in SHAPE)
        step = np.zeros(SHAPE)
        step[place] = 1e-4
        values = [exact(x.astype(float) + side * step) for side in (-1, 0, 1)]
        assert gradient[place] == pytest.approx((values[2] - values[0]) / 2e-4, rel=1e-3, abs=1e-4)
        assert curvature[place] == pytest.approx((values[2] - 2 * values[1] + values[0]) / 1e-8, rel=2e-2, abs=1e-3)
    assert penalty(x)[0] == pytest.approx(exact(x.astype(float)), rel=1e-5)


def test_the_same_on_tensors(penalty: RelativeDifference) -> None:
    x = image()
    on_tensors = penalty if penalty.kappa is None else replace(penalty, kappa=torch.from_numpy(penalty.kappa))
    found, expected = on_tensors(torch.from_numpy(x)), penalty(x)
    assert found[0] == pytest.approx(expected[0], rel=1e-5)
    for tensor, array in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(tensor.numpy(), array, rtol=1e-4, atol=1e-5)


def test_threads_do_not_change_it() -> None:
    for one, two in zip(
        replace(penalties()["weighted"], threads=1)(image()), replace(penalties()["weighted"], threads=2)(image()), strict=True
    ):
        np.testing.assert_array_equal(one, two)


def test_an_even_image_costs_nothing_and_only_ratios_count() -> None:
    plain = relative_difference(VOXEL_MM, gamma=2.0, epsilon=1e-9)
    value, gradient, _ = plain(np.full(SHAPE, 3.0, np.float32))
    assert value == 0
    assert not gradient.any()
    assert plain(5 * image())[0] == pytest.approx(5 * plain(image())[0], rel=1e-5)


def test_bowsher_keeps_pairs_within_a_region_and_none_across_its_edge() -> None:
    anatomy = np.zeros(SHAPE, dtype=np.float32)
    anatomy[:2] = 1.0
    penalty = bowsher(anatomy, VOXEL_MM, similar=5, epsilon=0.1)
    step = np.where(anatomy > 0, 9.0, 2.0).astype(np.float32)
    value, gradient, _ = penalty(step)
    assert value == 0
    assert not gradient.any()
    assert relative_difference(VOXEL_MM, epsilon=0.1)(step)[0] > 1
    # A voxel keeps as many as asked, where there are so many.
    assert penalty.share is not None
    assert penalty.share.sum() == 5 * anatomy.size
    value, _, _ = bowsher(anatomy, VOXEL_MM, similar=26, gamma=2.0, epsilon=0.1)(step)
    assert value == pytest.approx(relative_difference(VOXEL_MM, 2.0, 0.1)(step)[0], rel=1e-6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: relative_difference(VOXEL_MM, gamma=-1.0), "penalty: gamma"),
        (lambda: relative_difference(VOXEL_MM, epsilon=0.0), "epsilon above zero"),
        (lambda: bowsher(image(), VOXEL_MM, similar=27), "penalty/similar: 27 of 26"),
        (lambda: bowsher(np.full(SHAPE, np.nan), VOXEL_MM), "not finite"),
    ],
)
def test_what_is_out_of_range_is_refused(make, said: str) -> None:
    with pytest.raises(InputError, match=said):
        make()

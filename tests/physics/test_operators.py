from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from petbench.physics.operators import FWHM_PER_SIGMA, ForwardModel, GaussianBlur, attenuation_factors, discrete_gaussian
from petbench.physics.projector import DirectProjector
from petbench.physics.scanner import Scanner, radial_positions, view_angles

Array = NDArray[np.float32]


def inner(a: Array, b: Array) -> float:
    return float(np.vdot(a.astype(float), b.astype(float)))


def test_blur_is_symmetric_up_to_the_edge() -> None:
    rng = np.random.default_rng(1)
    blur = GaussianBlur(7.0, (2.0, 2.0, 3.0))
    x, y = rng.random((2, 9, 10, 7), dtype=np.float32)
    assert inner(blur(x), y) == pytest.approx(inner(x, blur.adjoint(y)), rel=1e-5)


@pytest.mark.parametrize("fwhm_mm", [1.0, 4.5, 9.0])
def test_blur_of_a_point_has_the_variance_asked_for(fwhm_mm: float) -> None:
    point = np.zeros((41, 41, 41), dtype=np.float32)
    point[20, 20, 20] = 1.0
    blurred = GaussianBlur(fwhm_mm, (2.0, 2.5, 4.0))(point).astype(float)
    assert blurred.sum() == pytest.approx(1.0, rel=1e-5)
    for axis, edge in enumerate((2.0, 2.5, 4.0)):
        profile = blurred.sum(axis=tuple({0, 1, 2} - {axis}))
        variance = ((np.arange(41) - 20.0) ** 2 * edge**2 * profile).sum()
        assert variance == pytest.approx((fwhm_mm / FWHM_PER_SIGMA) ** 2, rel=5e-3)


def test_blurring_twice_adds_variances() -> None:
    twice = np.convolve(discrete_gaussian(0.6), discrete_gaussian(0.8))
    once = discrete_gaussian(1.0)
    middle = twice.size // 2
    np.testing.assert_allclose(twice[middle - 3 : middle + 4], once[once.size // 2 - 3 : once.size // 2 + 4], atol=1e-4)


def test_no_width_leaves_the_image_alone() -> None:
    image = np.random.default_rng(0).random((4, 5, 6), dtype=np.float32)
    np.testing.assert_array_equal(GaussianBlur(0.0, (2.0, 2.0, 2.0))(image), image)


def test_attenuation_factors_of_a_water_cylinder(head_scanner: Scanner, disc: Callable[..., Array]) -> None:
    factors = attenuation_factors(DirectProjector(head_scanner), 0.096 * disc(head_scanner, 80.0))
    assert factors.min() == pytest.approx(np.exp(-0.096 * 16.0), rel=0.01)
    assert factors.max() == 1.0


@pytest.mark.parametrize("subset", [None, (1, 4)])
def test_adjoint_of_the_whole_model(scanner: Scanner, subset: tuple[int, int] | None) -> None:
    """Attenuation, projection, resolution and count scale together; a resolution applied forward only would fail this."""
    rng = np.random.default_rng(3)
    projector = DirectProjector(scanner)
    factors = rng.uniform(0.2, 1.0, scanner.sinogram_shape).astype(np.float32)
    blurs = (GaussianBlur(3.0, scanner.voxel_mm), GaussianBlur(9.0, scanner.voxel_mm))
    model = ForwardModel(projector, factors, scale=0.7, image_operators=blurs)
    model = model if subset is None else model.subset(*subset)
    image = rng.random(scanner.image_shape, dtype=np.float32)
    projected = model(image)
    sinogram = rng.random(projected.shape, dtype=np.float32)
    assert inner(projected, sinogram) == pytest.approx(inner(image, model.adjoint(sinogram)), rel=1e-5)


def test_subset_of_the_model_is_the_model_of_the_subset(scanner: Scanner) -> None:
    rng = np.random.default_rng(4)
    factors, background = rng.random((2, *scanner.sinogram_shape), dtype=np.float32)
    model = ForwardModel(DirectProjector(scanner), factors, 2.0, (GaussianBlur(6.0, scanner.voxel_mm),), background)
    image = rng.random(scanner.image_shape, dtype=np.float32)
    np.testing.assert_array_equal(model.subset(2, 5).expected(image), model.expected(image)[:, 2::5])


def test_background_is_added_and_only_once(scanner: Scanner) -> None:
    background = np.full(scanner.sinogram_shape, 3.0, dtype=np.float32)
    model = ForwardModel(DirectProjector(scanner), background=background)
    nothing = np.zeros(scanner.image_shape, dtype=np.float32)
    np.testing.assert_array_equal(model.expected(nothing), background)
    assert not model(nothing).any()


def test_point_off_centre_lands_where_the_geometry_says(scanner: Scanner) -> None:
    image = np.zeros(scanner.image_shape, dtype=np.float32)
    image[20, 8, 1] = 1.0
    x, y = ((index - (n - 1) / 2) * 4.5 for index, n in zip((20, 8), scanner.image_shape[:2], strict=True))
    sinogram = DirectProjector(scanner)(image)[:, :, 1]
    positions = radial_positions(scanner)[:, None]
    for view, angle in enumerate(view_angles(scanner)):
        centre = (positions[:, 0] * sinogram[:, view]).sum() / sinogram[:, view].sum()
        assert centre == pytest.approx(x * np.cos(angle) + y * np.sin(angle), abs=1.0)

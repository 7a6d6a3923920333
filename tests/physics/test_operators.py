import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from petbench.physics.linear import LinearOperator
from petbench.physics.listmode import ListModeProjector
from petbench.physics.oblique import ObliqueProjector
from petbench.physics.operators import FWHM_PER_SIGMA, ForwardModel, GaussianBlur, attenuation_factors, discrete_gaussian
from petbench.physics.projector import DirectProjector
from petbench.physics.scanner import Scanner, TimeOfFlight, radial_positions, view_angles

Array = NDArray[np.float32]


def inner(a: Array, b: Array) -> float:
    return float(np.vdot(a.astype(float), b.astype(float)))


@pytest.fixture
def tof_scanner(scanner: Scanner) -> Scanner:
    """The small scanner with oblique planes and time of flight."""
    tof = TimeOfFlight(resolution_ps=200.0, bins=5, bin_ps=180.0)
    return replace(scanner, planes=7, image_shape=(28, 26, 7), rings=4, max_ring_difference=3, span=3, tof=tof)


class Shear(LinearOperator):
    """Moves slice z by z voxels along x: an operator whose transpose is another."""

    def _forward(self, image: NDArray[np.floating], /) -> Array:
        return np.stack([np.roll(image[:, :, z], z, axis=0) for z in range(image.shape[2])], axis=2).astype(np.float32)

    def _transpose(self, image: NDArray[np.floating], /) -> Array:
        return np.stack([np.roll(image[:, :, z], -z, axis=0) for z in range(image.shape[2])], axis=2).astype(np.float32)


def model_of(projector: Any, **changes: Any) -> ForwardModel:
    """A model with every part; the factors have no TOF axis."""
    rng = np.random.default_rng(3)
    shape = projector.sinogram_shape
    blurs = (GaussianBlur(3.0, projector.scanner.voxel_mm), Shear(), GaussianBlur(9.0, projector.scanner.voxel_mm))
    factors = rng.uniform(0.2, 1.0, shape[:3]).astype(np.float32)
    return replace(ForwardModel(projector, factors, 0.7, blurs, rng.random(shape, dtype=np.float32)), **changes)


def events(scanner: Scanner, count: int = 200) -> ListModeProjector:
    shape = ObliqueProjector(scanner, tof=True).sinogram_shape
    return ListModeProjector(scanner, "oblique", *(np.random.default_rng(6).integers(size, size=count) for size in shape))


def test_blur_equals_a_separable_convolution() -> None:
    image = np.random.default_rng(2).normal(size=(9, 30, 5)).astype(np.float32)
    blur = GaussianBlur(8.0, (2.0, 2.5, 4.0))
    expected = image.astype(float)
    for axis, kernel in enumerate(blur.kernels()):
        expected = ndimage.correlate1d(expected, kernel, axis=axis, mode="constant")
    np.testing.assert_allclose(blur(image), expected, atol=1e-6)
    np.testing.assert_allclose(blur(np.asfortranarray(image)), expected, atol=1e-6)


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
    np.testing.assert_array_equal(GaussianBlur(0.0, (2.0, 2.0, 2.0))(torch.from_numpy(image)).numpy(), image)


def test_attenuation_factors_of_a_water_cylinder(head_scanner: Scanner, disc: Callable[..., Array]) -> None:
    factors = attenuation_factors(DirectProjector(head_scanner), 0.096 * disc(head_scanner, 80.0))
    assert factors.min() == pytest.approx(np.exp(-0.096 * 16.0), rel=0.01)
    assert factors.max() == 1.0


@pytest.mark.parametrize("subset", [None, (1, 4)])
@pytest.mark.parametrize("tof", [None, False, True])
def test_adjoint_of_the_whole_model(tof_scanner: Scanner, tof: bool | None, subset: tuple[int, int] | None) -> None:
    """Attenuation, projection, resolution and count scale together; a resolution applied forward only would fail this."""
    rng = np.random.default_rng(3)
    model = model_of(DirectProjector(tof_scanner) if tof is None else ObliqueProjector(tof_scanner, tof=tof))
    model = model if subset is None else model.subset(*subset)
    image = rng.normal(0.3, 1.0, tof_scanner.image_shape).astype(np.float32)
    projected = model(image)
    data = rng.normal(0.3, 1.0, projected.shape).astype(np.float32)
    scale = float(np.linalg.norm(projected)) * float(np.linalg.norm(data))
    assert inner(projected, data) == pytest.approx(inner(image, model.adjoint(data)), abs=1e-5 * scale)


def test_adjoint_of_every_tof_bin(tof_scanner: Scanner) -> None:
    rng = np.random.default_rng(7)
    model = model_of(ObliqueProjector(tof_scanner, tof=True))
    image = rng.random(tof_scanner.image_shape, dtype=np.float32)
    projected = model(image)
    for tof_bin in range(5):
        data = np.zeros(projected.shape, dtype=np.float32)
        data[..., tof_bin] = rng.random(projected.shape[:3], dtype=np.float32)
        assert inner(projected, data) == pytest.approx(inner(image, model.adjoint(data)), rel=1e-5)


def test_adjoint_of_a_list_mode_model_and_of_its_subsets(tof_scanner: Scanner) -> None:
    rng = np.random.default_rng(8)
    projector = events(tof_scanner)
    background, factors = rng.random((2, *projector.sinogram_shape), dtype=np.float32)
    whole = model_of(projector, factors=factors, background=background)
    image = rng.random(tof_scanner.image_shape, dtype=np.float32)
    for model in (whole, whole.subset(2, 3)):
        projected = model(image)
        data = rng.random(projected.shape, dtype=np.float32)
        assert inner(projected, data) == pytest.approx(inner(image, model.adjoint(data)), rel=1e-5)
    np.testing.assert_allclose(whole.subset(2, 3).expected(image), whole.expected(image)[2::3], rtol=1e-6)


def test_operators_of_a_product_are_applied_in_both_directions_and_in_reverse(scanner: Scanner) -> None:
    projector, blur, shear = DirectProjector(scanner), GaussianBlur(9.0, scanner.voxel_mm), Shear()
    model = ForwardModel(projector, image_operators=(blur, shear))
    rng = np.random.default_rng(9)
    image, data = rng.random(scanner.image_shape, dtype=np.float32), rng.random(scanner.sinogram_shape, dtype=np.float32)
    inside = projector.field_of_view
    np.testing.assert_allclose(model(image), projector(shear(blur(image * inside))), rtol=1e-6)
    expected = inside * blur.adjoint(shear.adjoint(projector.adjoint(data)))
    np.testing.assert_allclose(model.adjoint(data), expected, rtol=1e-6)
    assert np.abs(expected - inside * projector.adjoint(data)).max() > 0.05 * expected.max()


@pytest.mark.parametrize("tof", [None, True])
def test_subset_of_the_model_is_the_model_of_the_subset(tof_scanner: Scanner, tof: bool | None) -> None:
    model = model_of(DirectProjector(tof_scanner) if tof is None else ObliqueProjector(tof_scanner, tof=True))
    image = np.random.default_rng(4).random(tof_scanner.image_shape, dtype=np.float32)
    np.testing.assert_array_equal(model.subset(2, 5).expected(image), model.expected(image)[:, 2::5])


def test_factors_without_tof_axis_hold_for_every_tof_bin(tof_scanner: Scanner) -> None:
    model = model_of(ObliqueProjector(tof_scanner, tof=True))
    full = replace(model, factors=np.repeat(model.factors[..., None], 5, axis=3))
    image = np.random.default_rng(5).random(tof_scanner.image_shape, dtype=np.float32)
    np.testing.assert_array_equal(model(image), full(image))


def test_sensitivity_is_the_back_projection_of_ones(tof_scanner: Scanner) -> None:
    """In every subset; and doubling the scale doubles it."""
    model = model_of(DirectProjector(tof_scanner))
    whole = model.sensitivity()
    np.testing.assert_array_equal(whole, model.adjoint(np.ones((38, 18, 7), dtype=np.float32)))
    np.testing.assert_allclose(sum(model.subset(i, 3).sensitivity() for i in range(3)), whole, rtol=1e-5)
    np.testing.assert_allclose(replace(model, scale=1.4).sensitivity(), 2 * whole, rtol=1e-6)


def test_a_model_gives_the_same_through_arrays_and_tensors(tof_scanner: Scanner) -> None:
    model = model_of(ObliqueProjector(tof_scanner, tof=True))
    moved = model.to("cpu")
    image = np.random.default_rng(6).random(tof_scanner.image_shape, dtype=np.float32)
    expected = model.expected(image)
    for tried in (model, moved, moved.subset(0, 1), model.subset(0, 1).to("cpu")):
        result = tried.expected(torch.from_numpy(image))
        np.testing.assert_array_equal(result.numpy(), expected)
        np.testing.assert_array_equal(tried.adjoint(result).numpy(), model.adjoint(expected))
    np.testing.assert_array_equal(moved.sensitivity().numpy(), model.sensitivity())
    lines = DirectProjector(tof_scanner)
    factors = attenuation_factors(lines, torch.from_numpy(image))
    np.testing.assert_allclose(factors.numpy(), attenuation_factors(lines, image), rtol=1e-6)


def test_constants_of_any_kind_are_taken_and_left_alone(tof_scanner: Scanner) -> None:
    """Read-only, in double precision, or a scale that NumPy made; and the results stay float32."""
    projector = DirectProjector(tof_scanner)
    factors = np.broadcast_to(0.5, projector.sinogram_shape)
    model = ForwardModel(projector, factors, np.float64(2.0), background=factors)
    image = np.ones(tof_scanner.image_shape, dtype=np.float32)
    assert model.expected(image).dtype == model.sensitivity().dtype == np.float32
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for tried in (model, model.to("cpu")):
            result = tried.expected(torch.from_numpy(image))
            assert result.dtype == torch.float32
            np.testing.assert_array_equal(result.numpy(), model.expected(image))


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

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from petbench.physics.projector import DirectProjector, numba_threads
from petbench.physics.scanner import Scanner, field_of_view, radial_positions, view_angles

Array = NDArray[np.float32]


def random_pair(projector: DirectProjector, seed: int = 0) -> tuple[Array, Array]:
    """A random image and a random sinogram; not positive everywhere, so that errors cannot hide behind a large sum."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0.3, 1.0, projector.scanner.image_shape).astype(np.float32)
    sinogram = rng.normal(0.3, 1.0, projector.sinogram_shape).astype(np.float32)
    return image, sinogram


def literal_joseph(image: Array, scanner: Scanner) -> NDArray[np.float64]:
    """Joseph's method line by line, as written: step along the axis the line follows most, interpolate linearly across it."""
    edge = scanner.voxel_mm[0]
    image = np.pad(image * field_of_view(scanner)[:, :, None], ((1, 1), (1, 1), (0, 0))).astype(np.float64)
    x, y = ((np.arange(n) - (n - 1) / 2) * edge for n in image.shape[:2])
    sinogram = np.zeros(scanner.sinogram_shape)
    for v, angle in enumerate(view_angles(scanner)):
        cosine, sine = np.cos(angle), np.sin(angle)
        for k, r in enumerate(radial_positions(scanner)):
            for plane in range(scanner.planes):
                if abs(cosine) >= abs(sine):
                    samples = [np.interp((r - y[j] * sine) / cosine, x, image[:, j, plane], left=0, right=0) for j in range(y.size)]
                    sinogram[k, v, plane] = sum(samples) * edge / abs(cosine) / 10
                else:
                    samples = [np.interp((r - x[i] * cosine) / sine, y, image[i, :, plane], left=0, right=0) for i in range(x.size)]
                    sinogram[k, v, plane] = sum(samples) * edge / abs(sine) / 10
    return sinogram


def test_equals_the_literal_line_by_line_method(scanner: Scanner) -> None:
    projector = DirectProjector(scanner)
    image, _ = random_pair(projector)
    expected = literal_joseph(image, scanner)
    np.testing.assert_allclose(projector(image), expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("subset", [None, (0, 5), (3, 5), (17, 18)])
def test_adjoint_is_the_transpose(scanner: Scanner, subset: tuple[int, int] | None) -> None:
    projector = DirectProjector(scanner) if subset is None else DirectProjector(scanner).subset(*subset)
    image, sinogram = random_pair(projector)
    projected, backprojected = projector(image), projector.adjoint(sinogram)
    scale = np.linalg.norm(projected.astype(float)) * np.linalg.norm(sinogram.astype(float))
    assert np.vdot(projected.astype(float), sinogram) == pytest.approx(np.vdot(image.astype(float), backprojected), abs=1e-6 * scale)


def test_adjoint_is_the_transpose_entry_by_entry(scanner: Scanner) -> None:
    """Rows of the matrix read through `adjoint` are those read through the projector."""
    projector = DirectProjector(scanner)
    for k, v in [(0, 0), (19, 4), (37, 9), (5, 13)]:
        line = np.zeros(projector.sinogram_shape, dtype=np.float32)
        line[k, v, 1] = 1.0
        weights = projector.adjoint(line)
        for i, j in [*np.argwhere(weights[:, :, 1] > 0)[:6], (14, 13)]:
            point = np.zeros(scanner.image_shape, dtype=np.float32)
            point[i, j, 1] = 1.0
            assert projector(point)[k, v, 1] == pytest.approx(weights[i, j, 1], abs=1e-6)


def test_axis_aligned_rays_are_row_sums_times_the_voxel_size(head_scanner: Scanner) -> None:
    projector = DirectProjector(head_scanner)
    image, _ = random_pair(projector)
    image *= field_of_view(head_scanner)[:, :, None]
    sinogram = projector(image)
    np.testing.assert_allclose(sinogram[:, 0], image.sum(axis=1) * 0.4, atol=1e-5)
    np.testing.assert_allclose(sinogram[:, 30], image.sum(axis=0) * 0.4, atol=1e-5)


def test_uniform_cylinder_gives_its_chords(head_scanner: Scanner, disc: Callable[..., Array]) -> None:
    finer = replace(head_scanner, image_shape=(192, 192, 4), voxel_mm=(1.0, 1.0, 4.0))
    radius_mm, x_mm, y_mm = 60.0, 10.0, -15.0
    sinogram = DirectProjector(finer)(disc(finer, radius_mm, x_mm, y_mm))
    angles = view_angles(finer)
    distance = radial_positions(finer)[:, None] - (x_mm * np.cos(angles) + y_mm * np.sin(angles))[None, :]
    diameter = 2 * radius_mm

    def chord(r: NDArray[np.float64]) -> NDArray[np.float64]:
        return 2 * np.sqrt(np.maximum(radius_mm**2 - r**2, 0))

    # At the edge the chord falls vertically, so there it is averaged over what a bin sees: a voxel and the interpolation between two.
    box = np.full(10, 0.1)
    seen = np.convolve(np.convolve(box, box), box)
    average = sum(w * chord(distance + t) for w, t in zip(seen, np.linspace(-1.35, 1.35, seen.size), strict=True))
    millimetres = 10 * sinogram[:, :, 0]
    assert np.abs(millimetres - average).max() < 0.015 * diameter
    off_the_edge = np.abs(np.abs(distance) - radius_mm) > 0.05 * radius_mm
    assert np.abs(millimetres - chord(distance))[off_the_edge].max() < 0.005 * diameter


@pytest.mark.parametrize("count", [1, 4, 7])
def test_subsets_add_up_to_the_whole(scanner: Scanner, count: int) -> None:
    projector = DirectProjector(scanner)
    image, sinogram = random_pair(projector)
    whole, parts = projector(image), [projector.subset(index, count) for index in range(count)]
    for index, part in enumerate(parts):
        np.testing.assert_array_equal(part(image), whole[:, index::count])
    total = sum(part.adjoint(sinogram[:, index::count]) for index, part in enumerate(parts))
    np.testing.assert_allclose(total, projector.adjoint(sinogram), atol=1e-4)
    assert sorted(np.concatenate([part.views for part in parts])) == list(range(scanner.views))


def test_outside_the_field_of_view_nothing_is_seen(scanner: Scanner) -> None:
    projector = DirectProjector(scanner)
    outside = ~np.broadcast_to(projector.field_of_view, scanner.image_shape)
    assert outside.any()
    assert not projector(outside.astype(np.float32)).any()
    backprojected = projector.adjoint(np.ones(projector.sinogram_shape, dtype=np.float32))
    assert not backprojected[outside].any()
    assert (backprojected[~outside] > 0).all()


def test_counts_of_a_point_do_not_depend_on_where_it_is(head_scanner: Scanner) -> None:
    """With bins a voxel wide or finer each view holds the same total: voxel area over bin width, up to the interpolation."""
    finer = replace(head_scanner, radial_bins=960, radial_spacing_mm=0.2)
    projector = DirectProjector(finer)
    for i, j in [(24, 24), (5, 24), (30, 40)]:
        point = np.zeros(finer.image_shape, dtype=np.float32)
        point[i, j, 0] = 1.0
        np.testing.assert_allclose(projector(point)[:, :, 0].sum(axis=0) * 0.02, 0.16, rtol=0.01)


def test_planes_do_not_mix(scanner: Scanner) -> None:
    image = np.zeros(scanner.image_shape, dtype=np.float32)
    image[..., 1] = 1.0
    sinogram = DirectProjector(scanner)(image)
    assert sinogram[..., 1].any()
    assert not sinogram[..., [0, 2]].any()


def test_memory_order_and_threads_change_nothing(scanner: Scanner) -> None:
    projector = DirectProjector(scanner)
    image, sinogram = random_pair(projector)
    np.testing.assert_array_equal(projector(np.asfortranarray(image)), projector(image))
    np.testing.assert_array_equal(projector.adjoint(np.asfortranarray(sinogram)), projector.adjoint(sinogram))
    single = DirectProjector(scanner, threads=1)
    np.testing.assert_array_equal(single(image), projector(image))
    np.testing.assert_array_equal(single.adjoint(sinogram), projector.adjoint(sinogram))


def test_thread_count_is_limited_and_restored() -> None:
    import numba

    before = numba.get_num_threads()
    with numba_threads(10_000):
        assert numba.get_num_threads() == numba.config.NUMBA_NUM_THREADS
    with numba_threads(1):
        assert numba.get_num_threads() == 1
    assert numba.get_num_threads() == before


def test_wrong_shapes_are_refused(scanner: Scanner) -> None:
    projector = DirectProjector(scanner)
    with pytest.raises(ValueError, match="expected an array of shape"):
        projector(np.zeros((4, 4, 4), dtype=np.float32))
    with pytest.raises(ValueError, match="expected an array of shape"):
        projector.subset(0, 2).adjoint(np.zeros(projector.sinogram_shape, dtype=np.float32))

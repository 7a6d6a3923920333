from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage, stats

from petbench.errors import InputError
from petbench.physics.lines import lines_of_bins
from petbench.physics.oblique import ObliqueProjector, tof_timing
from petbench.physics.planes import planes_of
from petbench.physics.projector import DirectProjector
from petbench.physics.projectors import projector_of
from petbench.physics.scanner import Scanner, field_of_view, radial_positions, view_angles

Array = NDArray[np.float32]


def random_pair(projector: ObliqueProjector, seed: int = 0) -> tuple[Array, Array]:
    """A random image and a random sinogram; not positive everywhere, so that errors cannot hide behind a large sum."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0.3, 1.0, projector.scanner.image_shape).astype(np.float32)
    sinogram = rng.normal(0.3, 1.0, projector.sinogram_shape).astype(np.float32)
    return image, sinogram


def literal_joseph(image: Array, scanner: Scanner, start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """Joseph's method for one line, as written, without and with TOF: the integral and that of every TOF bin."""
    voxel = np.array(scanner.voxel_mm)
    image = (image * field_of_view(scanner)[:, :, None]).astype(float)
    first, last = ((point / voxel + (np.array(image.shape) - 1) / 2) for point in (start, end))
    main = int(np.argmax(np.abs(last - first)[:2]))
    steps = np.arange(image.shape[main])
    share = (steps - first[main]) / (last - first)[main]
    points = first[:, None] + share * (last - first)[:, None]
    samples = ndimage.map_coordinates(image, points, order=1, mode="grid-constant", cval=0.0)
    length = np.linalg.norm(end - start)
    samples *= length / abs((last - first)[main]) / 10
    assert scanner.tof is not None
    distance, edges, sigma = (share - 0.5) * length, scanner.tof.edges_mm, scanner.tof.sigma_mm
    below, above = (np.array(side)[:, None] for side in (edges[:-1], edges[1:]))
    gaussian = stats.truncnorm(-3, 3, scale=sigma)
    weight = gaussian.cdf(above - distance) - gaussian.cdf(below - distance)
    return np.array([samples.sum(), *(weight @ samples)])


def test_equals_the_literal_line_by_line_method(oblique_scanner: Scanner) -> None:
    projector = ObliqueProjector(oblique_scanner)
    image, _ = random_pair(projector)
    rng = np.random.default_rng(1)
    radial, view, plane = (rng.integers(0, size, 1500) for size in projector.sinogram_shape)
    lines = zip(*lines_of_bins(oblique_scanner, "oblique", radial, view, plane), strict=True)
    expected = np.array([literal_joseph(image, oblique_scanner, start, end) for start, end in lines])
    np.testing.assert_allclose(projector(image)[radial, view, plane], expected[:, 0], atol=1e-5 * np.abs(expected[:, 0]).max())
    with_tof = replace(projector, tof=True)(image)[radial, view, plane]
    np.testing.assert_allclose(with_tof, expected[:, 1:], atol=1e-5 * np.abs(expected[:, 1:]).max())


@pytest.mark.parametrize("subset", [None, (0, 3), (2, 3), (9, 10)])
@pytest.mark.parametrize("tof", [False, True])
def test_adjoint_is_the_transpose(oblique_scanner: Scanner, subset: tuple[int, int] | None, tof: bool) -> None:
    projector = ObliqueProjector(oblique_scanner, tof=tof)
    projector = projector if subset is None else projector.subset(*subset)
    image, sinogram = random_pair(projector)
    projected, backprojected = projector(image), projector.adjoint(sinogram)
    scale = np.linalg.norm(projected.astype(float)) * np.linalg.norm(sinogram.astype(float))
    assert np.vdot(projected.astype(float), sinogram) == pytest.approx(np.vdot(image.astype(float), backprojected), abs=1e-6 * scale)


def test_adjoint_of_every_tof_bin_is_its_transpose(oblique_scanner: Scanner) -> None:
    projector = ObliqueProjector(oblique_scanner, tof=True)
    image, sinogram = random_pair(projector)
    projected = projector(image).astype(float)
    for tof_bin in range(13):
        alone = np.zeros_like(sinogram)
        alone[..., tof_bin] = sinogram[..., tof_bin]
        there, back = np.vdot(projected, alone), np.vdot(image.astype(float), projector.adjoint(alone))
        assert there == pytest.approx(back, abs=1e-5 * np.linalg.norm(projected[..., tof_bin]) * np.linalg.norm(alone))


def test_tof_bins_add_up_to_no_tof(oblique_scanner: Scanner) -> None:
    tof = oblique_scanner.tof
    assert tof is not None
    assert tof.edges_mm[-1] > 1.1 * oblique_scanner.fov_mm / 2 + 3 * tof.sigma_mm, "the bins have to cover what is seen"
    image = np.random.default_rng(0).random(oblique_scanner.image_shape, dtype=np.float32)
    whole, bins = ObliqueProjector(oblique_scanner)(image), ObliqueProjector(oblique_scanner, tof=True)(image)
    # Not divided by its sum, a Gaussian cut at three sigma falls short by as much as 2.7e-3.
    np.testing.assert_allclose(bins.sum(axis=3), whole, rtol=5e-6, atol=1e-6)


def test_tof_weights_of_every_place_have_the_sum_one(oblique_scanner: Scanner) -> None:
    timing = tof_timing(oblique_scanner, tof=True)
    middles = timing.first + timing.width * np.arange(timing.bins)
    table = (np.arange(timing.share.size) / timing.per_voxel) - timing.reach
    for place in np.linspace(-oblique_scanner.fov_mm / 2, oblique_scanner.fov_mm / 2, 501) / oblique_scanner.voxel_mm[0]:
        assert np.interp(place - middles, table, timing.share, left=0, right=0).sum() == pytest.approx(1, abs=2e-6)


@pytest.mark.parametrize("along", [-30.0, -13.0, 0.0, 20.0])
def test_a_point_falls_into_the_tof_bin_where_it_lies(oblique_scanner: Scanner, along: float) -> None:
    """In view 0 lines run along y, from end 1 at negative to end 2 at positive y; the moments of the bins are the point's place."""
    scanner, tof = oblique_scanner, oblique_scanner.tof
    assert tof is not None
    edge, size_y = scanner.voxel_mm[1], scanner.image_shape[1]
    j = round(along / edge + (size_y - 1) / 2)
    y_mm = (j - (size_y - 1) / 2) * edge
    point = np.zeros(scanner.image_shape, dtype=np.float32)
    point[10, j] = 1.0
    projector = ObliqueProjector(scanner, tof=True)
    seen = projector(point)[:, 0].astype(float)
    start, end = lines_of_bins(scanner, "oblique", np.array([12]), np.array([0]), np.array([0]))
    assert start[0, 1] < 0 < end[0, 1]
    middles = (tof.edges_mm[1:] + tof.edges_mm[:-1]) / 2
    direct = seen[:, planes_of(scanner, "oblique").segments[0].first_plane + 4]
    assert np.argmax(direct.sum(axis=0)) == np.argmin(np.abs(middles - y_mm))
    assert (direct.sum(axis=0) * middles).sum() / direct.sum() == pytest.approx(y_mm, abs=0.4)
    spread = (direct.sum(axis=0) * (middles - y_mm) ** 2).sum() / direct.sum()
    assert spread == pytest.approx(tof.sigma_mm**2 + tof.bin_mm**2 / 12, rel=0.05)  # a bin's own width blurs too


def test_direct_planes_are_those_of_the_direct_projector(oblique_scanner: Scanner) -> None:
    image, _ = random_pair(ObliqueProjector(oblique_scanner))
    direct = DirectProjector(oblique_scanner)(image)
    scale = 1e-6 * np.abs(direct).max()
    np.testing.assert_allclose(ObliqueProjector(oblique_scanner, geometry="direct")(image), direct, atol=scale)
    planes = planes_of(oblique_scanner, "oblique")
    segment = planes.segments[0]
    of_segment = ObliqueProjector(oblique_scanner)(image)[:, :, : segment.planes]
    np.testing.assert_allclose(of_segment, direct[:, :, :: segment.stride], atol=scale)


def test_axis_aligned_rays_are_row_sums_times_the_voxel_size_and_the_secant(oblique_scanner: Scanner) -> None:
    """An image that does not change along z: an oblique line sees what a direct one sees, as much longer as it is steeper."""
    scanner = replace(oblique_scanner, image_shape=(20, 20, 9), radial="uniform", radial_spacing_mm=4.5, radial_bins=20)
    image = np.random.default_rng(2).random((20, 20, 1), dtype=np.float32) * field_of_view(scanner)[:, :, None]
    projector, planes = ObliqueProjector(scanner), planes_of(scanner, "oblique")
    sinogram = projector(np.repeat(image, 9, axis=2))
    chord = 2 * np.sqrt(70.0**2 - radial_positions(scanner) ** 2)
    # Only lines that stay between the first and the last slice's middle see the image whole.
    whole = np.abs(planes.middle_mm) + np.abs(planes.difference_mm) * 39.0 / chord.min() <= 20.0
    assert planes.difference_mm[whole].any()
    for plane in np.flatnonzero(whole):
        secant = np.hypot(1.0, planes.difference_mm[plane] / chord)
        np.testing.assert_allclose(sinogram[:, 0, plane], image[..., 0].sum(axis=1) * 0.45 * secant, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(sinogram[:, 5, plane], image[..., 0].sum(axis=0) * 0.45 * secant, rtol=1e-5, atol=1e-5)


def test_uniform_cylinder_gives_its_chords_times_the_secant(head_scanner: Scanner, disc: Callable[..., Array]) -> None:
    scanner = replace(
        head_scanner, image_shape=(192, 192, 31), voxel_mm=(1.0, 1.0, 4.0), planes=31, rings=16, max_ring_difference=10, span=3, views=20
    )
    radius_mm, x_mm, y_mm = 60.0, 10.0, -15.0
    sinogram = ObliqueProjector(scanner)(disc(scanner, radius_mm, x_mm, y_mm))
    planes, angles, radial = planes_of(scanner, "oblique"), view_angles(scanner), radial_positions(scanner)
    distance = radial[:, None] - (x_mm * np.cos(angles) + y_mm * np.sin(angles))[None, :]
    chord = 2 * np.sqrt(np.maximum(radius_mm**2 - distance**2, 0))
    inside = np.abs(planes.middle_mm) + np.abs(planes.difference_mm) / 2 * 0.4 < 58.0
    assert np.abs(planes.difference_mm[inside]).max() == 72.0
    secant = np.hypot(1.0, planes.difference_mm / (2 * np.sqrt(300.0**2 - radial**2))[:, None])
    expected = chord[:, :, None] * secant[:, None, :]
    error = np.abs(10 * sinogram - expected)[..., inside] / (2 * radius_mm)
    off_the_edge = np.abs(np.abs(distance) - radius_mm) > 0.05 * radius_mm
    assert error[off_the_edge].max() < 0.005
    # At the edge the chord falls vertically, so there it is averaged over the voxel and the interpolation between two that a bin sees.
    box = np.full(10, 0.1)
    seen = np.convolve(np.convolve(box, box), box)
    shifts = np.linspace(-1.35, 1.35, seen.size)
    average = sum(w * 2 * np.sqrt(np.maximum(radius_mm**2 - (distance + t) ** 2, 0)) for w, t in zip(seen, shifts, strict=True))
    error = np.abs(10 * sinogram - average[:, :, None] * secant[:, None, :])[..., inside] / (2 * radius_mm)
    assert error.max() < 0.015


@pytest.mark.parametrize("tof", [False, True])
def test_subsets_add_up_to_the_whole(oblique_scanner: Scanner, tof: bool) -> None:
    projector = ObliqueProjector(oblique_scanner, tof=tof)
    image, sinogram = random_pair(projector)
    whole, parts = projector(image), [projector.subset(index, 3) for index in range(3)]
    for index, part in enumerate(parts):
        assert part.sinogram_shape == whole[:, index::3].shape
        np.testing.assert_array_equal(part(image), whole[:, index::3])
    total = sum(part.adjoint(sinogram[:, index::3]) for index, part in enumerate(parts))
    np.testing.assert_allclose(total, projector.adjoint(sinogram), atol=1e-4)


def test_outside_the_field_of_view_nothing_is_seen(oblique_scanner: Scanner) -> None:
    projector = ObliqueProjector(oblique_scanner)
    outside = ~np.broadcast_to(projector.field_of_view, oblique_scanner.image_shape)
    assert outside.any()
    assert not projector(outside.astype(np.float32)).any()
    backprojected = projector.adjoint(np.ones(projector.sinogram_shape, dtype=np.float32))
    assert not backprojected[outside].any()
    assert (backprojected[~outside] > 0).all()


def test_memory_order_and_threads_change_nothing(oblique_scanner: Scanner) -> None:
    projector = ObliqueProjector(oblique_scanner, tof=True)
    image, sinogram = random_pair(projector)
    single = replace(projector, threads=1)
    assert projector(image).transpose(1, 0, 3, 2).flags.c_contiguous
    np.testing.assert_array_equal(projector(np.asfortranarray(image)), projector(image))
    np.testing.assert_array_equal(projector.adjoint(np.asfortranarray(sinogram)), projector.adjoint(sinogram))
    np.testing.assert_array_equal(single(image), projector(image))
    np.testing.assert_array_equal(single.adjoint(sinogram), projector.adjoint(sinogram))


def test_projector_of_a_geometry(oblique_scanner: Scanner) -> None:
    shape = oblique_scanner.sinogram_shape
    planes = planes_of(oblique_scanner, "oblique").size
    assert projector_of(oblique_scanner).sinogram_shape == shape
    assert projector_of(oblique_scanner, tof=True).sinogram_shape == (*shape, 13)
    assert projector_of(oblique_scanner, "oblique").sinogram_shape == (*shape[:2], planes)
    projector = projector_of(oblique_scanner, "oblique", tof=True, threads=1)
    assert projector.sinogram_shape == (*shape[:2], planes, 13)
    assert (projector.tof, projector.threads) == (True, 1)
    assert not projector_of(oblique_scanner).tof


@pytest.mark.parametrize(
    ("change", "geometry", "tof", "message"),
    [
        ({"tof": None}, "oblique", True, "scanner/tof"),
        ({"rings": None}, "oblique", False, "scanner/oblique"),
        ({}, "diagonal", False, "geometry"),
    ],
)
def test_what_the_scanner_does_not_have_is_refused(
    oblique_scanner: Scanner, change: dict[str, None], geometry: str, tof: bool, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        projector_of(replace(oblique_scanner, **change), geometry, tof)


def test_wrong_shapes_are_refused(oblique_scanner: Scanner) -> None:
    projector = ObliqueProjector(oblique_scanner, tof=True)
    with pytest.raises(ValueError, match="expected an array of shape"):
        projector(np.zeros((4, 4, 4), dtype=np.float32))
    with pytest.raises(ValueError, match="expected an array of shape"):
        projector.adjoint(np.zeros(projector.sinogram_shape[:3], dtype=np.float32))

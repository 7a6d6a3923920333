import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import structural_similarity

from petbench.errors import InputError
from petbench.evaluation import metrics


@pytest.fixture
def pair():
    rng = np.random.default_rng(7)
    reference = rng.uniform(0, 20_000, (17, 15, 14))
    return reference + rng.normal(0, 2_000, reference.shape), reference


@pytest.fixture
def mask():
    region = np.zeros((17, 15, 14), bool)
    region[4:12, 3:11, 2:12] = True
    return region


def test_psnr_of_a_constant_offset_is_the_ratio_of_maximum_to_offset():
    reference = np.linspace(0, 8, 60).reshape(3, 4, 5)
    assert metrics.psnr(reference + 0.8, reference) == pytest.approx(20.0)
    assert metrics.psnr(reference + 0.8, reference, data_range=80) == pytest.approx(40.0)
    assert metrics.psnr(reference, reference) == math.inf


def test_psnr_and_nmse_together_tell_the_region(pair, mask):
    """10^(PSNR/10) NMSE is the reference's square peak over its mean square: so a published pair says where it was taken."""
    estimate, reference = pair
    reference[~mask] *= 0.01
    for region, where in ((None, np.ones_like(mask)), (mask, mask)):
        told = 10 ** (metrics.psnr(estimate, reference, region) / 10) * metrics.nmse(estimate, reference, region)
        assert told == pytest.approx(reference[where].max() ** 2 / np.mean(reference[where] ** 2))


def test_psnr_takes_its_range_from_the_region(pair, mask):
    _, reference = pair
    reference[0, 0, 0] = 1e6
    inside = reference[mask].max()
    assert metrics.psnr(reference + 1, reference, mask) == pytest.approx(20 * math.log10(inside))
    assert metrics.psnr(reference + 1, reference) == pytest.approx(120)


def test_nmse_and_mae_of_a_scaled_image(pair):
    _, reference = pair
    assert metrics.nmse(1.1 * reference, reference) == pytest.approx(0.01)
    assert metrics.mae(1.1 * reference, reference) == pytest.approx(0.1 * reference.mean())
    assert metrics.nmse(0 * reference, reference) == 1


def test_nmse_is_the_ratio_of_means(pair, mask):
    estimate, reference = pair
    ratio = np.mean((estimate - reference)[mask] ** 2) / np.mean(reference[mask] ** 2)
    assert metrics.nmse(estimate, reference, mask) == pytest.approx(ratio)


def test_ssim_is_one_for_equal_images_and_scikit_images_otherwise(pair, mask):
    estimate, reference = pair
    assert metrics.ssim(reference, reference, mask) == pytest.approx(1, abs=1e-12)
    for region, where in ((None, np.ones_like(mask)), (mask, mask)):
        _, similarity = structural_similarity(
            estimate, reference, data_range=reference[where].max(), gaussian_weights=True, use_sample_covariance=False, full=True
        )
        assert metrics.ssim(estimate, reference, region) == pytest.approx(similarity[where].mean(), rel=1e-12)


def test_ssim_cropped_to_a_small_region_equals_the_whole_map(pair):
    estimate, reference = (np.tile(image, (3, 3, 3)) for image in pair)
    region = np.zeros(reference.shape, bool)
    region[20:24, 0:3, 39:42] = True
    _, similarity = structural_similarity(
        estimate, reference, data_range=reference[region].max(), gaussian_weights=True, use_sample_covariance=False, full=True
    )
    assert metrics.ssim(estimate, reference, region) == pytest.approx(similarity[region].mean(), rel=1e-12)


def test_ssim_of_flat_images_is_its_luminance_term():
    low, high = np.full((12, 12, 3), 2.0), np.full((12, 12, 3), 5.0)
    stabiliser = (0.01 * 5) ** 2
    assert metrics.ssim(low, high) == pytest.approx((2 * 2 * 5 + stabiliser) / (4 + 25 + stabiliser))


def test_slices_are_measured_alone_and_averaged(pair):
    estimate, reference = pair
    value, used = metrics.slice_nmse(estimate, reference, axis=1)
    assert used == 15
    assert value == pytest.approx(np.mean([metrics.nmse(estimate[:, y], reference[:, y]) for y in range(15)]))
    value, _ = metrics.slice_psnr(estimate, reference)
    assert value == pytest.approx(
        np.mean([metrics.psnr(estimate[..., z], reference[..., z], data_range=reference.max()) for z in range(14)])
    )
    value, _ = metrics.slice_psnr(estimate, reference, data_range="slice")
    assert value == pytest.approx(np.mean([metrics.psnr(estimate[..., z], reference[..., z]) for z in range(14)]))
    value, _ = metrics.slice_ssim(estimate, reference, data_range=3e4)
    each = [metrics.ssim(estimate[..., z], reference[..., z], data_range=3e4) for z in range(14)]
    assert value == pytest.approx(np.mean(each))


def test_empty_slices_are_left_out_and_counted(pair):
    estimate, reference = pair
    reference[..., [0, 5]] = 0.04 * reference.max()
    kept = [z for z in range(14) if z not in (0, 5)]
    assert metrics.used_slices(reference) == kept
    full = metrics.slice_nmse(estimate, reference)
    assert full[1] == 12
    assert full == pytest.approx(metrics.slice_nmse(estimate[..., kept], reference[..., kept]))
    assert metrics.used_slices(reference, threshold=0.03) == list(range(14))


def test_slices_outside_the_region_are_left_out(pair, mask):
    estimate, reference = pair
    value, used = metrics.slice_nmse(estimate, reference, mask)
    assert used == 10
    inside = [metrics.nmse(estimate[4:12, 3:11, z], reference[4:12, 3:11, z]) for z in range(2, 12)]
    assert value == pytest.approx(np.mean(inside))


@given(scale=st.floats(1e-6, 1e6))
@settings(max_examples=10, deadline=None)
def test_units_do_not_matter(scale):
    rng = np.random.default_rng(3)
    reference = rng.uniform(0.1, 1, (12, 12, 12))
    estimate = reference + rng.normal(0, 0.1, reference.shape)
    for metric in (metrics.psnr, metrics.ssim, metrics.nmse):
        assert metric(scale * estimate, scale * reference) == pytest.approx(metric(estimate, reference), rel=1e-9)
    assert metrics.mae(scale * estimate, scale * reference) == pytest.approx(scale * metrics.mae(estimate, reference))


def test_what_lies_outside_the_region_does_not_matter(pair, mask):
    estimate, reference = pair
    changed = np.where(mask, estimate, 5e5)
    for metric in (metrics.psnr, metrics.nmse, metrics.mae, metrics.slice_psnr, metrics.slice_nmse):
        assert metric(changed, np.where(mask, reference, 9e5), mask) == metric(estimate, reference, mask)


def test_ssim_sees_no_further_than_its_window(pair):
    estimate, reference = (np.tile(image, (2, 1, 1)) for image in pair)
    region = np.zeros(reference.shape, bool)
    region[:10] = True
    changed = estimate.copy()
    changed[10 + metrics.SSIM_REACH :] = 0
    assert metrics.ssim(changed, reference, region) == pytest.approx(metrics.ssim(estimate, reference, region), rel=1e-12)
    changed[10 + metrics.SSIM_REACH - 1] = 0
    assert metrics.ssim(changed, reference, region) != pytest.approx(metrics.ssim(estimate, reference, region), rel=1e-9)


@pytest.mark.parametrize(
    "metric", [metrics.psnr, metrics.ssim, metrics.nmse, metrics.mae, metrics.slice_psnr, metrics.slice_ssim, metrics.slice_nmse]
)
def test_bad_images_are_refused(metric, pair, mask):
    estimate, reference = pair
    broken = estimate.copy()
    broken[3, 3, 3] = np.nan
    cases = [
        ((estimate[:-1], reference), "shape"),
        ((broken, reference), "NaN"),
        ((estimate, broken), "NaN"),
        ((estimate, 0 * reference), "positive"),
        ((estimate, np.where(mask, 0, reference), mask), "positive"),
        ((estimate, reference, mask[:-1]), "mask"),
        ((estimate, reference, 0 * mask), "no voxel"),
    ]
    for arguments, words in cases:
        with pytest.raises(InputError, match=words):
            metric(*arguments)


def test_a_range_that_is_no_range_is_refused(pair):
    for wrong in (0, -1, math.nan, math.inf):
        with pytest.raises(InputError, match="data_range"):
            metrics.psnr(*pair, data_range=wrong)


def disc(edge=64, radius=20.0, centre=(32, 32)):
    """A filled circle on a square slice."""
    x, y = np.indices((edge, edge))
    return (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2


def test_a_head_is_the_largest_object_with_its_own_holes_filled():
    """Nothing of the rest: not what lies beside it, not an object inside a hole by itself, not a slice of specks."""
    head = disc()
    image = 100.0 * head
    image[disc(radius=6.0)] = 0.0  # a ventricle
    image[30:33, 30:33] = 100.0  # and something in it
    image[2:8, 2:60] = 100.0  # a second object, smaller than the head
    assert np.array_equal(metrics.frame_mask(image), head)
    assert np.array_equal(metrics.frame_mask(image - 1e4), head)  # a share of the slice's range, not of its largest value
    faint = np.where(disc(), 9.0, 0.0)
    faint[disc(radius=12.0)] = 100.0
    assert np.array_equal(metrics.frame_mask(faint), disc(radius=12.0))
    assert np.array_equal(metrics.frame_mask(faint, threshold=0.05), head)
    for empty in (np.zeros((64, 64)), np.full((64, 64), 7.0)):
        assert not metrics.frame_mask(empty).any()


def test_the_smallest_object_is_a_share_of_the_slice_1000_pixels_of_256():
    for edge in (64, 256):
        least = 1000 * (edge / 256) ** 2
        for pixels, kept in ((int(np.ceil(least)), True), (int(np.ceil(least)) - 1, False)):
            image = np.zeros((edge, edge))
            image.reshape(-1)[:pixels] = 1.0  # from the first row on, so that all touch
            assert metrics.frame_mask(image).any() == kept


def test_frames_of_a_disc_have_the_psnr_ssim_and_nmse_of_the_closed_form():
    """A disc that reads a tenth too much: zero around it raises PSNR by the frame over the disc, and leaves NMSE."""
    head = disc()
    reference = np.repeat(np.where(head, 50.0, 0.0)[..., None], 3, axis=2)
    reference[~head, 1] = 4.0  # below a tenth: outside is zero, whatever is there
    reference[..., 2] = 0.0  # no head
    estimate = 1.1 * reference
    estimate[~head] = 1e3  # what a method invents outside is not seen
    found = metrics.frame_metrics(metrics.frame_slices(estimate, reference))
    share = head.mean()
    assert found["frame_slices"] == 2
    assert found["frame_nmse"] == pytest.approx(0.01)
    assert found["frame_psnr"] == pytest.approx(20 - 10 * math.log10(share))
    inside = metrics.slice_psnr(1.1 * reference[..., :2], reference[..., :2], np.repeat(head[..., None], 2, axis=2))[0]
    assert found["frame_psnr"] - inside == pytest.approx(-10 * math.log10(share))
    # Where a window sees one level only, SSIM is that of two constants; where it sees none, one; at the rim contrast costs a factor.
    flat, contrast = (2 * 1.1 + 0.01**2) / (1.1**2 + 1 + 0.01**2), 2 * 1.1 / (1.1**2 + 1)
    rim = disc(radius=26.0) & ~disc(radius=14.0)
    lowest, highest = (np.mean(np.where(rim, level, np.where(head, flat, 1.0))) for level in (flat * contrast, 1.0))
    assert lowest <= found["frame_ssim"] <= highest
    assert lowest > flat  # so that the frame alone raises it


def test_frames_are_cut_along_the_axis_and_need_a_head():
    volume = np.zeros((5, 64, 64))
    volume[2] = disc() * 10.0
    (frame,) = metrics.frame_slices(2 * volume, volume, axis=0)
    assert np.array_equal(frame[1], volume[2])
    assert np.array_equal(frame[0], 2 * volume[2])
    volume[4] = disc() - 3.0  # nothing of it is positive
    assert len(metrics.frame_slices(volume, volume, axis=0)) == 1
    specks = metrics.frame_metrics(metrics.frame_slices(volume, volume, axis=0, object_share=0.9))
    assert specks["frame_slices"] == 0
    assert all(math.isnan(value) for name, value in specks.items() if name != "frame_slices")

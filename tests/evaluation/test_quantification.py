import math

import numpy as np
import pytest
from scipy import ndimage

from petbench.data.lesions import Lesion
from petbench.errors import InputError
from petbench.evaluation.quantification import LesionRule, lesion_results, regional_bias
from petbench.evaluation.regions import brain_from_image, brain_from_labels, lesion_shell, tissue_masks

VOXEL_MM = np.array([2.0, 2.0, 2.0])


def lesion(label, kind):
    return Lesion(label, kind, centre_mm=(0.0, 0.0, 0.0), radius_mm=6.0, uptake="hot", contrast=1.5)


def ball(shape, centre, radius):
    return sum((axis - middle) ** 2 for axis, middle in zip(np.ogrid[tuple(map(slice, shape))], centre, strict=True)) <= radius**2


@pytest.fixture
def phantom():
    """White matter with a grey half, three lesions in white, and one in the MR only; activity without blur."""
    shape = (40, 36, 30)
    labels = np.zeros(shape, np.int32)
    labels[2:-2, 2:-2, 2:-2] = 3
    labels[28:-2, 2:-2, 2:-2] = 2
    labels[2:4, 2:-2, 2:-2] = 1
    activity = np.choose(labels, [0.0, 1_000.0, 20_000.0, 5_000.0])
    for index, centre, factor in ((101, (10, 10, 10), 1.5), (102, (10, 24, 10), 0.5), (103, (18, 17, 20), 1.02), (104, (20, 10, 10), 1.0)):
        where = ball(shape, centre, 3)
        labels[where] = index
        activity[where] *= factor
    kinds = {101: "pet_only", 102: "shared", 103: "shared", 104: "mr_only"}
    return activity, labels, [lesion(label, kind) for label, kind in kinds.items()]


def test_brain_of_labels_is_its_tissues_and_lesions():
    labels = np.array([0, 1, 2, 3, 4, 5, 101, 250]).reshape(2, 2, 2)
    assert brain_from_labels(labels).ravel().tolist() == [False, True, True, True, False, False, True, True]
    with pytest.raises(InputError, match="labels"):
        brain_from_labels(np.full((2, 2, 2), 4))


def test_brain_of_an_image_is_its_largest_part_without_holes():
    shape = (30, 30, 30)
    brain = ball(shape, (15, 15, 15), 9)
    image = 100.0 * brain
    image[ball(shape, (15, 15, 15), 2)] = 0
    image[1:3, 1:3, 1:3] = 300
    image += np.random.default_rng(1).uniform(0, 5, shape)
    np.testing.assert_array_equal(brain_from_image(image), brain)
    np.testing.assert_array_equal(brain_from_image(brain.astype(float)), brain)
    with pytest.raises(InputError, match="positive"):
        brain_from_image(np.zeros(shape))
    with pytest.raises(InputError, match="threshold"):
        brain_from_image(image, threshold=1.5)


def test_tissues_leave_lesions_out(phantom):
    _, labels, _ = phantom
    masks = tissue_masks(labels)
    assert set(masks) == {"csf", "grey", "white"}
    assert not (masks["white"] & (labels >= 101)).any()
    assert set(tissue_masks(np.where(labels == 1, 0, labels))) == {"grey", "white"}


def test_shell_keeps_its_distance_and_its_tissue(phantom):
    _, labels, _ = phantom
    voxel_mm = np.array([2.0, 1.0, 3.0])
    shell = lesion_shell(labels, 103, voxel_mm, gap_mm=2, width_mm=6)
    distance = ndimage.distance_transform_edt(labels != 103, sampling=voxel_mm)
    assert shell.any()
    np.testing.assert_array_equal(shell, (labels == 3) & (distance > 2) & (distance <= 8))
    with pytest.raises(InputError, match="lesion 999"):
        lesion_shell(labels, 999, voxel_mm)


def test_bias_of_a_scaled_image_is_its_scale_less_one(phantom):
    activity, labels, _ = phantom
    for mask in tissue_masks(labels).values():
        assert regional_bias(0.9 * activity, activity, mask) == pytest.approx(-0.1)
    assert math.isnan(regional_bias(activity, 0 * activity, labels == 3))
    with pytest.raises(InputError, match="no voxel"):
        regional_bias(activity, activity, labels == 77)


def test_the_truth_recovers_itself_and_low_contrast_is_left_out(phantom):
    activity, labels, lesions = phantom
    pet_only, cold, faint, mr_only = lesion_results(activity, activity, labels, lesions, VOXEL_MM)
    assert (pet_only.recovery, pet_only.contrast_recovery) == (pytest.approx(1), pytest.approx(1))
    assert (cold.recovery, cold.contrast_recovery) == (pytest.approx(1), pytest.approx(1))
    assert faint.recovery == pytest.approx(1)
    assert math.isnan(faint.contrast_recovery)
    assert mr_only.bias == mr_only.false_contrast == pytest.approx(0)
    assert math.isnan(mr_only.recovery)
    assert math.isnan(mr_only.contrast_recovery)


def test_contrast_recovery_is_the_fraction_of_contrast_left(phantom):
    activity, labels, lesions = phantom
    estimate = activity.copy()
    estimate[labels == 101] = 5_000 * 1.3  # of a true 1.5
    estimate[labels == 102] = 5_000 * 0.9  # of a true 0.5
    estimate[labels == 104] = 5_000 * 1.2  # copied from the MR
    pet_only, cold, _, mr_only = lesion_results(3 * estimate, activity, labels, lesions, VOXEL_MM)
    assert pet_only.contrast_recovery == pytest.approx(0.6)
    assert cold.contrast_recovery == pytest.approx(0.2)
    assert pet_only.recovery == pytest.approx(3 * 1.3 / 1.5)
    assert mr_only.bias == pytest.approx(3 * 1.2 - 1)
    assert mr_only.false_contrast == pytest.approx(0.2)  # whatever the level of the image


def test_blurring_lowers_the_contrast_of_hot_and_cold_lesions(phantom):
    activity, labels, lesions = phantom
    hot, cold, *_ = lesion_results(ndimage.gaussian_filter(activity, 1.5), activity, labels, lesions, VOXEL_MM)
    assert 0 < hot.contrast_recovery < 0.9
    assert 0 < cold.contrast_recovery < 0.9
    assert hot.recovery < 1 < cold.recovery


def test_a_lesion_outside_the_evaluated_part_or_without_background_is_left_out(phantom):
    activity, labels, lesions = phantom
    inside = np.ones(labels.shape, bool)
    inside[..., :9] = False
    cut, *_ = lesion_results(activity, activity, labels, lesions, VOXEL_MM, inside=inside)
    assert math.isnan(cut.recovery)
    crowded, *_ = lesion_results(activity, activity, labels, lesions, VOXEL_MM, LesionRule(min_voxels=10**6))
    assert crowded.recovery == pytest.approx(1)
    assert math.isnan(crowded.contrast_recovery)
    lost = lesion_results(activity, activity, np.where(labels == 101, 3, labels), lesions, VOXEL_MM)[0]
    assert math.isnan(lost.recovery)


def test_a_lesion_partly_outside_counts_where_its_share_inside_is_enough(phantom):
    activity, labels, lesions = phantom
    where = np.argwhere(labels == 101)[:, 2]
    inside = np.ones(labels.shape, bool)
    inside[..., : int(where.mean()) + 1] = False
    share = np.mean(inside[labels == 101])
    assert 0.2 < share < 0.5
    estimate = np.where(inside, activity, 1e9)
    for least, counted in ((share - 0.01, True), (share + 0.01, False)):
        cut, *_ = lesion_results(estimate, activity, labels, lesions, VOXEL_MM, LesionRule(min_inside=least), inside)
        assert (cut.contrast_recovery == pytest.approx(1)) is counted


def test_false_contrast_is_none_where_the_tissue_in_an_mr_only_lesion_is_another(phantom):
    """Grey matter in white, say, has a contrast of its own, which is no lesion's; neither a level nor that tissue counts."""
    activity, labels, lesions = phantom
    activity = activity.copy()
    activity[labels == 104] *= 4
    for factor, expected in ((1.0, 0.0), (1.25, 0.25), (0.5, -0.5)):
        estimate = 3 * activity
        estimate[labels == 104] *= factor
        *_, mr_only = lesion_results(estimate, activity, labels, lesions, VOXEL_MM)
        assert mr_only.false_contrast == pytest.approx(expected)
    activity[labels == 104] = 0
    assert math.isnan(lesion_results(estimate, activity, labels, lesions, VOXEL_MM)[-1].false_contrast)


def test_an_unknown_kind_is_refused(phantom):
    activity, labels, _ = phantom
    with pytest.raises(InputError, match="kind 'hot'"):
        lesion_results(activity, activity, labels, [lesion(101, "hot")], VOXEL_MM)

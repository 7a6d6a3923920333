import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import binary_fill_holes, gaussian_filter, label

from petbench.data.nifti import volume
from petbench.errors import InputError
from petbench.preprocess.intensity import head_mask, intensity_scale, scales
from petbench.preprocess.prepare import normalise

NAMES = {"low_dose": "low.nii.gz", "mr": "mr.nii.gz", "standard_dose": "standard.nii.gz"}
SCALING = {"mode": "low_dose", "percentile": 99.0, "mr_percentile": 95.0, "smooth_mm": 6.0}
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
VOXEL_MM = (4.0, 4.0, 4.0)


def head(seed, level=1.0):
    """A noisy ball off the centre, a speck beside it, and a hole in it."""
    rng = np.random.default_rng(seed)
    x, y, z = np.indices((20, 22, 18))
    ball = (x - 9) ** 2 + (y - 12) ** 2 + (z - 9) ** 2 < 49
    image = ball * (1 + 0.1 * rng.normal(size=ball.shape)) + 0.02 * rng.random(ball.shape)
    image[8:11, 11:14, 8:11] = 0
    image[1:3, 1:3, 1:3] = 3
    return (level * gaussian_filter(image, 0.5)).astype(np.float32)


def test_head_mask_is_one_filled_piece_and_follows_the_head():
    mask = head_mask(head(0))
    assert label(mask)[1] == 1
    assert (binary_fill_holes(mask) == mask).all()
    assert mask[9, 12, 9]
    assert not mask[1, 1, 1]
    x, y, z = np.indices(mask.shape)
    ball = (x - 9) ** 2 + (y - 12) ** 2 + (z - 9) ** 2 < 49
    assert 2 * (ball & mask).sum() / (ball.sum() + mask.sum()) > 0.9


def test_pet_is_scaled_by_the_low_dose_alone():
    low, mr, standard = head(0), head(1, 300), head(2)
    found = scales(low, mr, standard, SCALING, NAMES, VOXEL_MM)
    changed = scales(low, mr, standard * 7 + 3, SCALING, NAMES, VOXEL_MM)
    assert found == changed
    assert found["low_dose"] == found["standard_dose"]
    assert scales(low, mr, None, SCALING, NAMES, VOXEL_MM) == {kind: found[kind] for kind in ("low_dose", "mr")}
    assert scales(low * 2, mr, standard, SCALING, NAMES, VOXEL_MM)["low_dose"] == pytest.approx(2 * found["low_dose"])


@pytest.mark.parametrize("scaling", [SCALING | {"smooth_mm": 0}, {key: SCALING[key] for key in SCALING if key != "smooth_mm"}])
def test_without_smoothing_as_before_there_was_any_the_percentile_is_that_of_the_image_itself(scaling):
    low, mr = head(0), head(1, 300)
    found = scales(low, mr, None, scaling, NAMES, VOXEL_MM)
    assert found == {"low_dose": np.percentile(low[head_mask(low)], 99.0), "mr": np.percentile(mr[head_mask(mr)], 95.0)}


@pytest.mark.parametrize("voxel_mm", [(4.0, 4.0, 4.0), (2.0, 2.0, 3.0)])
@pytest.mark.parametrize("seed", range(3))
def test_the_standard_dose_fills_the_same_range_at_any_dose(voxel_mm, seed):
    """A head of 130 mm of which grey matter emits four times as much as white: 5000 counts/ml of it at the standard dose."""
    shape = [round(150 / edge) for edge in voxel_mm]
    place = np.stack(np.meshgrid(*((np.arange(n) - (n - 1) / 2) * edge for n, edge in zip(shape, voxel_mm, strict=True)), indexing="ij"))
    radius = np.sqrt((place**2).sum(axis=0))
    activity = np.where(radius < 65, np.where(np.sin(place / 7).prod(axis=0) + radius / 65 > 0.55, 4.0, 1.0), 0.0)
    activity = gaussian_filter(activity, [2.0 / edge for edge in voxel_mm]) * np.prod(voxel_mm) * 1.25
    rng = np.random.default_rng(seed)
    standard = rng.poisson(activity).astype(np.float32)
    level = np.percentile(gaussian_filter(activity, [2.0 / edge for edge in voxel_mm]), 99.5)
    found = []
    for fraction in (1 / 4, 1 / 20, 1 / 50, 1 / 100):
        low = rng.poisson(activity * fraction).astype(np.float32) / np.float32(fraction)
        scaling = {"mode": "low_dose", "percentile": 99.5, "mr_percentile": 99.5, "smooth_mm": 6.0}
        found.append(level / scales(low, standard, standard, scaling, NAMES, voxel_mm)["standard_dose"])
    assert 1.0 < min(found) <= max(found) < 1.35
    assert max(found) / min(found) < 1.15


def test_smoothing_is_in_millimetres_along_each_axis():
    """A point becomes a Gaussian, whose height is the share of it in one voxel."""
    point = np.zeros((61, 45, 31), np.float32)
    point[30, 22, 15] = 1
    found = intensity_scale(point, 100, "low.nii.gz", voxel_mm=(1.0, 2.0, 3.0), smooth_mm=6.0)
    assert found == pytest.approx(1 * 2 * 3 / ((2 * np.pi) ** 1.5 * 6**3), rel=0.01)


def test_each_image_by_its_own_maximum():
    low, mr, standard = head(0), head(1, 300), head(2, 2)
    low[0, 0, 0] = 50
    found = scales(low, mr, standard, SCALING | {"mode": "own_range"}, NAMES, VOXEL_MM)
    assert found == {"low_dose": 50.0, "mr": float(mr.max()), "standard_dose": float(standard.max())}


def images(low=None, mr=None, standard=None):
    data = {"low_dose": head(0) if low is None else low, "mr": head(1, 300) if mr is None else mr}
    data["standard_dose"] = head(2) if standard is None else standard
    return {kind: volume(values, AFFINE) for kind, values in data.items()}


PREPROCESS = {"grid": {"shape": [16, 16, 16]}, "scaling": SCALING}


def test_targets_above_one_are_not_clipped():
    standard = head(2)
    standard[10, 12, 10] = 9
    prepared = normalise(images(standard=standard), NAMES, PREPROCESS)
    assert prepared.volumes["standard_dose"].max() == pytest.approx(9 / prepared.scales["low_dose"])
    assert 1 < prepared.volumes["low_dose"].max() < 1.5


@given(st.floats(1e-3, 1e5))
def test_a_common_factor_changes_nothing(factor):
    base = normalise(images(), NAMES, PREPROCESS)
    other = normalise(images(head(0) * np.float32(factor), head(1) * np.float32(factor), head(2) * np.float32(factor)), NAMES, PREPROCESS)
    for kind in base.volumes:
        np.testing.assert_allclose(other.volumes[kind], base.volumes[kind], rtol=2e-5)


@pytest.mark.parametrize("kind", ["low", "mr"])
@pytest.mark.parametrize("bad", [np.zeros((20, 22, 18), np.float32), np.full((20, 22, 18), 5, np.float32), -head(0)])
def test_an_image_without_activity_is_named(kind, bad):
    with pytest.raises(InputError, match="mr.nii.gz" if kind == "mr" else "low.nii.gz"):
        normalise(images(**{kind: bad}), NAMES, {"grid": {"shape": [20, 22, 18]}, "scaling": SCALING})


def test_a_scale_that_is_not_a_number_is_refused():
    data = head(0)
    data[9, 12, 9] = np.nan
    with pytest.raises(InputError, match=r"low\.nii\.gz"):
        intensity_scale(data, 100, "low.nii.gz")

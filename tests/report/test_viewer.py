import base64
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from petbench.data.nifti import volume, write_volume
from petbench.errors import InputError
from petbench.report.viewer import ViewerSubject, display_window, head_box, load, pack, sprites, unpack

EDGE = st.integers(1, 9)


def decode(uri: str) -> np.ndarray:
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


@settings(max_examples=30, deadline=None)
@given(shape=st.tuples(EDGE, EDGE, EDGE), seed=st.integers(0, 99))
def test_sheet_gives_back_every_voxel(shape, seed):
    grey = np.random.default_rng(seed).integers(0, 256, shape)
    sheet, columns = pack(grey.astype(float), 255.0)
    assert sheet.shape[1] == columns * shape[0]
    assert np.array_equal(unpack(sheet, shape), grey)


def test_tile_has_anterior_at_the_top_and_left_at_the_left():
    head = np.zeros((5, 7, 3))
    head[0, 6, 1] = 1  # leftmost, frontmost, second slice
    sheet, columns = pack(head, 1.0)
    assert (columns, sheet.shape) == (2, (14, 10))
    assert np.argwhere(sheet == 255).tolist() == [[0, 5]]


def test_values_outside_the_window_are_clipped_not_wrapped():
    sheet, _ = pack(np.array([[[-3.0, 0.5, 7.0]]]), 1.0)
    assert sorted(sheet.ravel()[:4].tolist()) == [0, 0, 128, 255]


def test_sprites_decode_to_the_volumes_within_half_a_grey_level(volumes):
    item = sprites(volumes[0], {"m_unet": "M-UNet"})
    arrays, _, _ = load(volumes[0])
    shape = (item["width"], item["height"], item["slices"])
    box = head_box(arrays["standard_dose"])
    assert [part["method"] for part in item["volumes"]] == list(volumes[0].volumes)
    assert item["volumes"][1]["title"] == "M-UNet"
    assert item["aspect"] == pytest.approx(1.0)
    for part in item["volumes"]:
        shown = unpack(decode(part["png"]), shape) / 255 * item["window"]
        expected = np.clip(arrays[part["method"]][box], 0, item["window"])
        assert np.abs(shown - expected).max() <= 0.5001 / 255 * item["window"]


def test_window_comes_from_the_reference_alone_and_ignores_one_hot_voxel():
    reference = np.full((20, 20, 20), 100.0)
    assert display_window(reference) == 100
    reference[0, 0, 0] = 1e6
    assert display_window(reference) == pytest.approx(100)
    with pytest.raises(InputError, match="no voxel is above zero"):
        display_window(np.zeros((2, 2, 2)))


def test_head_box_holds_the_head_and_little_more():
    head = np.zeros((30, 30, 30))
    head[10:20, 12:15, 0:5] = 1
    assert head_box(head, margin=2) == (slice(8, 22), slice(10, 17), slice(0, 7))


def test_flipped_storage_shows_the_same_way_round(tmp_path, volumes):
    """A volume stored with x from right to left shows as one stored from left to right."""
    rng = np.random.default_rng(1)
    data = rng.random((8, 9, 10)).astype(np.float32)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    mirrored = affine @ np.array([[-1.0, 0, 0, 7], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    shown = []
    for name, array, matrix in (("plain", data, affine), ("mirrored", data[::-1], mirrored)):
        path = tmp_path / f"{name}.nii.gz"
        write_volume(path, array, volume(array, matrix))
        shown.append(sprites(ViewerSubject("d", "drf4", "sub-01", {"standard_dose": path}), {})["volumes"][0]["png"])
    assert shown[0] == shown[1]


def test_volumes_on_two_grids_or_without_a_reference_are_refused(tmp_path, volumes):
    other = tmp_path / "other.nii.gz"
    write_volume(other, np.ones((4, 4, 4)), volume(np.ones((4, 4, 4)), np.eye(4)))
    paths = volumes[0].volumes
    with pytest.raises(InputError, match=r"other\.nii\.gz: not on the grid of"):
        load(ViewerSubject("mni", "drf4", "sub-01", {**paths, "extra": other}))
    with pytest.raises(InputError, match="no standard_dose volume"):
        load(ViewerSubject("mni", "drf4", "sub-01", {"low_dose": paths["low_dose"]}))

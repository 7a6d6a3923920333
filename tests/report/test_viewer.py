import base64
import dataclasses
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from petbench.data.nifti import volume, write_volume
from petbench.errors import InputError
from petbench.report.viewer import (
    IMAGE_UNITS,
    KBQ_ML,
    ViewerSubject,
    display_window,
    encode,
    head_box,
    load,
    pack,
    unit_of,
    unpack,
    viewer_data,
)

EDGE = st.integers(1, 9)


def decode(uri: str) -> np.ndarray:
    head, _, body = uri.partition(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


def values(data: dict, item: dict, volume: dict) -> np.ndarray:
    """What the page's script makes of a sheet."""
    red, green, blue = np.moveaxis(decode(data["sheets"][volume["sheet"]]).astype(int), -1, 0)
    assert not blue.any()
    shape = (item["width"], item["height"], item["slices"])
    return volume["offset"] + volume["step"] * unpack((256 * red + green).astype(np.uint16), shape)


@settings(max_examples=30, deadline=None)
@given(shape=st.tuples(EDGE, EDGE, EDGE), seed=st.integers(0, 99))
def test_sheet_gives_back_every_voxel(shape, seed):
    codes = np.random.default_rng(seed).integers(0, 2**16, shape, dtype=np.uint16)
    sheet, columns = pack(codes)
    assert sheet.shape[1] == columns * shape[0]
    assert np.array_equal(unpack(sheet, shape), codes)


def test_tile_has_anterior_at_the_top_and_left_at_the_left():
    head = np.zeros((5, 7, 3), dtype=np.uint16)
    head[0, 6, 1] = 1  # leftmost, frontmost, second slice
    sheet, columns = pack(head)
    assert (columns, sheet.shape) == (2, (14, 10))
    assert np.argwhere(sheet == 1).tolist() == [[0, 5]]


@settings(max_examples=50, deadline=None)
@given(low=st.floats(-1e5, 1e5), high=st.floats(-1e5, 1e5), window=st.floats(0.01, 1e5))
def test_codes_clip_neither_hot_nor_negative_values(low, high, window):
    volume = np.array([[[low, 0.0, high, 0.37 * high]]])
    codes, offset, step = encode(volume, window)
    decoded = offset + step * codes.astype(np.float64)
    assert np.abs(decoded - volume).max() <= 0.5001 * step
    assert decoded[0, 0, 1] == 0
    spread = max(high, low, 0) - min(high, low, 0)
    assert step <= max(window / 1024, spread / 65_000)


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="NaN or infinite"):
        encode(np.array([[[1.0, np.nan]]]), 1.0)


def test_viewer_data_decode_to_the_volumes_beyond_the_window(volumes):
    data = viewer_data(volumes[:1], {"m_unet": "M-UNet"}, {"mni": KBQ_ML})
    (item,) = data["items"]
    arrays, _, _ = load(volumes[0])
    box = head_box(arrays["standard_dose"])
    assert [part["method"] for part in item["volumes"]] == list(volumes[0].volumes)
    assert item["volumes"][1]["title"] == "M-UNet"
    assert item["aspect"] == pytest.approx(1.0)
    assert (item["unit"], item["unit_size"]) == ("kBq/ml", 1000)
    assert max(array[box].max() for array in arrays.values()) > 1.2 * item["window"]
    for part in item["volumes"]:
        assert np.abs(values(data, item, part) - arrays[part["method"]][box]).max() <= 0.5001 / 1024 * item["window"]


def test_a_picture_that_two_doses_share_is_kept_once(volumes):
    first = [subject for subject in volumes if subject.subject == "sub-01"]
    shared = {kind: first[0].volumes[kind] for kind in ("standard_dose", "true_activity")}
    both = [dataclasses.replace(subject, volumes={**subject.volumes, **shared}) for subject in first]
    data = viewer_data(both, {}, {"mni": KBQ_ML})
    assert len(both) == 2
    assert len(data["sheets"]) == 3 + 3 + 2
    ends = [{part["method"]: part["sheet"] for part in item["volumes"]} for item in data["items"]]
    assert all(ends[0][kind] == ends[1][kind] for kind in shared)


def test_only_phantoms_are_known_to_be_in_becquerel():
    assert unit_of({"source": "phantom"}) == KBQ_ML
    assert unit_of({"source": "bids"}) == IMAGE_UNITS


@pytest.mark.parametrize(("told", "size"), [("Bq/mL", 1000), ("BQML", 1000), ("kBq/mL", 1), ("furlongs", None)])
def test_a_labs_values_are_called_what_its_sidecar_says(tmp_path, told, size):
    image = tmp_path / "sub-01" / "pet" / "sub-01_pet.nii.gz"
    image.parent.mkdir(parents=True)
    (tmp_path / "pet.json").write_text(f'{{"Units": "{told}"}}')  # inherited by all
    expected = IMAGE_UNITS if size is None else ("kBq/ml", size)
    assert unit_of({"source": "bids"}, image) == expected


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
        subject = ViewerSubject("d", "drf4", "sub-01", {"standard_dose": path})
        shown.append(viewer_data([subject], {}, {"d": IMAGE_UNITS})["sheets"])
    assert shown[0] == shown[1]


def test_slices_that_are_not_evaluated_are_not_shown(volumes):
    whole, *_ = load(volumes[0])
    part = dataclasses.replace(volumes[0], slices=[17, 12, 13])
    shown, _, labels = load(part)
    for name, array in shown.items():
        np.testing.assert_array_equal(array, whole[name][:, :, [12, 13, 17]])
    assert labels is not None
    assert labels.shape == shown["standard_dose"].shape
    assert viewer_data([part], {}, {"mni": KBQ_ML})["items"][0]["slices"] == 3


def test_volumes_on_two_grids_or_without_a_reference_are_refused(tmp_path, volumes):
    other = tmp_path / "other.nii.gz"
    write_volume(other, np.ones((4, 4, 4)), volume(np.ones((4, 4, 4)), np.eye(4)))
    paths = volumes[0].volumes
    with pytest.raises(InputError, match=r"other\.nii\.gz: not on the grid of"):
        load(ViewerSubject("mni", "drf4", "sub-01", {**paths, "extra": other}))
    with pytest.raises(InputError, match="no standard_dose volume"):
        load(ViewerSubject("mni", "drf4", "sub-01", {"low_dose": paths["low_dose"]}))

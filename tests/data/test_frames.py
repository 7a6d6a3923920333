"""Means of frames of dynamic images, and the sidecars that say wrongly when frames were."""

import gzip
import json

import numpy as np
import pytest

from petbench.data.frames import average_frames, frame_times, window, write_mean
from petbench.data.nifti import read_acquired, volume
from petbench.errors import InputError

AFFINE = np.diag([-2.0, 2.0, 3.0, 1.0])
RNG = np.random.default_rng(0)
DATA = RNG.normal(20, 5, (4, 5, 6, 12)).astype(np.float32)
EVEN = {"FrameDuration": [16] * 12, "FrameTimesStart": list(range(0, 192, 16))}


def dynamic(path, data=DATA, slope=None):
    image = volume(data, AFFINE)
    if slope is not None:
        image.header.set_slope_inter(*slope)
    path.write_bytes(image.to_bytes())
    return path


def test_a_low_dose_is_the_mean_of_its_frames_weighted_by_their_durations(tmp_path):
    durations = [10, 10, 20, 40, 40, 60, 60, 60, 60, 60, 60, 60]
    sidecar = {"FrameDuration": durations, "FrameTimesStart": list(np.cumsum([0, *durations[:-1]]))}
    path = dynamic(tmp_path / "a.nii")
    asked = {"long": (20, 100), "one": (21, 5), "all": (0, sum(durations))}
    means = average_frames(path, asked, sidecar)
    assert means["long"][1] == (2, 3, 20.0, 100.0)
    assert means["one"][1][:2] == (3, 1)
    for image, chosen in means.values():
        taken = slice(chosen.first, chosen.first + chosen.number)
        expected = np.average(DATA[..., taken], axis=3, weights=durations[taken])
        np.testing.assert_allclose(image.dataobj, expected, rtol=1e-6)
        np.testing.assert_array_equal(image.affine, AFFINE)


@pytest.mark.parametrize("name", ["a.nii", "named.nii.gz"])
@pytest.mark.parametrize("zipped", [True, False])
def test_compression_is_told_by_content_and_slopes_are_applied(tmp_path, name, zipped):
    stored = RNG.integers(0, 1000, (4, 5, 6, 12)).astype(np.int16)
    image = volume(stored, AFFINE)
    image.header["scl_slope"], image.header["scl_inter"], image.header["vox_offset"] = 0.5, 3, 352
    content = image.header.binaryblock + bytes(4) + stored.tobytes(order="F")
    (tmp_path / name).write_bytes(gzip.compress(content) if zipped else content)
    mean, _ = average_frames(tmp_path / name, {"x": (32, 32)}, EVEN)["x"]
    np.testing.assert_allclose(mean.dataobj, (stored[..., 2:4] * 0.5 + 3).mean(axis=3), rtol=1e-6)


def test_the_frames_of_30_minutes_of_the_monash_scans():
    starts, durations = frame_times({"FrameDuration": [16] * 356, "FrameTimesStart": [16 * k for k in range(356)]}, 356, "x")
    assert [window(starts, durations, 1800, seconds, "x")[:2] for seconds in (16, 120, 1800)] == [(113, 1), (113, 8), (113, 113)]


@pytest.mark.parametrize(
    "sidecar",
    [
        EVEN,
        {"FrameDuration": [16] * 20, "FrameTimesStart": [16 * k for k in range(20)]},
        {"FrameDuration": [16] * 9, "FrameTimesStart": [16 * k for k in range(9)]},
        {"FrameDuration": 16, "FrameTimesStart": [16 * k for k in range(12)]},
        {"FrameDuration": [16] * 12},
        {"FrameDuration": [16000] * 12, "FrameDurationUnit": "ms"},
        {
            "FrameDuration": [16 / 60] * 12,
            "FrameDurationUnits": "min",
            "FrameTimesStart": [16 * k for k in range(12)],
            "FrameTimesStartUnit": "s",
        },
    ],
    ids=["as BIDS", "longer", "shorter", "scalar", "no starts", "draft unit", "minutes"],
)
def test_even_frames_are_found_whatever_the_lists_are_like(sidecar):
    starts, durations = frame_times(sidecar, 12, "x")
    np.testing.assert_allclose(starts, EVEN["FrameTimesStart"], atol=1e-9)
    np.testing.assert_allclose(durations, 16)


def test_a_start_before_midnight_is_one():
    starts, _ = frame_times(EVEN | {"FrameTimesStart": [86399, *range(15, 191, 16)]}, 12, "x")
    assert list(starts[:3]) == [-1, 15, 31]


@pytest.mark.parametrize(
    ("change", "asked", "words"),
    [
        ({"FrameTimesStart": [0, 400, *range(416, 576, 16)][:11]}, (0, 16), "uneven"),
        ({"FrameTimesStart": [0, 400, *range(416, 576, 16)]}, (0, 32), "frames 0 and 1"),
        ({}, (160, 64), "end 192 s"),
        ({}, (1000, 16), "end 192 s"),
        ({"FrameDuration": [16] * 11 + [0]}, (0, 16), "lasts 0 s"),
        ({"FrameDuration": "n/a"}, (0, 16), "FrameDuration"),
        ({"FrameDuration": [16, None] * 6}, (0, 16), "FrameDuration"),
        ({"FrameDurationUnit": "fortnight"}, (0, 16), "fortnight"),
        ({"FrameTimesStart": [[0]] * 12}, (0, 16), "FrameTimesStart"),
    ],
)
def test_frames_that_cannot_be_told_apart_or_are_not_there_are_one_line(tmp_path, change, asked, words):
    path = dynamic(tmp_path / "a.nii")
    with pytest.raises(InputError, match=words) as error:
        average_frames(path, {"x": asked}, EVEN | change)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_broken_image_is_one_line_and_writes_nothing(tmp_path):
    whole = dynamic(tmp_path / "whole.nii").read_bytes()
    nan = DATA.copy()
    nan[1, 1, 1, 3] = np.nan
    three = volume(DATA[..., 0], AFFINE).to_bytes()
    cases = {"cut": whole[:2000], "gzip cut": gzip.compress(whole)[:900], "empty": b"", "page": b"<html>", "three": three}
    dynamic(tmp_path / "nan.nii", nan)
    cases["nan"] = (tmp_path / "nan.nii").read_bytes()
    path = tmp_path / "sub-01_pet.nii.gz"
    (tmp_path / "sub-01_pet.json").write_text(json.dumps(EVEN))
    for content in cases.values():
        path.write_bytes(content)
        with pytest.raises(InputError) as error:
            write_mean(path, tmp_path / "out.nii.gz", tmp_path / "out.json", from_s=0, seconds=64, standard_s=192)
        assert "\n" not in str(error.value)
        assert not list(tmp_path.glob("out*"))


def test_what_is_written_is_acquired_data_and_says_what_it_is(tmp_path, capsys):
    path = dynamic(tmp_path / "sub-01_pet.nii.gz")
    curated = {"TimeZero": "15:01:59", "InjectedRadioactivity": "222.264", "InjectedRadioactivityUnit": "MBq", "Unit": "Bq/ml"}
    scanner = {"AcquisitionTime": "9:30:4.000000", "RadionuclideTotalDose": 249800000.0}
    (tmp_path / "sub-01_pet.json").write_text(json.dumps(EVEN | curated | scanner))
    write_mean(path, tmp_path / "out.nii.gz", tmp_path / "out.json", from_s=32, seconds=16, standard_s=64)
    told = json.loads((tmp_path / "out.json").read_text())
    assert told["InjectedRadioactivity"] == 249.8
    assert told["TimeZero"] == "09:30:04"
    assert (told["Units"], told["DoseFraction"], told["FramesAveraged"]) == ("Bq/mL", 0.25, [2, 2])
    assert told["NotTaken"] == ["InjectedRadioactivity", "TimeZero"]
    assert "not the reconstruction" in told["Description"]
    assert "contradict" in capsys.readouterr().out
    np.testing.assert_allclose(read_acquired(tmp_path / "out.nii.gz").dataobj, DATA[..., 2], rtol=1e-6)

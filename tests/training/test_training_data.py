from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from petbench.errors import InputError
from petbench.files import read_json, write_json
from petbench.training.data import batch_numbers, open_windows

KINDS = ["low_dose", "mr", "standard_dose"]


@given(st.integers(1, 30), st.integers(1, 12), st.integers(0, 1000))
def test_each_epoch_shows_every_window_once(count, batch_size, seed):
    numbers = [n for step in range(3 * count) for n in batch_numbers(count, batch_size, step, seed)]
    for epoch in range(2):
        assert Counter(numbers[epoch * count : (epoch + 1) * count]) == Counter(range(count))


@given(st.permutations(range(8)))
def test_a_batch_follows_from_seed_and_step_whatever_was_asked_before(order):
    forward = [batch_numbers(11, 4, step, 5) for step in range(8)]
    assert {step: batch_numbers(11, 4, step, 5) for step in order} == dict(enumerate(forward))
    assert forward != [batch_numbers(11, 4, step, 6) for step in range(8)]


def test_epochs_differ():
    assert batch_numbers(20, 20, 0, 1) != batch_numbers(20, 20, 1, 1)


def test_windows_are_slices_of_the_volumes_and_stay_on_disk(prepared):
    windows = open_windows(prepared, KINDS)
    starts = [np.load(path.replace("prepared.json", "index.npy")) for path in prepared]
    assert len(windows) == sum(len(start) for start in starts)
    assert all(isinstance(data, np.memmap) for volumes in windows.volumes for data in volumes.values())
    number = len(starts[0]) + 1  # the second window of the second subject
    batch = windows.batch([0, number])
    x, y, z = starts[1][1]
    for kind, tensor in batch.items():
        assert tensor.shape == (2, 1, 16, 16, 16)
        assert tensor.dtype == torch.float32
        data = np.load(prepared[1].replace("prepared.json", f"{kind}.npy"))
        np.testing.assert_array_equal(tensor[1, 0], data[x : x + 16, y : y + 16, z : z + 16])


def test_nothing_is_read_that_is_not_asked_for(prepared):
    windows = open_windows(prepared, ["low_dose", "standard_dose"])
    assert windows.batch([0]).keys() == {"low_dose", "standard_dose"}


def test_the_diagnosis_of_a_windows_person_comes_with_it(tmp_path, prepare_subject):
    paths = [prepare_subject(tmp_path / name, seed) for seed, name in enumerate("ab")]
    for path, diagnosis in zip(paths, (1, 0), strict=True):
        write_json(path, read_json(path) | {"diagnosis": diagnosis})
    windows = open_windows(paths, ["mr", "diagnosis"])
    last = len(windows) - 1
    assert windows.batch([last, 0, 0])["diagnosis"].tolist() == [0, 1, 1]


@pytest.mark.parametrize("kind", ["regions", "diagnosis"])
def test_what_a_subject_lacks_is_named(prepared, kind):
    with pytest.raises(InputError, match=f"has no {kind}, which the entry's restore/inputs or train/supervision names"):
        open_windows(prepared, ["mr", kind])


def test_a_context_is_cut_where_the_other_volumes_are(tmp_path, prepared):
    paths = []
    for number, path in enumerate(prepared):
        paths.append(tmp_path / f"{number}.npy")
        np.save(paths[-1], np.load(path.replace("prepared.json", "low_dose.npy")) + 1 + number)
    windows = open_windows(prepared, [*KINDS, "context"], paths)
    batch = windows.batch([0, len(windows) - 1])
    torch.testing.assert_close(batch["context"], batch["low_dose"] + torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1, 1))
    assert isinstance(windows.volumes[0]["context"], np.memmap)


def test_coordinates_of_windows_are_made_where_they_lie(prepared):
    windows = open_windows(prepared, ["low_dose", "coordinates"])
    assert windows.volumes[0].keys() == {"low_dose"}
    last = len(windows) - 1
    found = windows.batch([0, last])["coordinates"]
    assert found.shape == (2, 3, 16, 16, 16)
    assert found.dtype == torch.float32
    (_, *corner), shape = windows.index[last], windows.volumes[-1]["low_dose"].shape
    expected = [2 * (first + 15) / (size - 1) - 1 for first, size in zip(corner, shape, strict=True)]
    np.testing.assert_allclose(found[1, :, -1, -1, -1], expected, rtol=1e-6)
    assert found[0, :, 0, 0, 0].tolist() == [-1, -1, -1]


def test_slices_are_two_dimensional(tmp_path, prepare_subject):
    path = prepare_subject(tmp_path / "a", 1, shape=(16, 16, 5), window=[16, 16, 1], stride=[16, 16, 1])
    batch = open_windows([path], KINDS).batch([4, 2])
    assert batch["mr"].shape == (2, 1, 16, 16)
    np.testing.assert_array_equal(batch["mr"][0, 0], np.load(tmp_path / "a" / "mr.npy")[..., 4])


def test_windows_of_several_sizes_are_refused(tmp_path, prepared, prepare_subject):
    other = prepare_subject(tmp_path / "b", 1, window=[8, 8, 8])
    with pytest.raises(InputError, match="windows of several sizes"):
        open_windows([*prepared, other], KINDS)


def test_subjects_with_voxels_of_another_size_are_refused(tmp_path, prepared, prepare_subject):
    other = prepare_subject(tmp_path / "b", 1)
    write_json(other, read_json(other) | {"voxel_mm": [2.0, 2.0, 3.0]})
    with pytest.raises(InputError, match="preprocess/grid/voxel_mm"):
        open_windows([*prepared, other], KINDS)


def test_negatives_are_slices_of_other_subjects_near_its_place(tmp_path, prepare_subject):
    paths = [
        prepare_subject(tmp_path / name, number, shape=(8, 8, 9), window=[8, 8, 1], stride=[8, 8, 1]) for number, name in enumerate("abc")
    ]
    for number, path in enumerate(paths):  # each slice says whose and which it is
        marked = np.broadcast_to(100 * number + np.arange(9), (8, 8, 9)).astype(np.float32)
        np.save(Path(path).parent / "standard_dose.npy", marked)
    windows = open_windows(paths, ["standard_dose", "negatives"])
    numbers = list(range(len(windows)))
    batch = windows.batch(numbers)
    assert batch["negatives"].shape == (len(windows), 10, 8, 8)
    assert torch.equal(windows.batch(numbers)["negatives"], batch["negatives"])
    own, found = (batch[kind].flatten(2)[..., 0] for kind in ("standard_dose", "negatives"))
    assert bool((own // 100 != found // 100).all())
    away = (own % 100 - found % 100).abs()
    assert 0.5 < float(away.mean()) < 2.5
    assert not torch.equal(windows.batch([numbers[1], numbers[0]])["negatives"][1], batch["negatives"][0])


def test_one_subject_alone_has_no_negatives(tmp_path, prepare_subject):
    path = prepare_subject(tmp_path / "a", 1, shape=(8, 8, 3), window=[8, 8, 1], stride=[8, 8, 1])
    with pytest.raises(InputError, match="negatives are slices of other subjects; train on slices, of at least two"):
        open_windows([path], ["standard_dose", "negatives"])

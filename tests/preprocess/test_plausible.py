"""A PET image that is none of a head is refused for its own fault."""

import numpy as np
import pytest

from petbench.data.nifti import volume
from petbench.errors import InputError
from petbench.preprocess.plausible import check_pet


def edited(pet, change):
    data = np.array(pet.dataobj, dtype=np.float32)
    return volume(change(data), pet.affine)


def hot(data):
    data[10, 11, 12] = 1e4 * data.max()
    return data


def body(data):
    """The head on a trunk with hot organs, a metre and more of it."""
    long = np.zeros((*data.shape[:2], 5 * data.shape[2]), np.float32)
    long[:, :, -data.shape[2] :] = data
    x, y, z = np.indices(long.shape)
    trunk = ((x - 31.5) ** 2 / 25**2 + (y - 31.5) ** 2 / 20**2 < 1) & (z < 4 * data.shape[2] + 10)
    long[trunk] += 4000
    long[(x - 31) ** 2 + (y - 31) ** 2 + (z - 20) ** 2 < 100] = 200_000
    return long


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (hot, r"voxel \[10, 11, 12\] has .* correct hot voxels"),
        (lambda data: -data, "its values are negative"),
        (lambda data: data + 8000, "an offset was added"),
        (lambda data: data - 8000, "an offset was added"),
        (
            lambda data: data * (np.sum((np.indices(data.shape).T - [26, 32, 24]) ** 2, axis=-1).T < 36),
            "stand out; supply PET of a whole head",
        ),
        (body, "shows 9.. mm of a body, more than a head; crop it"),
    ],
)
def test_a_fault_of_the_pet_is_named_as_such(pet, change, words):
    with pytest.raises(InputError, match=rf"sub-1_pet\.nii\.gz: .*{words}"):
        check_pet(edited(pet, change), "sub-1_pet.nii.gz")


@pytest.mark.parametrize("change", [lambda data: data, lambda data: data * 1e-9, lambda data: data * 1e9, lambda data: np.pad(data, 40)])
def test_a_head_is_one_in_any_units_and_field_of_view(pet, change):
    check_pet(edited(pet, change), "sub-1_pet.nii.gz")


def test_noise_is_no_fault(phantom):
    counts = np.random.default_rng(3).poisson(phantom.activity / 5000).astype(np.float32)
    check_pet(volume(counts * 5000, phantom.affine), "sub-1_pet.nii.gz")

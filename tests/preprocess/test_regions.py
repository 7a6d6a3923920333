"""Regions of grey matter on a grid in MNI space, and where methods find them."""

import numpy as np
import pytest

from petbench.data.icbm152 import average_brain
from petbench.data.nifti import volume, write_volume
from petbench.files import checksum, read_json
from petbench.preprocess.grid import to_grid
from petbench.preprocess.prepare import prepare_maps
from petbench.preprocess.regions import COUNT, places, regions
from petbench.preprocess.structural import grid_affine
from petbench.training.data import open_windows

GRIDS = {"full": ((64, 64, 64), 3.0), "small": ((48, 48, 48), 4.0), "demo": ((32, 32, 32), 6.5)}


@pytest.mark.parametrize("name", GRIDS)
def test_each_region_is_there_at_its_own_place_and_only_in_grey_matter(name):
    shape, edge = GRIDS[name]
    affine = grid_affine(shape, edge)
    labels = regions(shape, affine)
    assert set(np.unique(labels)) == set(range(COUNT + 1))
    grey = to_grid(average_brain()[1], shape, affine)
    assert grey[labels > 0].min() > grey[labels == 0].max() - 1e-6
    for region in (1, 77, 300):
        middle = affine[:3, :3] @ np.argwhere(labels == region).mean(axis=0) + affine[:3, 3]
        apart = np.linalg.norm(places() - middle, axis=1)
        assert apart[region - 1] < 12
        assert (apart < apart[region - 1]).sum() <= 2


def test_a_region_stays_where_it_is_whatever_the_grid():
    """As on a grid that is another's turned about and cropped."""
    shape, edge = GRIDS["small"]
    affine = grid_affine(shape, edge)
    turn = np.diag([-1.0, 1.0, 1.0, 1.0])
    turn[0, 3], turn[2, 3] = shape[0] - 1, 10
    part = regions((shape[0], shape[1], 20), affine @ turn)
    np.testing.assert_array_equal(part, regions(shape, affine)[::-1, :, 10:30])


@pytest.fixture
def images(tmp_path):
    shape, edge = (16, 16, 16), 12.0
    random = np.random.default_rng(0)
    for kind in ("mr", "standard_dose"):
        data = random.random(shape, dtype=np.float32)
        write_volume(tmp_path / f"{kind}.nii.gz", data, like=volume(data, grid_affine(shape, edge)))
    return {kind: str(tmp_path / f"{kind}.nii.gz") for kind in ("mr", "standard_dose")}


DOMAIN = {"window": [16, 16, 16], "stride": [16, 16, 16]}


def test_regions_lie_beside_the_volumes_and_their_checksum_in_the_index(tmp_path, images):
    out = {kind: str(tmp_path / "prepared" / f"{kind}.npy") for kind in ("mr", "standard_dose", "regions", "index")}
    parameters = str(tmp_path / "prepared/prepared.json")
    prepare_maps(images, {"scaling": {"mode": "min_max"}}, DOMAIN, out | {"parameters": parameters})
    labels = np.load(out["regions"])
    np.testing.assert_array_equal(labels, regions((16, 16, 16), grid_affine((16, 16, 16), 12.0)))
    assert np.issubdtype(labels.dtype, np.integer)
    found = read_json(parameters)
    assert found["volumes"] == {kind: checksum(out[kind]) for kind in ("mr", "standard_dose", "regions")}
    assert set(found["scales"]) == set(found["sources"]) == {"mr", "standard_dose"}
    told = open_windows([parameters], ["mr", "standard_dose", "regions"]).batch([0])["regions"]
    np.testing.assert_array_equal(told[0, 0], labels)


def test_who_has_no_pet_needs_no_regions(tmp_path, images):
    out = {"mr": str(tmp_path / "prepared/mr.npy"), "index": str(tmp_path / "prepared/index.npy")}
    parameters = str(tmp_path / "prepared/prepared.json")
    prepare_maps({"mr": images["mr"]}, {"scaling": {"mode": "min_max"}}, DOMAIN, out | {"parameters": parameters})
    assert set(read_json(parameters)["volumes"]) == {"mr"}
    assert not (tmp_path / "prepared/regions.npy").exists()

import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from petbench.data.nifti import volume
from petbench.preprocess.grid import box_of, from_grid, grid_of, share_inside, to_grid

SHAPE = (20, 23, 14)
EDGES = np.array([2.0863, 2.0863, 2.03125])
RNG = np.random.default_rng(0)
DATA = RNG.random(SHAPE, dtype=np.float32) + 1

AFFINES = {
    "straight": np.diag([*EDGES, 1.0]),
    "flipped": np.diag([-EDGES[0], EDGES[1], -EDGES[2], 1.0]),
    "oblique": np.block(
        [[Rotation.from_euler("xyz", [12, -9, 30], degrees=True).as_matrix() * EDGES, np.array([[3.3], [-71.7], [9.1]])], [0, 0, 0, 1]]
    ),
    "sagittal": np.array([[0, 0, -EDGES[2], 40.0], [EDGES[0], 0, 0, -11.0], [0, -EDGES[1], 0, 5.0], [0, 0, 0, 1]]),
}


def centre(affine, shape):
    return affine[:3, :3] @ ((np.asarray(shape) - 1) / 2) + affine[:3, 3]


@pytest.fixture(params=AFFINES)
def image(request):
    return volume(DATA, AFFINES[request.param])


@pytest.mark.parametrize("shape", [(26, 27, 26), (12, 11, 10), (27, 10, 14), SHAPE])
def test_own_voxels_go_to_the_grid_and_back_without_a_change(image, shape):
    grid = grid_of(image, {"shape": shape})
    inside = to_grid(image, *grid)
    box = tuple(slice(*bounds) for bounds in box_of(image, *grid))
    assert inside.sum(dtype=float) == pytest.approx(DATA[box].sum(dtype=float), rel=1e-12)
    assert set(inside[inside > 0]) == set(DATA[box].ravel())
    np.testing.assert_array_equal(from_grid(inside, grid[1], image), DATA)


def test_voxels_outside_the_grid_keep_the_values_of_the_image(image):
    shape, affine = grid_of(image, {"shape": [8, 9, 10]})
    whole = from_grid(np.full(shape, -1, np.float32), affine, image)
    box = tuple(slice(*bounds) for bounds in box_of(image, shape, affine))
    assert (whole[box] == -1).all()
    assert (whole == -1).sum() == 8 * 9 * 10
    np.testing.assert_array_equal(whole[whole != -1], DATA[whole != -1])


RESAMPLED = [{"shape": [17, 12, 20], "voxel_mm": 3.1}, {"shape": [9, 9, 9], "voxel_mm": [2, 3, 4]}]


@pytest.mark.parametrize("grid", [{"shape": [17, 12, 20]}, *RESAMPLED])
def test_the_grid_shares_the_centre_of_the_image_and_its_axes_nearest_ras(image, grid):
    shape, affine = grid_of(image, grid)
    apart = np.abs(np.linalg.inv(affine[:3, :3]) @ (centre(affine, shape) - centre(image.affine, image.shape)))
    assert (apart <= (0.5 + 1e-6 if "voxel_mm" not in grid else 1e-9)).all()
    assert nibabel.aff2axcodes(affine) == ("R", "A", "S")
    own, ours = (one[:3, :3] / np.linalg.norm(one[:3, :3], axis=0) for one in (image.affine, affine))
    np.testing.assert_allclose(np.sort(np.abs(own.T @ ours).max(axis=0)), 1, atol=1e-9)
    if "voxel_mm" in grid:
        np.testing.assert_allclose(np.linalg.norm(affine[:3, :3], axis=0), np.broadcast_to(grid["voxel_mm"], 3))


def test_a_network_sees_the_same_whatever_the_storage_order():
    straight = volume(DATA, AFFINES["straight"])
    shape, affine = grid_of(straight, {"shape": [12, 13, 10]})
    stored = straight.as_reoriented(nibabel.orientations.axcodes2ornt("SLA"))
    other_shape, other_affine = grid_of(stored, {"shape": [12, 13, 10]})
    half = np.abs(np.linalg.inv(affine) @ other_affine - np.eye(4))
    assert other_shape == shape
    assert half[:3, :3].max() < 1e-9
    moved = to_grid(stored, shape, affine)
    np.testing.assert_array_equal(moved, to_grid(straight, shape, affine))


@pytest.mark.parametrize("edge", [1.5, 2.6])
def test_a_smooth_image_survives_resampling(image, edge):
    smooth = volume(gaussian_filter(RNG.normal(size=SHAPE), 3).astype(np.float32), image.affine)
    grid = grid_of(smooth, {"shape": [48, 48, 48], "voxel_mm": edge})
    back = from_grid(to_grid(smooth, *grid), grid[1], smooth)
    deep = (slice(3, -3),) * 3
    data = np.asarray(smooth.dataobj)
    assert np.abs(back - data)[deep].max() < 0.05 * np.ptp(data)
    assert np.corrcoef(back[deep].ravel(), data[deep].ravel())[0, 1] > 0.998


def test_resampling_reproduces_a_linear_ramp():
    affine = AFFINES["oblique"]
    index = np.indices(SHAPE).reshape(3, -1)
    world = (affine[:3, :3] @ index + affine[:3, 3:]).reshape(3, *SHAPE)
    ramp = volume((1000 + 2 * world[0] - world[1] + 0.5 * world[2]).astype(np.float32), affine)
    shape, grid_affine = grid_of(ramp, {"shape": [11, 12, 8], "voxel_mm": 2.9})
    points = (grid_affine[:3, :3] @ np.indices(shape).reshape(3, -1) + grid_affine[:3, 3:]).reshape(3, *shape)
    np.testing.assert_allclose(to_grid(ramp, shape, grid_affine), 1000 + 2 * points[0] - points[1] + 0.5 * points[2], rtol=1e-6)


def test_box_of_a_grid_larger_than_the_image_is_the_image(image):
    assert box_of(image, *grid_of(image, {"shape": [40, 40, 40]})) == tuple((0, size) for size in SHAPE)


@pytest.mark.parametrize("grid", RESAMPLED)
def test_the_box_holds_every_voxel_with_its_centre_in_the_grid(image, grid):
    shape, affine = grid_of(image, grid)
    to_index = np.linalg.inv(affine) @ image.affine
    index = (to_index[:3, :3] @ np.indices(SHAPE).reshape(3, -1) + to_index[:3, 3:]).reshape(3, *SHAPE)
    inside = np.all((index > -0.5) & (index < np.reshape(shape, (3, 1, 1, 1)) - 0.5), axis=0)
    boxed = np.zeros(SHAPE, bool)
    boxed[tuple(slice(*bounds) for bounds in box_of(image, shape, affine))] = True
    np.testing.assert_array_equal(boxed, inside)


@pytest.fixture(scope="module")
def off_centre():
    """A head 40 voxels from where it was, which the middle of the field of view does not hold."""
    x, y, z = np.indices((48, 56, 40))
    data = 100.0 * ((x - 23.5) ** 2 / 18**2 + (y - 27.5) ** 2 / 22**2 + (z - 19.5) ** 2 / 17**2 < 1)
    padded = np.pad(data, ((40, 0), (0, 0), (0, 12))).astype(np.float32)
    return volume(padded, np.diag([4.0, 4.0, 4.0, 1.0]))


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SLA"])
def test_a_head_away_from_the_middle_is_inside_whole(off_centre, axes):
    image = off_centre.as_reoriented(
        nibabel.orientations.ornt_transform(nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(axes))
    )
    shape, affine = grid_of(image, {"shape": [48, 56, 40]})
    assert share_inside(image, shape, affine) == 1.0
    inside = to_grid(image, shape, affine)
    assert inside.sum() == pytest.approx(np.asarray(image.dataobj).sum())
    where = np.argwhere(inside > 50)
    assert np.abs(where.min(axis=0) - (np.array(shape) - 1 - where.max(axis=0))).max() <= 2


def test_a_head_that_the_middle_holds_moves_nothing(off_centre):
    near = volume(np.asarray(off_centre.dataobj)[36:], off_centre.affine)
    _, affine = grid_of(near, {"shape": [48, 56, 40]})
    where = np.linalg.inv(near.affine) @ affine
    np.testing.assert_allclose(where[:2, 3], [(52 - 48) / 2, 0])


def test_what_a_grid_holds_of_a_head_is_told(off_centre):
    shape, affine = grid_of(off_centre, {"shape": [18, 56, 40]})
    half = share_inside(off_centre, shape, affine)
    x = np.arange(-18, 18) + 0.5
    assert half == pytest.approx((1 - (x[9:27] / 18) ** 2).sum() / (1 - (x / 18) ** 2).sum(), abs=0.03)

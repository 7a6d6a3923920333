import numpy as np
import pytest
from matplotlib.image import imread
from scipy.spatial.transform import Rotation

from petbench.data.nifti import read_volume, volume, write_volume
from petbench.data.phantom import make_subject
from petbench.errors import InputError
from petbench.preprocess.intensity import head_mask
from petbench.preprocess.mutual_information import starting_rotations
from petbench.preprocess.registration import register, register_files

SETTINGS = {"transform": "rigid", "seed": 1, "minimum_overlap": 0.7}
NAMES = {"pet": "pet.nii.gz", "mr": "mr.nii.gz"}
LPS = np.array([-1.0, -1.0, 1.0])
HALF_VOXEL_MM = 2.0


def apply(matrix, points):
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def brain_points(phantom):
    return apply(phantom.affine, np.argwhere(np.isin(phantom.labels, (2, 3)))[::40])


def target_registration_error(path, phantom):
    """Distance (mm) between where the transform and the truth take brain points of PET space."""
    import SimpleITK

    transform = SimpleITK.ReadTransform(str(path))
    points = brain_points(phantom)
    found = np.array([transform.TransformPoint(point.tolist()) for point in points * LPS]) * LPS
    return np.linalg.norm(found - apply(np.linalg.inv(phantom.t1_to_pet), points), axis=1)


@pytest.fixture(scope="module")
def registered(tmp_path_factory, phantom, pet, t1):
    path = tmp_path_factory.mktemp("registration") / "transform.h5"
    return register(pet, t1, SETTINGS, 1, NAMES, path), path


def test_the_pose_of_the_mr_is_found(registered, phantom):
    before = np.linalg.norm(brain_points(phantom) - apply(np.linalg.inv(phantom.t1_to_pet), brain_points(phantom)), axis=1)
    error = target_registration_error(registered[1], phantom)
    assert before.mean() > 2 * HALF_VOXEL_MM
    assert error.mean() < HALF_VOXEL_MM / 2
    assert error.max() < HALF_VOXEL_MM


def test_the_image_agrees_with_the_transform(registered, phantom, pet, t1):
    from scipy.ndimage import map_coordinates

    moved = np.asarray(registered[0].image.dataobj)
    np.testing.assert_allclose(registered[0].image.affine, pet.affine)
    to_t1 = np.linalg.inv(phantom.t1_affine) @ np.linalg.inv(phantom.t1_to_pet) @ phantom.affine
    truth = map_coordinates(phantom.t1, apply(to_t1, np.indices(pet.shape).reshape(3, -1).T).T, order=1).reshape(pet.shape)
    assert np.corrcoef(moved.ravel(), truth.ravel())[0, 1] > 0.98


def test_one_thread_repeats_bit_for_bit(registered, pet, t1):
    again = register(pet, t1, SETTINGS, 1, NAMES)
    np.testing.assert_array_equal(np.asarray(again.image.dataobj), np.asarray(registered[0].image.dataobj))


def test_neither_the_origin_nor_the_storage_order_of_the_mr_matters(registered, pet, t1):
    import nibabel

    moved = np.asarray(registered[0].image.dataobj)
    far = t1.affine.copy()
    far[:3, 3] += [30, -200, 900]
    stored = t1.as_reoriented(nibabel.orientations.axcodes2ornt("PIL"))
    for other in (volume(np.asarray(t1.dataobj), far), volume(np.asarray(stored.dataobj), stored.affine)):
        found = np.asarray(register(pet, other, SETTINGS, 1, NAMES).image.dataobj)
        assert np.corrcoef(found.ravel(), moved.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("factor", [0.01, 0.5, 10])
def test_a_wrong_voxel_size_is_refused(pet, t1, factor):
    wrong = volume(np.asarray(t1.dataobj), t1.affine @ np.diag([factor, factor, factor, 1]))
    with pytest.raises(InputError, match=r"mr\.nii\.gz: (after registration it covers|shows no whole head)"):
        register(pet, wrong, SETTINGS, 1, NAMES)


def test_a_part_of_a_head_is_refused(pet, t1):
    with pytest.raises(InputError, match=r"mr\.nii\.gz: (after registration it covers|shows no whole head)"):
        register(pet, volume(np.asarray(t1.dataobj)[:, :, 20:26], t1.affine), SETTINGS, 1, NAMES)


@pytest.mark.parametrize("value", [0, 5])
@pytest.mark.parametrize("kind", ["pet", "mr"])
def test_an_image_of_one_value_is_refused(pet, t1, kind, value):
    pair = {"pet": pet, "mr": t1}
    pair[kind] = volume(np.full(pair[kind].shape, value, np.float32), pair[kind].affine)
    with pytest.raises(InputError, match=rf"{kind}\.nii\.gz: every voxel has the same value"):
        register(pair["pet"], pair["mr"], SETTINGS, 1, NAMES)


def test_files_and_the_picture_to_check_by(tmp_path, registered, pet, t1):
    write_volume(tmp_path / "pet.nii.gz", np.asarray(pet.dataobj), like=pet)
    write_volume(tmp_path / "mr.nii.gz", np.asarray(t1.dataobj), like=t1)
    out = {"mr": str(tmp_path / "out.nii.gz"), "transform": str(tmp_path / "out.h5"), "picture": str(tmp_path / "out.png")}
    register_files(str(tmp_path / "pet.nii.gz"), str(tmp_path / "mr.nii.gz"), SETTINGS, 1, out)
    moved = read_volume(out["mr"])
    np.testing.assert_allclose(moved.affine, pet.affine)
    np.testing.assert_array_equal(np.asarray(moved.dataobj), np.asarray(registered[0].image.dataobj))
    picture = imread(out["picture"])
    coloured = np.ptp(picture[..., :3], axis=-1) > 0.3
    assert min(picture.shape[:2]) > 200
    assert picture[..., :3].std() > 0.1
    assert 0.005 < coloured.mean() < 0.3
    assert (tmp_path / "out.h5").stat().st_size > 1000


def turned(image, axes, degrees):
    """The image as if its head had lain otherwise in the scanner, its header true, and the turn (4, 4)."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler(axes, degrees, degrees=True).as_matrix()
    return volume(np.asarray(image.dataobj), turn @ image.affine), turn


@pytest.mark.parametrize(("axes", "degrees"), [("y", 45), ("x", 90), ("z", 180), ("zyx", [135, 45, 270])])
def test_a_head_is_found_however_it_lay(tmp_path, phantom, pet, t1, axes, degrees):
    import SimpleITK

    other, turn = turned(t1, axes, degrees)
    register(pet, other, SETTINGS, 1, NAMES, tmp_path / "transform.h5")
    transform = SimpleITK.ReadTransform(str(tmp_path / "transform.h5"))
    points = brain_points(phantom)
    found = np.array([transform.TransformPoint(point.tolist()) for point in points * LPS]) * LPS
    truth = apply(turn @ np.linalg.inv(phantom.t1_to_pet), points)
    assert np.linalg.norm(found - truth, axis=1).mean() < 1.0


STRANGERS = {
    "noise": (lambda t1: np.random.default_rng(0).random(t1.shape), "covers|no better than turned"),
    "ball": (lambda t1: 100.0 * (np.linalg.norm(np.indices(t1.shape).T - (np.array(t1.shape) - 1) / 2, axis=-1).T < 22), "no better than"),
    "mask": (lambda t1: head_mask(np.asarray(t1.dataobj)).astype(float), "no better than turned"),
    "mirrored": (lambda t1: np.asarray(t1.dataobj)[::-1], "its mirror image fits .* better"),
}


@pytest.mark.parametrize("name", STRANGERS)
def test_what_is_no_mr_of_the_head_is_refused(pet, t1, name):
    make, words = STRANGERS[name]
    with pytest.raises(InputError, match=rf"mr\.nii\.gz: .*({words})"):
        register(pet, volume(make(t1).astype(np.float32), t1.affine), SETTINGS, 1, NAMES)


def test_another_subjects_mr_is_refused(pet):
    other = make_subject({"working_mm": 4.0, "t1": {"voxel_mm": 4.0}}, (64, 64, 48), (4.0, 4.0, 4.0), seed=21)
    with pytest.raises(InputError, match=r"mr\.nii\.gz: .*(mirror image|covers)"):
        register(pet, volume(other.t1, other.t1_affine), SETTINGS, 1, NAMES)


def test_the_pet_for_its_own_mr_is_refused(pet):
    louder = np.random.default_rng(1).poisson(np.asarray(pet.dataobj) / 500) * np.float32(500)
    with pytest.raises(InputError, match=r"mr\.nii\.gz: looks like the PET in pet\.nii\.gz"):
        register(pet, volume(louder, pet.affine), SETTINGS, 1, NAMES)


def test_the_fit_is_told(registered):
    facts = registered[0].facts
    assert facts["MutualInformation"] > 1.35 * facts["MutualInformationMirrored"]
    assert facts["MutualInformation"] > 4 * facts["MutualInformationTurned"]
    assert facts["AnglesTried"] == len(starting_rotations()) == 208
    assert facts["RotationDeg"] < 20

"""What an acquired image must say of where its voxels lie, and what is no image at all: one line each."""

import gzip

import nibabel
import numpy as np
import pytest

from petbench.data.nifti import read_acquired, read_volume
from petbench.data.preflight import check_images
from petbench.errors import InputError

DATA = np.random.default_rng(0).random((20, 22, 18)).astype(np.float32)
AFFINE = np.array([[-2.0, 0, 0, 19], [0, 2, 0, -21], [0, 0, 3, -25.5], [0, 0, 0, 1]])


def two_forms(path, sform, qform, codes=(1, 1)):
    image = nibabel.Nifti1Image(DATA, None)
    image.set_sform(sform, codes[0])
    image.set_qform(qform, codes[1])
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return str(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (np.diag([-1.0, 1, 1, 1]), "mirrored"),
        (np.diag([1.0, -1, 1, 1]), "mirrored"),
        (np.diag([1.2, 1.2, 1.2, 1]), "mm apart;"),
        (np.array([[1.0, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]), "5.0 mm apart;"),
    ],
)
def test_two_forms_that_disagree_are_refused_by_preflight_and_restore(tmp_path, change, words):
    path = two_forms(tmp_path / "two.nii.gz", change @ AFFINE, AFFINE)
    with pytest.raises(InputError, match=r"two\.nii\.gz: its qform and sform put one voxel in places") as error:
        read_acquired(path)
    assert words in str(error.value)
    with pytest.raises(InputError, match=r"two\.nii\.gz: its qform and sform"):
        check_images({"01": [path]}, str(tmp_path / "out.json"))


@pytest.mark.parametrize("codes", [(1, 1), (1, 0), (0, 1), (4, 1)])
def test_forms_that_agree_or_are_not_set_are_taken(tmp_path, codes):
    nudged = AFFINE.copy()
    nudged[:3, 3] += 1e-3
    image = read_acquired(two_forms(tmp_path / "one.nii.gz", nudged, AFFINE, codes))
    np.testing.assert_allclose(image.affine, nudged if codes[0] else AFFINE, atol=1e-4)


def test_a_form_that_is_not_set_is_not_compared(tmp_path):
    read_acquired(two_forms(tmp_path / "one.nii.gz", np.diag([-1.0, 1, 1, 1]) @ AFFINE, AFFINE, (1, 0)))


def test_an_image_that_does_not_say_left_from_right_is_refused(tmp_path):
    path = two_forms(tmp_path / "none.nii.gz", AFFINE, AFFINE, (0, 0))
    with pytest.raises(InputError, match=r"none\.nii\.gz: qform_code and sform_code are 0"):
        read_acquired(path)


def test_metres_are_named(tmp_path):
    image = nibabel.Nifti1Image(DATA, AFFINE * 0.001)
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "metres.nii.gz")
    with pytest.raises(InputError, match=r"metres\.nii\.gz: xyzt_units is 'meter'"):
        read_acquired(tmp_path / "metres.nii.gz")


@pytest.mark.parametrize(("shear", "refused"), [(0.3, True), (0.02, True), (0.001, False)])
def test_a_sheared_affine_is_refused(tmp_path, shear, refused):
    affine = AFFINE.copy()
    affine[0, 1] = shear * 2
    image = nibabel.Nifti1Image(DATA, None)
    image.set_sform(affine, 1)
    nibabel.save(image, tmp_path / "sheared.nii.gz")
    if not refused:
        read_acquired(tmp_path / "sheared.nii.gz")
        return
    with pytest.raises(InputError, match=r"sheared\.nii\.gz: its affine is sheared"):
        read_acquired(tmp_path / "sheared.nii.gz")


def test_a_slice_is_no_volume(tmp_path):
    nibabel.save(nibabel.Nifti1Image(DATA[:, :, :1], AFFINE), tmp_path / "slice.nii.gz")
    with pytest.raises(InputError, match=r"slice\.nii\.gz: has shape \(20, 22, 1\), which is no volume"):
        read_acquired(tmp_path / "slice.nii.gz")


def test_a_header_without_voxels_is_named(tmp_path):
    image = nibabel.Nifti1Image(DATA, AFFINE)
    content = bytearray(image.to_bytes())
    content[42:44] = bytes(2)  # dim[1]
    (tmp_path / "empty.nii").write_bytes(content)
    with pytest.raises(InputError, match=r"empty\.nii: has shape \(0, 22, 18\), so no voxels"):
        read_volume(tmp_path / "empty.nii")


def test_complex_numbers_and_colours_are_not_made_real(tmp_path):
    nibabel.save(nibabel.Nifti1Image((DATA + 1j * DATA).astype(np.complex64), AFFINE), tmp_path / "complex.nii.gz")
    colours = np.zeros(DATA.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours, AFFINE), tmp_path / "colours.nii.gz")
    with pytest.raises(InputError, match=r"complex\.nii\.gz: its voxels are complex numbers"):
        read_volume(tmp_path / "complex.nii.gz")
    with pytest.raises(InputError, match=r"colours\.nii\.gz: its voxels are colours"):
        read_volume(tmp_path / "colours.nii.gz")


@pytest.mark.parametrize(("slope", "intercept"), [(np.inf, 0), (-np.inf, 0), (2.0, np.inf), (2.0, np.nan)])
def test_a_slope_that_is_no_number_is_named(tmp_path, slope, intercept):
    content = bytearray(nibabel.Nifti1Image((DATA * 100).astype(np.int16), AFFINE).to_bytes())
    content[112:120] = np.array([slope, intercept], "<f4").tobytes()
    (tmp_path / "slope.nii").write_bytes(content)
    with pytest.raises(InputError, match=r"slope\.nii: its voxels are to be multiplied by"):
        read_volume(tmp_path / "slope.nii")


def test_no_slope_is_none(tmp_path):
    whole = (DATA * 100).astype(np.int16)
    for name, slope in {"zero": 0.0, "nan": np.nan}.items():
        content = bytearray(nibabel.Nifti1Image(whole, AFFINE).to_bytes())
        content[112:116] = np.array([slope], "<f4").tobytes()
        (tmp_path / f"{name}.nii").write_bytes(content)
        np.testing.assert_array_equal(np.asarray(read_volume(tmp_path / f"{name}.nii").dataobj), whole)


def test_a_name_that_lies_about_compression_is_not_called_damage(tmp_path):
    content = nibabel.Nifti1Image(DATA, AFFINE).to_bytes()
    (tmp_path / "plain.nii.gz").write_bytes(content)
    (tmp_path / "zipped.nii").write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match=r"plain\.nii\.gz: is not compressed, as its name says"):
        read_volume(tmp_path / "plain.nii.gz")
    with pytest.raises(InputError, match=r"zipped\.nii: is compressed, which its name does not say"):
        read_volume(tmp_path / "zipped.nii")

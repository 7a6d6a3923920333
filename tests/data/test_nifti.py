import gzip

import nibabel
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from petbench.data.nifti import read_volume, volume, voxel_mm, write_volume
from petbench.errors import InputError

SHAPE = (7, 6, 5)
DATA = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def affine(seed=0, edges=(2.0863, 2.0863, 2.03125)):
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.random(random_state=seed).as_matrix() @ np.diag(edges)
    matrix[:3, 3] = [12.5, -40.25, 7.0]
    return matrix


@pytest.mark.parametrize("codes", [(1, 1), (0, 1), (1, 0), (3, 4), (0, 0)])
@pytest.mark.parametrize("units", [("mm", "sec"), ("micron", "msec"), ("unknown", "unknown")])
def test_affine_form_codes_and_units_are_kept(tmp_path, codes, units):
    own = nibabel.Nifti1Image(DATA, affine())
    own.set_qform(affine(), codes[0])
    own.set_sform(affine() if codes[1] else None, codes[1])
    own.header.set_xyzt_units(*units)
    nibabel.save(own, tmp_path / "own.nii.gz")
    like = read_volume(tmp_path / "own.nii.gz")
    write_volume(tmp_path / "new.nii.gz", DATA * 2, like=like)
    own, new = (nibabel.load(tmp_path / name) for name in ("own.nii.gz", "new.nii.gz"))
    np.testing.assert_allclose(new.affine, own.affine, atol=1e-5)
    np.testing.assert_allclose(new.get_qform(), own.get_qform(), atol=1e-5)
    np.testing.assert_allclose(new.get_sform(), own.get_sform(), atol=1e-5)
    assert (int(new.header["qform_code"]), int(new.header["sform_code"])) == codes
    assert new.header.get_xyzt_units() == units
    np.testing.assert_array_equal(np.asarray(new.dataobj), DATA * 2)


def test_qform_and_sform_that_differ_are_both_kept(tmp_path):
    own = nibabel.Nifti1Image(DATA, affine(1))
    own.set_qform(affine(2), 1)
    own.set_sform(affine(1), 2)
    nibabel.save(own, tmp_path / "own.nii")
    write_volume(tmp_path / "new.nii", DATA, like=read_volume(tmp_path / "own.nii"))
    new = nibabel.load(tmp_path / "new.nii")
    np.testing.assert_allclose(new.get_qform(), affine(2), atol=1e-5)
    np.testing.assert_allclose(new.get_sform(), affine(1), atol=1e-5)


def test_nothing_that_names_a_person_is_copied(tmp_path):
    own = nibabel.Nifti1Image(DATA, affine())
    for field, size in {"descrip": 80, "db_name": 18, "aux_file": 24, "intent_name": 16}.items():
        own.header[field] = b"DOE^JANE"[:size]
    own.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"DOE^JANE"))
    nibabel.save(own, tmp_path / "own.nii")
    assert (tmp_path / "own.nii").read_bytes().count(b"DOE^JANE") == 5
    for name in ("new.nii", "DOE^JANE.nii.gz"):
        write_volume(tmp_path / name, DATA, like=read_volume(tmp_path / "own.nii"))
    assert b"DOE" not in (tmp_path / "new.nii").read_bytes()
    packed = (tmp_path / "DOE^JANE.nii.gz").read_bytes()
    assert b"DOE" not in packed + gzip.decompress(packed)


def test_the_same_volume_is_the_same_file(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        write_volume(tmp_path / name, DATA, like=volume(DATA, affine()))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_labels_stay_whole_numbers(tmp_path):
    labels = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    write_volume(tmp_path / "labels.nii.gz", labels, like=volume(DATA, affine()))
    assert nibabel.load(tmp_path / "labels.nii.gz").get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(read_volume(tmp_path / "labels.nii.gz").dataobj), labels)


def test_scaled_integers_are_read_in_their_units(tmp_path):
    own = nibabel.Nifti1Image(DATA, affine())
    own.set_data_dtype(np.int16)
    nibabel.save(own, tmp_path / "own.nii.gz")
    read = read_volume(tmp_path / "own.nii.gz")
    np.testing.assert_allclose(np.asarray(read.dataobj), DATA, atol=np.ptp(DATA) / 2**15)
    write_volume(tmp_path / "new.nii.gz", np.asarray(read.dataobj), like=read)
    np.testing.assert_array_equal(np.asarray(read_volume(tmp_path / "new.nii.gz").dataobj), np.asarray(read.dataobj))


def test_a_single_frame_is_a_volume_and_several_are_not(tmp_path):
    nibabel.save(nibabel.Nifti1Image(DATA[..., None], affine()), tmp_path / "one.nii.gz")
    assert read_volume(tmp_path / "one.nii.gz").shape == SHAPE
    nibabel.save(nibabel.Nifti1Image(np.stack([DATA, DATA], axis=-1), affine()), tmp_path / "two.nii.gz")
    with pytest.raises(InputError, match=r"two\.nii\.gz: has shape \(7, 6, 5, 2\)"):
        read_volume(tmp_path / "two.nii.gz")


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_cut_short_is_named(tmp_path, share, suffix):
    path = tmp_path / f"cut{suffix}"
    write_volume(path, DATA, like=volume(DATA, affine()))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match=f"cut{suffix}: cannot be read"):
        read_volume(path)


def test_a_gzip_file_with_a_changed_byte_is_named(tmp_path):
    path = tmp_path / "flipped.nii.gz"
    with gzip.open(path, "wb", compresslevel=0) as file:
        file.write(volume(DATA, affine()).to_bytes())
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"flipped\.nii\.gz: cannot be read"):
        read_volume(path)


def test_other_formats_are_named(tmp_path):
    nibabel.save(nibabel.MGHImage(DATA, affine()), tmp_path / "brain.mgz")
    (tmp_path / "text.nii").write_text("not an image at all")
    for name in ("brain.mgz", "text.nii", "missing.nii"):
        with pytest.raises(InputError, match=name):
            read_volume(tmp_path / name)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_both_ways(tmp_path, value):
    data = DATA.copy()
    data[1, 2, 3] = value
    nibabel.save(nibabel.Nifti1Image(data, affine()), tmp_path / "bad.nii.gz")
    with pytest.raises(InputError, match=r"bad\.nii\.gz: 1 voxels"):
        read_volume(tmp_path / "bad.nii.gz")
    with pytest.raises(InputError, match=r"new\.nii\.gz"):
        write_volume(tmp_path / "new.nii.gz", data, like=volume(DATA, affine()))
    assert not (tmp_path / "new.nii.gz").exists()


def test_data_of_another_shape_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"new\.nii\.gz"):
        write_volume(tmp_path / "new.nii.gz", DATA[1:], like=volume(DATA, affine()))


def test_a_header_without_voxel_size_is_refused(tmp_path):
    own = nibabel.Nifti1Image(DATA, affine())
    nibabel.save(own, tmp_path / "flat.nii")
    content = bytearray((tmp_path / "flat.nii").read_bytes())
    content[280:296] = bytes(16)  # srow_x of a valid sform
    (tmp_path / "flat.nii").write_bytes(content)
    with pytest.raises(InputError, match=r"flat\.nii: its header"):
        read_volume(tmp_path / "flat.nii")


def test_voxel_mm_of_an_oblique_image():
    np.testing.assert_allclose(voxel_mm(volume(DATA, affine())), [2.0863, 2.0863, 2.03125], rtol=1e-6)

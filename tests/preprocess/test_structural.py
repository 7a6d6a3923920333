"""The way of MR and PET to MNI space, on a phantom whose landmarks, tissues and activity are known."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from petbench.data.mni_head import ATROPHY_SITES_MM
from petbench.data.nifti import read_volume, volume, write_volume
from petbench.data.phantom import make_subject
from petbench.data.phantom_files import write_phantom_subject
from petbench.errors import InputError
from petbench.files import checksum, read_json
from petbench.preprocess.registration import register_files
from petbench.preprocess.structural import CENTRE_MM, dice, grid_affine, min_max, normalise_mr, normalise_pet, template

SETTINGS = {"working_mm": 6, "smoothing_mm": 8.0, "prior_weight": 0.25, "iterations": [10], "seed": 1}
GRID = {"shape": [32, 32, 32], "voxel_mm": 6.0}
REGISTRATION = {"transform": "rigid", "seed": 1, "minimum_overlap": 0.7}
NONE = {"pet_only": 0, "mr_only": 0, "shared": 0}
OUT = {
    "map": "map.nii.gz",
    "t1w": "posed.nii.gz",
    "tissues": "tissues.nii.gz",
    "rigid": "rigid.mat",
    "warp": "warp.h5",
    "picture": "map.png",
    "sidecar": "map.json",
}
KINDS = ("t1w", "activity", "attenuation", "labels")


def written(folder):
    return {kind: str(folder / f"{kind}.nii.gz") for kind in KINDS} | {"truth": str(folder / "truth.json")}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A patient's MR and PET in MNI space."""
    folder = tmp_path_factory.mktemp("structural")
    parameters = {"working_mm": 4.0, "t1": {"voxel_mm": 4.0}, "lesions": NONE, "disease": {"severity": [1, 1], "atrophy": 0.8}}
    phantom = make_subject(parameters, (64, 64, 48), (4.0, 4.0, 4.0), seed=5, group="patient")
    files = written(folder)
    write_phantom_subject(phantom, **files)
    out = {kind: str(folder / name) for kind, name in OUT.items()}
    normalise_mr(files["t1w"], SETTINGS, GRID, 1, out, files["labels"], files["truth"])
    registered = {"mr": str(folder / "mr.nii.gz"), "transform": str(folder / "pet_to_t1w.h5"), "picture": str(folder / "r.png")}
    register_files(files["activity"], files["t1w"], REGISTRATION, 1, registered)
    pet = {"pet": str(folder / "pet.nii.gz"), "sidecar": str(folder / "pet.json")}
    normalise_pet(files["activity"], registered["transform"], out["rigid"], out["warp"], SETTINGS, GRID, 1, pet)
    return files, out, registered, pet


def test_tissues_and_landmarks_are_found(done):
    quality = read_json(done[1]["sidecar"])["Quality"]
    assert quality["MeanLandmarkErrorMm"] < SETTINGS["working_mm"]
    assert max(quality["LandmarkErrorMm"].values()) < 2 * SETTINGS["working_mm"]
    assert quality["TissueDice"]["grey"] > 0.7
    assert quality["TissueDice"]["white"] > 0.75
    assert quality["TemplateOverlap"] > 0.75


def test_the_map_fills_zero_to_one_where_the_template_has_grey_matter_and_less_where_it_is_lost(done):
    image = read_volume(done[1]["map"])
    grey = np.asarray(image.dataobj)
    assert (grey.min(), grey.max()) == (0, 1)
    np.testing.assert_allclose(image.affine, grid_affine(GRID["shape"], 6.0))

    def at(place):
        x, y, z = np.rint(np.linalg.inv(image.affine) @ [*place, 1])[:3].astype(int)
        return grey[x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2].mean()

    spared = [(0, -85, 5), (0, 45, 15)]
    assert np.mean([at(place) for place in ATROPHY_SITES_MM]) < 0.8 * np.mean([at(place) for place in spared])


def test_pet_lies_on_the_map_and_holds_no_activity(done):
    grey, pet = (np.asarray(read_volume(path).dataobj) for path in (done[1]["map"], done[3]["pet"]))
    assert (pet.min(), pet.max()) == (0, 1)
    inside = grey > 0.05
    assert np.corrcoef(grey[inside], pet[inside])[0, 1] > 0.8
    sidecar = read_json(done[3]["sidecar"])
    assert sidecar["Units"] == "arbitrary"
    assert sidecar["Maximum"] > 1000 * sidecar["Minimum"] >= 0


def test_a_rigid_alignment_leaves_the_head_its_size_and_shape(done, tmp_path):
    out = {kind: str(tmp_path / name) for kind, name in OUT.items()}
    normalise_mr(done[0]["t1w"], SETTINGS | {"transform": "rigid"}, GRID, 1, out, done[0]["labels"], done[0]["truth"])
    assert SimpleITK.ReadTransform(out["warp"]).TransformPoint((10.0, -20.0, 30.0)) == (10.0, -20.0, 30.0)
    rigid, warped = (read_json(path)["Quality"] for path in (out["sidecar"], done[1]["sidecar"]))
    assert rigid["TissueDice"] == warped["TissueDice"]
    assert rigid["MeanLandmarkErrorMm"] > warped["MeanLandmarkErrorMm"]


def test_one_thread_repeats_bit_for_bit(done, tmp_path):
    out = {kind: str(tmp_path / name) for kind, name in OUT.items()}
    normalise_mr(done[0]["t1w"], SETTINGS, GRID, 1, out)
    assert checksum(out["map"]) == checksum(done[1]["map"])
    assert "TissueDice" not in read_json(out["sidecar"])["Quality"]


def test_the_template_keeps_its_grey_matter_at_any_voxel_and_its_middle_in_the_box():
    fine, coarse = (template(edge)["grey"] for edge in (2, 6))
    volumes = [np.asarray(image.dataobj).sum() * abs(np.linalg.det(image.affine[:3, :3])) for image in (fine, coarse)]
    assert volumes[0] == pytest.approx(volumes[1], rel=1e-4)
    centre = grid_affine(GRID["shape"], 6.0) @ [15.5, 15.5, 15.5, 1]
    np.testing.assert_allclose(centre[:3], CENTRE_MM)


def test_images_that_show_nothing_are_refused_in_one_line(done, tmp_path):
    flat = str(tmp_path / "flat.nii.gz")
    write_volume(flat, np.ones((20, 20, 20), np.float32), like=volume(np.ones((20, 20, 20)), np.diag([8.0, 8, 8, 1])))
    out = {kind: str(tmp_path / name) for kind, name in OUT.items()}
    with pytest.raises(InputError, match=r"flat.nii.gz: every voxel has the same value"):
        normalise_mr(flat, SETTINGS, GRID, 1, out)
    with pytest.raises(InputError, match=r"pet: every voxel has the same value"):
        min_max(np.ones(3), "pet")
    pet = {"pet": str(tmp_path / "pet.nii.gz"), "sidecar": str(tmp_path / "pet.json")}
    with pytest.raises(InputError, match="is no linear transform; give the data set preprocess/registration/transform rigid or affine"):
        normalise_pet(done[0]["activity"], done[1]["warp"], done[1]["rigid"], done[1]["warp"], SETTINGS, GRID, 1, pet)
    for kind in ("rigid", "warp"):
        bad = tmp_path / f"bad{Path(done[1][kind]).suffix}"
        bad.write_bytes(b"garbage")
        transforms = {**done[1], kind: str(bad)}
        with pytest.raises(InputError, match=rf"{bad.name}: is cut short or damaged; delete it and run again"):
            normalise_pet(done[0]["activity"], done[2]["transform"], transforms["rigid"], transforms["warp"], SETTINGS, GRID, 1, pet)
    assert not list(tmp_path.glob("map*"))


def test_dice_of_masks():
    one, other = np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 0], bool)
    assert dice(one, other) == pytest.approx(2 / 3)
    assert np.isnan(dice(~(one | ~one), ~(one | ~one)))

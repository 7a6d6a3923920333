"""BrainWeb's files, whole and broken, and the heads made of them."""

import gzip
import hashlib
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from scipy.ndimage import affine_transform

from petbench.data.anatomy import LABELS
from petbench.data.brainweb import (
    BYTES,
    MODELS,
    TISSUES,
    Model,
    file_name,
    hand_placed,
    model_numbers,
    problem_of,
    read_model,
)
from petbench.data.brainweb_download import fetch_model, url_of
from petbench.data.brainweb_head import random_brainweb_head
from petbench.data.phantom import BRAINWEB_DEFAULTS, Phantom, make_brainweb_subject
from petbench.errors import InputError

SHAPE, VOXEL = (56, 56, 48), (4.0, 4.0, 4.0)
STILL = {"rotation_deg": 0, "translation_mm": 0}
NONE = {"pet_only": 0, "mr_only": 0, "shared": 0}
COARSE = {"working_mm": 2.0, "t1": {"voxel_mm": 4.0}}
SCHEMA = Path(__file__).parents[2] / "config/schemas/brainweb.yaml"


@pytest.fixture(scope="module")
def model(model_labels):
    return Model("04", model_labels, "0" * 64)


@pytest.fixture(scope="module")
def phantom(model):
    return subject(model)


def subject(model, shape=SHAPE, voxel=VOXEL, seed=7, rotation_deg=0.0, **changes) -> Phantom:
    return make_brainweb_subject(model, {**COARSE, **changes}, shape, voxel, seed, rotation_deg)


def volume(model, name):
    """Volume of a tissue of the model, in ml."""
    return np.count_nonzero(model.labels == TISSUES.index(name)) * 0.5**3 / 1000


def test_labels_are_read_as_they_were_written(tmp_path, model_labels, model_bytes):
    path = tmp_path / "subject_04.bin.gz"
    path.write_bytes(model_bytes)
    model = read_model(path, "04", sha256=hashlib.sha256(model_bytes).hexdigest().upper())
    np.testing.assert_array_equal(model.labels, model_labels)
    assert (model.number, model.sha256) == ("04", hashlib.sha256(model_bytes).hexdigest())
    with pytest.raises(InputError, match=r"subject_04\.bin\.gz: has the SHA-256 .*brainweb/sha256 says 000.*put model 04 in its place"):
        read_model(path, "04", sha256="0" * 64)


def spoilt(kind, good):
    if kind == "cut":
        return good[: len(good) // 2]
    if kind == "headless":
        return good[:-8]
    if kind == "damaged":
        return good[:-6] + b"\0\0" + good[-4:]  # its checksum
    if kind == "page":
        return b"<html><body>Service unavailable</body></html>"
    if kind == "plain":
        return b"not compressed"
    if kind == "empty":
        return b""
    if kind == "long":
        return good + gzip.compress(b"\0\0")
    raw = {"short": 1000, "byte": BYTES // 2}.get(kind, BYTES)
    words = bytearray(raw)
    if kind == "label":
        words[1000:1002] = (12 << 4).to_bytes(2, "little")
    return gzip.compress(words, compresslevel=1)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("cut", "cut short"),
        ("headless", "cut short"),
        ("damaged", "cannot be read as gzip"),
        ("page", "web page"),
        ("plain", "cannot be read as gzip"),
        ("empty", "holds 0 bytes"),
        ("long", "holds more than 113,746,192 bytes"),
        ("short", "holds 1,000 bytes uncompressed, and a model 113,746,192"),
        ("byte", "holds 56,873,096 bytes"),
        ("label", "holds label 12, and BrainWeb's are 0 to 11"),
        ("air", "holds 0.00 litres of grey matter"),
    ],
)
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path, model_bytes, kind, words):
    path = tmp_path / "subject_04.bin.gz"
    path.write_bytes(spoilt(kind, model_bytes))
    assert words in problem_of(path)
    with pytest.raises(InputError) as error:
        read_model(path, "04")
    assert str(error.value).startswith(f"{path}: ")
    assert words in str(error.value)
    assert "put model 04 in its place" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"subject_04\.bin\.gz: no such file"):
        read_model(tmp_path / "subject_04.bin.gz", "04")


def test_models_are_counted_or_named():
    assert model_numbers(3) == ["04", "05", "06"]
    assert model_numbers(20) == list(MODELS)
    assert model_numbers([4, "54", 41]) == ["04", "54", "41"]
    with pytest.raises(InputError, match="subjects: BrainWeb has 20 models, not 21"):
        model_numbers(21)
    with pytest.raises(InputError, match=r"subjects: there is no model '07'; BrainWeb's models are 04 05"):
        model_numbers(["04", 7])


@pytest.mark.parametrize("name", ["subject_04.bin.gz", "subject04_crisp_v.raws.gz", "Subject04_crisp.gz"])
def test_models_placed_by_hand_are_found_by_either_name(tmp_path, name):
    for other in ("subject_41.bin.gz", "subject040.gz", "subject_04.txt"):
        (tmp_path / other).touch()
    assert hand_placed(tmp_path, "04") is None
    (tmp_path / name).touch()
    assert hand_placed(tmp_path, "04") == tmp_path / name
    (tmp_path / "subject04.gz").touch()
    with pytest.raises(InputError, match=r"for model 04; keep one"):
        hand_placed(tmp_path, "04")


def test_no_folder_is_no_model(tmp_path):
    assert hand_placed(tmp_path / "absent", "04") is None


def test_a_model_is_asked_of_the_web_site_as_its_form_does(file_server, tmp_path, model_bytes):
    file_server.files["/cgi/brainweb1"] = model_bytes
    path = tmp_path / file_name("04")
    base = f"{file_server.url}/cgi/brainweb1"
    assert fetch_model("04", path, base) == hashlib.sha256(model_bytes).hexdigest()
    assert path.read_bytes() == model_bytes
    query = file_server.requests[0]["path"].partition("?")[2].split("&")
    assert {"do_download_alias=subject04_crisp", "format_value=raw_short", "zip_value=gnuzip"} < set(query)
    assert url_of("04").startswith("http://brainweb.bic.mni.mcgill.ca/cgi/brainweb1?")


@pytest.mark.parametrize(("fault", "words"), [("html", "web page"), (404, "404"), ("page", "does not begin as gzip")])
def test_an_answer_that_is_no_model_leaves_none(file_server, tmp_path, model_bytes, fault, words):
    file_server.files["/cgi"] = model_bytes
    file_server.faults = [fault]
    with pytest.raises(InputError, match=words) as error:
        fetch_model("04", tmp_path / file_name("04"), f"{file_server.url}/cgi", folder="data/brainweb")
    assert str(error.value).endswith("or download it by hand and put it at data/brainweb/subject_04.bin.gz.")
    assert not list(tmp_path.glob("*.gz*[!k]"))


def test_tissues_look_as_the_table_says(model):
    fine = subject(model, (96, 112, 96), (2.0, 2.0, 2.0), placement=STILL, regional_variation=0, lesions=NONE)
    head = random_brainweb_head(
        {**BRAINWEB_DEFAULTS, "placement": STILL, "regional_variation": 0}, model.labels, np.random.SeedSequence(7).spawn(1)[0]
    )
    points = np.einsum("ij,jxyz->ixyz", fine.affine[:3, :3], np.indices(fine.labels.shape)) + fine.affine[:3, 3].reshape(3, 1, 1, 1)
    fractions, uptake = head.tissues_at(points.astype(np.float32), 1.0)
    np.testing.assert_array_equal(uptake, 1)
    assert fractions.shape == (11, 96, 112, 96)
    assert set(np.unique(fractions.sum(axis=0))) == {0, 1}
    depth = head.depth(points.astype(np.float32))
    names = [tissue.name for tissue in head.tissues]
    pure = {name: (fractions[names.index(name)] == 1) & (depth > depth_mm) for name, depth_mm in (("grey", 6), ("white", 20))}
    for name, value in (("grey", 128 * 156.25), ("white", 32 * 156.25)):
        assert np.median(fine.activity[pure[name]]) == pytest.approx(value)
        assert np.median(fine.attenuation[pure[name]]) == pytest.approx(0.0975)
        assert np.median(fine.labels[pure[name]]) == LABELS[name]
    bone = (fractions[names.index("skull")] + fractions[names.index("marrow")]) == 1
    assert fine.attenuation.max() == pytest.approx(0.13)
    assert fine.attenuation[bone].mean() == pytest.approx(0.13, rel=0.1)
    assert (fine.attenuation == 0).mean() > 0.2
    skin = fine.activity[fractions[names.index("skin")] == 1]
    assert skin.max() <= 128 * 156.25
    assert np.median(skin) == pytest.approx(16 * 156.25, rel=0.2)


@pytest.mark.parametrize("voxel", [2.0863, 4.0, 8.0])
def test_total_activity_is_that_of_the_model(model, voxel):
    shape = tuple(int(np.ceil(size / voxel)) for size in (200, 230, 200))
    made = subject(model, shape, (voxel,) * 3, regional_variation=0, lesions=NONE, t1={"voxel_mm": 8.0})
    expected = sum(volume(model, name) * uptake * 156.25 for name, uptake in (("grey", 128), ("white", 32), ("skin", 16)))
    assert made.activity.sum() * voxel**3 / 1000 == pytest.approx(expected, rel=0.01)
    bone = volume(model, "skull") + volume(model, "marrow")
    head = np.count_nonzero(model.labels) * 0.5**3 / 1000
    assert made.attenuation.sum() * voxel**3 / 1000 == pytest.approx(0.13 * bone + 0.0975 * (head - bone), rel=0.01)


def test_a_coarse_image_is_the_fine_one_averaged(model):
    shared = {"working_mm": 3.0, "lesions": {**BRAINWEB_DEFAULTS["lesions"], "radius_mm": [9.0, 9.0]}, "t1": {"voxel_mm": 8.0}}
    fine = subject(model, (90, 90, 72), (3.0, 3.0, 3.0), **shared)
    coarse = subject(model, (30, 30, 24), (9.0, 9.0, 9.0), **shared)
    assert fine.lesions == coarse.lesions
    averaged = fine.activity.reshape(30, 3, 30, 3, 24, 3).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(coarse.activity, averaged, rtol=1e-3, atol=5)


def test_volumes_of_labels_are_those_of_the_model(phantom, model):
    litres = {name: np.count_nonzero(phantom.labels == value) * 4.0**3 / 1000 for name, value in LABELS.items()}
    lesions = np.count_nonzero(phantom.labels > 100) * 4.0**3 / 1000
    assert litres["grey"] + litres["white"] + lesions == pytest.approx(volume(model, "grey") + volume(model, "white"), rel=0.05)
    assert litres["skull"] == pytest.approx(volume(model, "skull") + volume(model, "marrow"), rel=0.4)
    assert litres["scalp"] > 0
    assert litres["csf"] > 0


def test_the_same_seed_gives_the_same_subject_and_another_one_another(model, phantom):
    again, other = subject(model), subject(model, seed=8)
    for name in ("activity", "attenuation", "labels", "t1", "t1_affine", "t1_to_pet"):
        np.testing.assert_array_equal(getattr(phantom, name), getattr(again, name))
    assert phantom.lesions == again.lesions != other.lesions
    assert not np.allclose(phantom.t1_to_pet, other.t1_to_pet)
    assert dict(phantom.origin) == {"Anatomy": "BrainWeb", "Model": "04", "SHA256": "0" * 64}


def test_lesions_of_three_kinds_lie_in_brain_tissue(model, phantom):
    without = subject(model, lesions=NONE)
    assert [lesion.kind for lesion in phantom.lesions] == ["pet_only"] * 2 + ["mr_only"] * 2 + ["shared"] * 3
    t1_in_pet = phantom.t1_to_pet @ phantom.t1_affine
    for lesion in phantom.lesions:
        voxels = phantom.labels == lesion.label
        assert voxels.sum() * 4.0**3 == pytest.approx(4 / 3 * np.pi * lesion.radius_mm**3, rel=0.6)
        assert np.isin(without.labels[voxels], (LABELS["grey"], LABELS["white"])).mean() > 0.75
        changed = np.abs(phantom.activity[voxels] - without.activity[voxels])
        assert (changed.mean() > 300) if lesion.on_pet else (changed == 0).all()
        centre = np.linalg.solve(t1_in_pet, [*lesion.centre_mm, 1])[:3].round().astype(int)
        x, y, z = (slice(index - 1, index + 2) for index in centre)
        changed = np.abs(phantom.t1[x, y, z] - without.t1[x, y, z])
        assert (changed.mean() > 5) if lesion.on_mr else (changed == 0).all()


def test_many_small_lesions_find_room(model):
    made = subject(model, (100, 120, 100), (2.0, 2.0, 2.0), lesions={"pet_only": 5, "mr_only": 5, "shared": 5, "radius_mm": [2.0, 8.0]})
    assert len(made.lesions) == 15
    assert all(2 <= lesion.radius_mm <= 8 for lesion in made.lesions)


def test_uptake_varies_by_region(model):
    flat, varied = (subject(model, lesions=NONE, regional_variation=sigma) for sigma in (0.0, 0.2))
    deep = (flat.labels == LABELS["white"]) & np.isclose(flat.activity, 5000)
    assert np.log(varied.activity[deep] / flat.activity[deep]).std() == pytest.approx(0.2, rel=0.4)
    np.testing.assert_array_equal(flat.attenuation, varied.attenuation)


@pytest.mark.parametrize("degrees", [0.0, 15.0, -40.0])
def test_the_t1_lies_on_the_pet_and_shows_the_signal_of_its_tissues(model, degrees):
    made = subject(model, lesions=NONE, rotation_deg=degrees, t1={"voxel_mm": 2.0, "bias_field": 0.0, "noise": 0.0})
    pet_to_t1 = np.linalg.inv(made.t1_affine) @ np.linalg.inv(made.t1_to_pet) @ made.affine
    moved = affine_transform(made.t1, pet_to_t1[:3, :3], pet_to_t1[:3, 3], output_shape=SHAPE, order=1)
    white = made.labels == LABELS["white"]
    assert np.median(moved[white]) == pytest.approx(154, rel=0.01)
    assert np.median(moved[made.labels == LABELS["grey"]]) == pytest.approx(106, rel=0.1)
    expected = np.select([white, made.labels == LABELS["grey"], made.labels > 0], [154, 106, 70], 0)
    assert np.corrcoef(moved.ravel(), expected.ravel())[0, 1] > 0.9


def test_a_turned_head_is_the_same_head_turned(model, phantom):
    turned = subject(model, rotation_deg=15.0)
    rotation = turned.t1_to_pet @ np.linalg.inv(phantom.t1_to_pet)
    np.testing.assert_allclose(rotation[:2, :2], [[np.cos(np.pi / 12), -np.sin(np.pi / 12)], [np.sin(np.pi / 12), np.cos(np.pi / 12)]])
    np.testing.assert_array_equal(turned.t1, phantom.t1)
    back = np.linalg.inv(turned.affine) @ rotation @ phantom.affine
    unturned = affine_transform(turned.activity, back[:3, :3], back[:3, 3], output_shape=SHAPE, order=1)
    assert np.corrcoef(unturned.ravel(), phantom.activity.ravel())[0, 1] > 0.98
    assert np.corrcoef(turned.activity.ravel(), phantom.activity.ravel())[0, 1] < 0.95
    for one, other in zip(phantom.lesions, turned.lesions, strict=True):
        np.testing.assert_allclose((rotation @ [*one.centre_mm, 1])[:3], other.centre_mm, atol=2e-3)
        assert (one.label, one.kind, one.radius_mm) == (other.label, other.kind, other.radius_mm)


def test_a_head_outside_the_field_of_view_is_refused(model):
    with pytest.raises(InputError, match="lesions: no room"):
        subject(model, (4, 4, 4))


def test_the_schema_and_the_defaults_are_one():
    schema = yaml.safe_load(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    source = {"url", "folder", "sha256"}
    jsonschema.validate(BRAINWEB_DEFAULTS, schema)

    def defaults(node):
        if "default" in node:
            return node["default"]
        assert node["additionalProperties"] is False
        return {key: defaults(child) for key, child in node["properties"].items()}

    assert {key: value for key, value in defaults(schema).items() if key not in source} == BRAINWEB_DEFAULTS
    assert source < set(schema["properties"])
    assert schema["properties"]["sha256"]["propertyNames"]["enum"] == list(MODELS)


def test_an_unknown_key_is_refused(model):
    with pytest.raises(InputError, match="brainweb: unknown key 'deformation_mm'"):
        subject(model, deformation_mm=3)

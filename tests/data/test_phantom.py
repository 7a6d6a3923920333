import socket
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import yaml
from scipy.ndimage import affine_transform, map_coordinates

from petbench.data.affines import centred_affine
from petbench.data.anatomy import LABELS
from petbench.data.deformation import exponential, jacobian_determinant, smooth_field
from petbench.data.lesions import FIRST_LABEL
from petbench.data.mni_head import LANDMARKS_MM, load_template, random_mni_head
from petbench.data.phantom import DEFAULTS, Phantom, _severity, _with_defaults, make_subject
from petbench.data.render import turn
from petbench.errors import InputError

SHAPE, VOXEL = (56, 56, 44), (4.5, 4.5, 4.5)
COARSE = {"working_mm": 4.5, "t1": {"voxel_mm": 4.5}}
NONE = {"pet_only": 0, "mr_only": 0, "shared": 0}
SCHEMA = Path(__file__).parents[2] / "config/schemas/phantom.yaml"


def subject(seed: int = 7, group: str = "control", **changes) -> Phantom:
    return make_subject({**COARSE, **changes}, SHAPE, VOXEL, seed, group)


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return subject()


def world(affine, shape):
    return np.einsum("ij,jxyz->ixyz", affine[:3, :3], np.indices(shape)) + affine[:3, 3].reshape(3, 1, 1, 1)


def ball(lesion, affine, shape):
    """Voxels well inside a lesion."""
    distance = np.linalg.norm(world(affine, shape) - np.reshape(lesion.centre_mm, (3, 1, 1, 1)), axis=0)
    return distance < max(lesion.radius_mm - 3, 3.2)


def test_the_maps_load_without_a_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("went to the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    load_template.cache_clear()
    assert load_template().grey.values.shape == (197, 233, 189)


def test_the_same_seed_gives_the_same_subject_bit_for_bit(phantom):
    again = subject()
    for name in ("activity", "attenuation", "labels", "t1", "t1_affine", "t1_to_pet"):
        np.testing.assert_array_equal(getattr(phantom, name), getattr(again, name))
    assert phantom.lesions == again.lesions


def test_another_seed_gives_another_head(phantom):
    other = subject(seed=8)
    brain, others = (np.isin(one.labels, (2, 3)) for one in (phantom, other))
    overlap = 2 * (brain & others).sum() / (brain.sum() + others.sum())
    assert 0.6 < overlap < 0.97
    assert not np.allclose(phantom.t1_to_pet, other.t1_to_pet)


def test_the_head_is_not_left_right_symmetric_once_deformed():
    still = {"placement": {"rotation_deg": 0, "translation_mm": 0}, "regional_variation": 0, "lesions": NONE}
    average, deformed = subject(deformation_mm=0, **still), subject(**still)
    np.testing.assert_allclose(average.activity, average.activity[::-1], rtol=1e-3, atol=20)
    difference = np.abs(deformed.activity - deformed.activity[::-1]).mean() / deformed.activity.mean()
    assert difference > 0.1


def test_the_deformation_keeps_orientation_everywhere():
    for seed in range(3):
        anatomy = random_mni_head(DEFAULTS, np.random.SeedSequence(seed))
        displacement = np.stack([axis.values for axis in anatomy.displacement])
        determinant = jacobian_determinant(displacement, anatomy.displacement[0].spacing_mm)
        assert 0.2 < determinant.min() < 0.9
        assert 1.1 < determinant.max() < 4
        assert np.sqrt((displacement**2).sum(axis=0).mean()) == pytest.approx(DEFAULTS["deformation_mm"], rel=0.25)


def test_the_whole_map_to_the_template_keeps_orientation(phantom):
    anatomy = random_mni_head(DEFAULTS, np.random.SeedSequence(phantom.seed).spawn(1)[0])
    points = np.random.default_rng(0).uniform(-85, 85, (3, 4000)).astype(np.float32)
    step = np.float32(2.0)
    columns = [anatomy.to_template(points + step * axis[:, None]) - anatomy.to_template(points) for axis in np.eye(3, dtype=np.float32)]
    determinants = np.linalg.det(np.stack(columns).transpose(2, 1, 0) / step)
    assert determinants.min() > 0.2


def test_a_folding_deformation_is_refused():
    with pytest.raises(InputError, match=r"phantom/deformation_mm.*lower the first or raise the second"):
        subject(deformation_mm=30.0, deformation_smoothness_mm=12.0)


def test_the_exponential_inverts_with_the_opposite_velocity():
    rng = np.random.default_rng(0)
    spacing = 4.0
    velocity = 3 * np.stack([smooth_field(rng, (30, 30, 30), 6.0) for _ in range(3)])
    forward, backward = exponential(velocity, spacing), exponential(-velocity, spacing)
    where = np.indices((30, 30, 30)) + forward / spacing
    there_and_back = forward + np.stack([map_coordinates(axis, where, order=1, mode="nearest") for axis in backward])
    inner = (slice(None), *(slice(6, 24),) * 3)
    assert np.abs(there_and_back[inner]).max() < 0.15
    assert np.abs(forward[inner]).max() > 3


def test_a_constant_velocity_is_a_translation():
    velocity = np.broadcast_to(np.float32([1, -2, 3]).reshape(3, 1, 1, 1), (3, 8, 8, 8))
    np.testing.assert_allclose(exponential(velocity, 2.0), velocity, rtol=1e-5)


def test_volumes_of_tissue_are_those_of_a_head(phantom):
    litres = {name: (phantom.labels == value).sum() * 4.5**3 / 1e6 for name, value in LABELS.items()}
    assert 0.2 < litres["csf"] < 0.7
    assert 0.8 < litres["grey"] < 1.5
    assert 0.4 < litres["white"] < 0.9
    assert 0.4 < litres["skull"] < 1.1
    assert 0.3 < litres["scalp"] < 1.0


def test_grey_is_four_times_white_in_pure_voxels():
    fine = make_subject({**COARSE, "regional_variation": 0, "lesions": NONE, "working_mm": 2.0}, (112, 112, 96), (2.0, 2.0, 2.0), 7)
    anatomy = random_mni_head(
        {**DEFAULTS, "regional_variation": 0}, np.random.SeedSequence(7).spawn(1)[0]
    )  # the head's own stream is the first
    fractions, _ = anatomy.tissues_at(world(fine.affine, fine.labels.shape).astype(np.float32), edge_mm=2.0)
    grey, white = (fine.activity[fractions[index] > 0.98].mean() for index in (1, 2))
    assert grey / white == pytest.approx(4, rel=0.03)
    assert fine.activity[fine.labels == 2].mean() / fine.activity[fine.labels == 3].mean() > 2.5


def test_attenuation_is_that_of_tissue_and_bone(phantom):
    mu = phantom.attenuation
    assert mu.min() == 0
    assert mu.max() <= 0.17
    brain = mu[np.isin(phantom.labels, (2, 3))]
    assert np.median(brain) == pytest.approx(0.096, abs=1e-4)
    assert brain.min() > 0.09
    assert np.mean(brain > 0.1) < 0.1  # only where a voxel of the cortex holds some skull
    assert 0.11 < mu[phantom.labels == LABELS["skull"]].mean() < 0.16
    # Air has neither attenuation nor activity, and everything active attenuates.
    assert (mu[phantom.activity > 100] > 0).all()


def test_activity_and_attenuation_do_not_depend_on_how_finely_voxels_are_cut():
    coarse, fine = (make_subject({**COARSE, "working_mm": step}, (28, 28, 24), (9.0, 9.0, 9.0), 7) for step in (4.5, 2.25))
    assert coarse.activity.sum() == pytest.approx(fine.activity.sum(), rel=0.01)
    assert coarse.attenuation.sum() == pytest.approx(fine.attenuation.sum(), rel=0.01)


def test_total_activity_is_the_same_on_fine_and_coarse_grids():
    shared = {**COARSE, "working_mm": 3.0, "lesions": {**DEFAULTS["lesions"], "radius_mm": [9.0, 9.0]}}
    fine = make_subject(shared, (84, 84, 72), (3.0, 3.0, 3.0), 7)
    coarse = make_subject(shared, (28, 28, 24), (9.0, 9.0, 9.0), 7)
    assert fine.lesions == coarse.lesions
    assert fine.activity.sum() * 27 == pytest.approx(coarse.activity.sum() * 729, rel=0.01)
    # The coarse image is the fine one averaged, voxel by voxel.
    averaged = fine.activity.reshape(28, 3, 28, 3, 24, 3).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(coarse.activity, averaged, rtol=1e-3, atol=5)


def test_each_lesion_shows_where_its_kind_says_and_nowhere_else(phantom):
    without = subject(lesions=NONE)
    t1_in_pet = phantom.t1_to_pet @ phantom.t1_affine
    for lesion in phantom.lesions:
        pet = ball(lesion, phantom.affine, SHAPE)
        mr = ball(lesion, t1_in_pet, phantom.t1.shape)
        assert pet.any()
        assert mr.any()
        changed = np.abs(phantom.activity[pet] - without.activity[pet])
        assert (changed.mean() > 300) if lesion.on_pet else (changed == 0).all()
        changed = np.abs(phantom.t1[mr] - without.t1[mr])
        assert (changed.mean() > 5) if lesion.on_mr else (changed == 0).all()


def test_lesions_have_the_uptake_the_table_says():
    phantom = subject(working_mm=1.5, lesions={"radius_mm": [9.0, 9.0], "mr_only": 0})
    for lesion in phantom.lesions:
        inside = ball(lesion, phantom.affine, SHAPE)
        assert phantom.activity[inside].mean() == pytest.approx(lesion.contrast * {"hot": 20000, "cold": 5000}[lesion.uptake], rel=0.02)
    assert {(lesion.kind, lesion.uptake) for lesion in phantom.lesions} == {
        (kind, uptake) for kind in ("pet_only", "shared") for uptake in ("hot", "cold")
    }


def test_lesions_are_labelled_apart_and_inside_the_brain(phantom):
    wanted = DEFAULTS["lesions"]
    assert [lesion.kind for lesion in phantom.lesions] == [kind for kind in ("pet_only", "mr_only", "shared") for _ in range(wanted[kind])]
    background = subject(lesions=NONE).labels
    for index, lesion in enumerate(phantom.lesions):
        assert lesion.label == FIRST_LABEL + index
        voxels = phantom.labels == lesion.label
        assert voxels.sum() * 4.5**3 == pytest.approx(4 / 3 * np.pi * lesion.radius_mm**3, rel=0.5)
        assert 4.5 <= lesion.radius_mm <= 8.0  # at least a voxel, so that it spans two
        assert np.isin(background[voxels], (1, 2, 3)).all()
        assert np.isin(background[voxels], (2, 3)).mean() > 0.5
        centre = world(phantom.affine, SHAPE)[:, voxels].mean(axis=1)
        np.testing.assert_allclose(centre, lesion.centre_mm, atol=3)
        for other in phantom.lesions[:index]:
            gap = np.linalg.norm(np.subtract(lesion.centre_mm, other.centre_mm))
            assert gap > lesion.radius_mm + other.radius_mm


def test_lesions_without_room_are_refused():
    with pytest.raises(InputError, match=r"lesions: no room.*fewer or smaller"):
        subject(lesions={"shared": 50, "radius_mm": [18.0, 20.0]})


def test_the_true_transform_lays_the_t1_on_the_pet():
    phantom = subject(lesions=NONE, t1={"voxel_mm": 4.5, "bias_field": 0.0})
    assert not np.allclose(phantom.t1_to_pet, np.eye(4), atol=0.01)
    np.testing.assert_allclose(phantom.t1_to_pet[:3, :3] @ phantom.t1_to_pet[:3, :3].T, np.eye(3), atol=1e-12)
    signal = DEFAULTS["t1"]["signal"]
    names = {1: "csf", 2: "grey", 3: "white", 5: "scalp"}
    expected = np.select([phantom.labels == label for label in names], [signal[name] for name in names.values()], 20.0)
    head = phantom.labels > 0

    def agreement(transform):
        pet_to_t1 = np.linalg.inv(phantom.t1_affine) @ np.linalg.inv(transform) @ phantom.affine
        moved = affine_transform(phantom.t1, pet_to_t1[:3, :3], pet_to_t1[:3, 3], output_shape=SHAPE, order=1)
        return np.corrcoef(moved[head], expected[head])[0, 1]

    assert agreement(phantom.t1_to_pet) > 0.8
    assert agreement(np.eye(4)) < agreement(phantom.t1_to_pet) - 0.2


def test_the_t1_holds_the_whole_head(phantom):
    faces = [phantom.t1[index] for axis in range(3) for index in ((slice(None),) * axis + (0,), (slice(None),) * axis + (-1,))]
    assert max(face.mean() for face in faces) < 10


def test_noise_and_bias_change_the_t1_alone(phantom):
    plain = subject(t1={"voxel_mm": 4.5, "noise": 0.0, "bias_field": 0.0})
    np.testing.assert_array_equal(plain.activity, phantom.activity)
    ratio = phantom.t1[plain.t1 > 80] / plain.t1[plain.t1 > 80]
    assert 0.75 < np.percentile(ratio, 1) < 0.97
    assert 1.03 < np.percentile(ratio, 99) < 1.25


def test_rician_noise_has_its_mean_in_air():
    phantom = subject(t1={"voxel_mm": 4.5, "noise": 0.05, "bias_field": 0.0})
    sigma = 0.05 * DEFAULTS["t1"]["signal"]["white"]
    corner = phantom.t1[:3, :3]
    assert corner.mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.1)  # Rayleigh


def test_no_rotation_changes_nothing(phantom):
    still = make_subject(COARSE, SHAPE, VOXEL, 7, rotation_deg=0.0)
    for name in ("activity", "attenuation", "labels", "t1", "t1_to_pet"):
        np.testing.assert_array_equal(getattr(still, name), getattr(phantom, name))
    assert still.lesions == phantom.lesions


@pytest.mark.parametrize("degrees", [15.0, -90.0])
def test_a_turned_head_is_the_same_head_turned(phantom, degrees):
    turned = make_subject(COARSE, SHAPE, VOXEL, 7, rotation_deg=degrees)
    assert turned.rotation_deg == degrees
    rotation = turned.t1_to_pet @ np.linalg.inv(phantom.t1_to_pet)
    assert np.rad2deg(np.arctan2(rotation[1, 0], rotation[0, 0])) == pytest.approx(degrees)
    np.testing.assert_allclose(rotation[2], [0, 0, 1, 0], atol=1e-12)
    np.testing.assert_array_equal(turned.t1, phantom.t1)
    back = np.linalg.inv(turned.affine) @ rotation @ phantom.affine
    for name in ("activity", "attenuation"):
        image, reference = getattr(turned, name), getattr(phantom, name)
        unturned = affine_transform(image, back[:3, :3], back[:3, 3], output_shape=SHAPE, order=1)
        assert np.corrcoef(unturned.ravel(), reference.ravel())[0, 1] > 0.95
        assert image.sum() == pytest.approx(reference.sum(), rel=0.01)
    for one, other in zip(phantom.lesions, turned.lesions, strict=True):
        np.testing.assert_allclose((rotation @ [*one.centre_mm, 1])[:3], other.centre_mm, atol=2e-3)
        assert (one.label, one.kind, one.radius_mm) == (other.label, other.kind, other.radius_mm)
        centre = np.linalg.solve(turned.affine, [*other.centre_mm, 1])[:3].round().astype(int)
        assert turned.labels[tuple(centre)] == one.label


def test_a_quarter_turn_of_a_square_grid_is_exact(phantom):
    turned = make_subject(COARSE, SHAPE, VOXEL, 7, rotation_deg=90.0)
    # From x towards y: what lay at (x, y) lies at (-y, x).
    expected = np.rot90(phantom.activity, k=1, axes=(0, 1))
    assert np.mean(np.abs(turned.activity - expected) > 1 + 1e-2 * expected) < 1e-3


def test_a_lesion_turned_out_of_the_field_of_view_is_refused():
    with pytest.raises(InputError, match=r"rotation_deg: turned by 90\.0 degrees, a lesion leaves the field of view"):
        make_subject({**COARSE, "lesions": {"shared": 30, "radius_mm": [4.5, 5.0]}}, (24, 56, 44), VOXEL, 7, rotation_deg=90.0)
    assert make_subject({**COARSE, "lesions": NONE}, (24, 56, 44), VOXEL, 7, rotation_deg=90.0).activity.any()


def test_a_short_field_of_view_cuts_the_head_and_nothing_else():
    lesions = {"lesions": NONE}
    whole = make_subject({**COARSE, **lesions}, SHAPE, VOXEL, 7)
    short = make_subject({**COARSE, **lesions}, (56, 56, 20), VOXEL, 7)
    for name in ("activity", "attenuation", "labels"):
        np.testing.assert_allclose(getattr(short, name), getattr(whole, name)[:, :, 12:32], rtol=1e-4, atol=0.5)
    np.testing.assert_array_equal(short.t1, whole.t1)


def test_the_middle_of_the_grid_is_the_origin():
    affine = centred_affine((5, 4, 3), (2.0, 3.0, 4.0))
    np.testing.assert_allclose(affine @ [2, 1.5, 1, 1], [0, 0, 0, 1])
    np.testing.assert_allclose(np.diag(affine), [2, 3, 4, 1])


def test_a_patient_loses_grey_matter_and_uptake_where_the_disease_strikes():
    control, patient = (subject(group=group, lesions=NONE, disease={"severity": [1.0, 1.0]}) for group in ("control", "patient"))
    assert (control.severity, patient.severity) == ((0.0, 0.0), (1.0, 1.0))
    lost = 1 - patient.activity / np.maximum(control.activity, 1)
    grey = control.labels == LABELS["grey"]
    assert (patient.labels == LABELS["grey"]).sum() < grey.sum()
    assert np.percentile(lost[grey], 99) > 0.25
    assert abs(np.median(lost[grey])) < 0.03  # most of the cortex is spared
    np.testing.assert_allclose(patient.attenuation, control.attenuation, atol=1e-6)
    with pytest.raises(InputError, match="group 'ill' is unknown; choose one of control, patient"):
        subject(group="ill")


def test_severities_are_correlated_not_equal_and_the_groups_overlap():
    disease = {"severity": [0.3, 1.0], "control_severity": [0.0, 0.5], "correlation": 0.7}
    drawn = {
        group: np.array([_severity(disease, group, np.random.SeedSequence(seed)) for seed in range(400)])
        for group in ("control", "patient")
    }
    for group, (low, high) in {"control": (0.0, 0.5), "patient": (0.3, 1.0)}.items():
        assert low <= drawn[group].min() < drawn[group].max() <= high
        assert 0.55 < np.corrcoef(drawn[group].T)[0, 1] < 0.8
    assert drawn["control"].max() > drawn["patient"].min()


@pytest.mark.parametrize("degrees", [0.0, 12.0])
def test_landmarks_are_where_the_head_has_them_in_the_space_of_its_t1(degrees):
    head = make_subject(
        {**COARSE, "lesions": NONE, "placement": {"rotation_deg": 0, "translation_mm": 0}}, SHAPE, VOXEL, 7, rotation_deg=degrees
    )
    parameters = _with_defaults(DEFAULTS, {**COARSE, "placement": {"rotation_deg": 0, "translation_mm": 0}}, "phantom")
    anatomy = random_mni_head(parameters, np.random.SeedSequence(7).spawn(5)[0])
    points = np.array(list(head.landmarks.values())).T
    world = turn(-degrees)[:3, :3] @ (head.t1_to_pet[:3, :3] @ points + head.t1_to_pet[:3, 3:])
    np.testing.assert_allclose(anatomy.to_template(world.astype(np.float32)).T, list(LANDMARKS_MM.values()), atol=0.05)


def test_the_schema_and_the_defaults_are_one():
    schema = yaml.safe_load(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(DEFAULTS, schema)

    def defaults(node):
        if node.get("type") != "object":
            return node["default"]
        assert node["additionalProperties"] is False
        return {key: defaults(child) for key, child in node["properties"].items()}

    def described(node):
        return "description" in node and all(described(child) for child in node.get("properties", {}).values())

    assert defaults(schema) == DEFAULTS
    assert described(schema)


def test_an_unknown_key_is_refused():
    with pytest.raises(InputError, match="unknown key 'deformation'"):
        subject(deformation=3)

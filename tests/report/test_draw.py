"""Pictures of experiments: which images they take, where their planes lie, and what they are called."""

import re

import numpy as np
import pytest

from petbench.errors import InputError
from petbench.report import draw as drawing
from petbench.report.draw import draw
from petbench.report.places import places_of, through_lesions
from petbench.report.viewer import head_box

TITLES = {"m_unet": "M-UNet", "mak_gan": "MAK-GAN"}
PHANTOM = {"title": "MNI phantoms", "source": "phantom", "preprocess": {"scaling": {"mode": "low_dose"}}, "evaluation": {}}
# Their centres in the phantoms of `volumes`, in voxels.
LESIONS = {"pet_only_lesion": (24, 14, 15), "mr_only_lesion": (24, 20, 15), "shared_lesion": (8, 20, 20)}


def entry(volumes, **views):
    return {
        "rows": ["low_dose", "m_unet"],
        "columns": [
            {"dataset": "mni", "dose": "drf4", "label": "25 % dose"},
            {"dataset": "mni", "dose": "drf25", "label": "4 % dose", "region": "brain"},
        ],
        "views": {"planes": ["axial"], **views},
    }


def files(volumes, experiment):
    """As `figure_inputs` lists them; the true activity stands for the MR."""
    shown = [next(subject for subject in volumes if subject.dose == dose) for _, dose in places_of(experiment)]
    names = [*(["true_activity"] if experiment["views"].get("mr") else []), "standard_dose", *experiment["rows"]]
    names = list(dict.fromkeys(names))
    given = {"images": [str(subject.volumes[name]) for subject in shown for name in names]}
    if through_lesions(experiment):
        given |= {"labels": [str(subject.labels) for subject in shown], "truth": [str(subject.truth) for subject in shown]}
    return given


@pytest.fixture
def drawn(volumes, monkeypatch):
    """Scenes of an experiment, which are not drawn."""

    def scenes(experiment, datasets=None, given=None):
        found = []
        monkeypatch.setattr(drawing, "views", lambda scenes, _: found.extend(scenes))
        draw(experiment, given or files(volumes, experiment), TITLES, datasets or {"mni": PHANTOM}, [])
        return found

    return scenes


def test_a_picture_names_doses_places_methods_and_units(volumes, tmp_path):
    experiment = entry(volumes, mr=True, through=["head", "lesion"], zoom_mm=40)
    draw(experiment, files(volumes, experiment), TITLES, {"mni": PHANTOM}, [tmp_path / "figure.svg", tmp_path / "figure.png"])
    said = re.findall("<!-- (.*?) -->", (tmp_path / "figure.svg").read_text())
    for dose in ("25 % dose", "4 % dose"):
        assert said.count(f"{dose}: through the middle of the head") == 1
        assert said.count(f"{dose}: through the largest lesion that PET shows") == 1
    for title in ("MR", "Standard dose", "Low dose", "M-UNet", "enlarged"):
        assert said.count(title) == 4, title
    assert said.count("kBq/ml") == 8  # of images and of errors
    assert not {"m_unet", "low_dose", "standard_dose", "mr", "drf4"} & set(said)


@pytest.mark.parametrize("through", LESIONS)
def test_planes_go_through_the_largest_lesion_of_a_kind(volumes, drawn, through):
    for scene in drawn(entry(volumes, through=[through])):
        place = LESIONS[through]
        (plane,) = scene.planes
        volume = drawing.load(next(subject for subject in volumes if scene.heading.startswith(label_of(subject))))[0]["standard_dose"]
        box = head_box(volume)
        np.testing.assert_array_equal(plane.images["Standard dose"], volume[box[0], box[1], place[2]].T)


def label_of(subject):
    return {"drf4": "25 % dose", "drf25": "4 % dose"}[subject.dose]


def test_planes_lie_in_slices_that_are_evaluated(volumes, drawn):
    """Others are not restored; a lesion that none of them holds is not shown, and the heading says so."""
    volume = drawing.load(volumes[0])[0]["standard_dose"]
    box = head_box(volume)
    for slices, through, z, said in (
        ([3, 17, 22], "pet_only_lesion", 17, "the largest PET-only lesion"),
        ([3, 20, 22], "pet_only_lesion", None, "the middle of the head, as no PET-only lesion lies in the slices evaluated"),
        ([22, 3], "head", 22, "the middle of the head"),
    ):
        scene = drawn(entry(volumes, through=[through]), {"mni": {**PHANTOM, "evaluation": {"slices": slices}}})[0]
        assert scene.heading == f"25 % dose: through {said}"
        if z is not None:
            np.testing.assert_array_equal(scene.planes[0].images["Standard dose"], volume[box[0], box[1], z].T)


def test_a_place_in_mm_is_that_of_the_image(volumes, drawn):
    """Voxels of 4 x 4 x 5 mm, from the corner."""
    scene = drawn(entry(volumes, through=[[80.0, 100.0, 60.0]]))[0]
    volume = drawing.load(volumes[0])[0]["standard_dose"]
    box = head_box(volume)
    np.testing.assert_array_equal(scene.planes[0].images["Standard dose"], volume[box[0], box[1], 12].T)
    assert scene.heading == "25 % dose: through 80, 100, 60 mm"
    with pytest.raises(InputError, match="lies outside the image"):
        drawn(entry(volumes, through=[[80.0, 100.0, 600.0]]))


def test_columns_of_one_place_share_a_picture_and_the_standard_dose_stands_once(volumes, drawn):
    experiment = entry(volumes)
    experiment["columns"] = [{**experiment["columns"][0], "label": name, "region": name} for name in ("brain", "whole")]
    experiment["rows"] = ["standard_dose", *experiment["rows"]]
    (scene,) = drawn(experiment)
    assert scene.heading == "MNI phantoms: through the middle of the head"
    assert list(scene.planes[0].images) == ["Standard dose", "Low dose", "M-UNet"]
    assert list(scene.restored) == ["M-UNet"]


def test_pet_that_is_made_of_mr_is_held_against_real_pet_in_its_own_units(volumes, drawn):
    experiment = {**entry(volumes, mr=True), "rows": ["m_unet"]}
    for scene in drawn(experiment, {"mni": {**PHANTOM, "preprocess": {"scaling": {"mode": "min_max"}}}}):
        assert list(scene.planes[0].images) == ["Grey matter", "Real PET", "M-UNet"]
        assert (scene.reference, list(scene.inputs), scene.unit.label) == ("Real PET", ["Grey matter"], "normalised units")


def test_two_methods_of_one_title_are_refused(volumes, drawn):
    experiment = entry(volumes)
    experiment["rows"] = ["m_unet", "mak_gan"]
    with pytest.raises(InputError, match="two are the same"):
        draw(experiment, files(volumes, experiment), dict.fromkeys(TITLES, "Net"), {"mni": PHANTOM}, [])

import re

import numpy as np
import pandas as pd
import pytest
from made_up import experiment
from matplotlib import image

from petbench.data.lesions import Lesion
from petbench.errors import InputError
from petbench.evaluation.definitions import VIEWS
from petbench.report import figures, slices
from petbench.report.tables import build_table
from petbench.report.viewer import IMAGE_UNITS, KBQ_ML, display_window, head_box, load


def draw_twice(draw, folder):
    """Bytes of the PNG and SVG of two runs."""
    runs = []
    for run in ("first", "second"):
        paths = [folder / run / "figure.png", folder / run / "figure.svg"]
        draw(paths)
        runs.append([path.read_bytes() for path in paths])
    return runs


@pytest.fixture(scope="module")
def arrays(volumes):
    return load(volumes[0])


def test_comparison_is_the_same_file_every_time(arrays, tmp_path):
    volumes, _, labels = arrays
    box = slices.choose_box(volumes["standard_dose"], labels == 101)
    first, second = draw_twice(lambda paths: slices.comparison(volumes, "standard_dose", box, KBQ_ML, paths), tmp_path)
    assert first == second
    assert image.imread(tmp_path / "first/figure.png").shape[2] in (3, 4)
    assert b"<svg" in first[1]


def test_comparison_marks_the_box_in_red_in_every_column(arrays, tmp_path):
    volumes, _, labels = arrays
    box = slices.choose_box(volumes["standard_dose"], labels == 101)
    slices.comparison(volumes, "standard_dose", box, KBQ_ML, [tmp_path / "figure.svg"])
    assert (tmp_path / "figure.svg").read_text().lower().count(slices.RED.lower()) >= 5 * len(volumes)  # the box and four sides below


def test_comparison_refuses_volumes_without_the_reference_or_on_two_grids(tmp_path):
    box = slices.Box((4, 4, 4), 2)
    with pytest.raises(InputError, match="standard: not among the volumes"):
        slices.comparison({"low": np.ones((9, 9, 9))}, "standard", box, KBQ_ML, [tmp_path / "x.png"])
    with pytest.raises(InputError, match="one grid"):
        slices.comparison({"low": np.ones((9, 9, 8)), "standard": np.ones((9, 9, 9))}, "standard", box, KBQ_ML, [tmp_path / "x.png"])
    assert list(tmp_path.iterdir()) == []


def test_unit_of_the_comparison_is_that_of_the_images(arrays, tmp_path):
    volumes, _, _ = arrays
    for unit in (KBQ_ML, IMAGE_UNITS):
        slices.comparison(volumes, "standard_dose", slices.Box((20, 20, 15), 4), unit, [tmp_path / "figure.svg"])
        text = (tmp_path / "figure.svg").read_text()  # matplotlib writes each text as a comment beside its outlines
        assert "<!-- error," in text
        assert f"{unit.label} -->" in text
        assert ("kBq/ml" in text) is (unit == KBQ_ML)
        assert ("<!-- 20000 -->" in text) is (unit == IMAGE_UNITS)


def lesion(label, kind):
    return Lesion(label, kind, (0.0, 0.0, 0.0), 5.0, "hot", 1.5)


def test_largest_lesion_on_pet_is_chosen_by_label_and_kind():
    labels = np.zeros((20, 20, 20))
    labels[2:8, 2:8, 2:8] = 101
    labels[8:18, 2:8, 2:8] = 102  # touches both others; were they one, the box would lie in its middle
    labels[18:20, 2:8, 2:8] = 103
    lesions = [lesion(101, "pet_only"), lesion(102, "mr_only"), lesion(103, "shared")]
    assert slices.largest_on_pet(labels, lesions) == lesions[0]
    assert slices.largest_on_pet(labels, lesions[1:]) == lesions[2]
    assert slices.largest_on_pet(labels, [lesions[1], lesion(104, "shared")]) is None


def test_box_lies_on_the_lesion_and_inside_the_volume(arrays):
    standard = arrays[0]["standard_dose"]
    mask = np.zeros(standard.shape, dtype=bool)
    mask[20:26, 30:36, 10:14] = True
    box = slices.choose_box(standard, mask, half=3)
    assert np.abs(np.subtract(box.centre, (22.5, 32.5, 11.5))).max() <= 0.5
    mask[:] = False
    mask[0, 0, 0] = True
    assert slices.choose_box(standard, mask, half=3).centre == (3, 3, 0)


def test_box_without_lesions_finds_the_strongest_edge_of_the_reference():
    volume = np.full((32, 32, 32), 10.0)
    volume[8, 20, 14:19] = 30  # a thin bright rod across the middle slices
    box = slices.choose_box(volume, half=3)
    assert abs(box.centre[0] - 8) <= 3
    assert abs(box.centre[1] - 20) <= 3
    assert box == slices.choose_box(volume, np.zeros(volume.shape, dtype=bool), half=3)


def test_training_curves_are_deterministic_and_thin_long_runs(content, tmp_path):
    histories = {f"fold {history.fold}": history.path for history in content.histories}
    first, second = draw_twice(lambda paths: figures.training_curves(histories, paths), tmp_path)
    assert first == second
    long = tmp_path / "long.tsv"
    steps = np.arange(200_000)
    pd.DataFrame({"step": steps, "loss": np.sin(steps)}).to_csv(long, sep="\t", index=False)
    figures.training_curves({"long": long}, [tmp_path / "long.svg"])
    assert (tmp_path / "long.svg").stat().st_size < 100_000


def test_training_curves_refuse_what_is_no_history(tmp_path):
    path = tmp_path / "history.tsv"
    with pytest.raises(InputError, match="no such history"):
        figures.training_curves({"run": path}, [tmp_path / "x.png"])
    path.write_text("loss\n1\n")
    with pytest.raises(InputError, match="has no column step"):
        figures.training_curves({"run": path}, [tmp_path / "x.png"])
    path.write_text("step\tepoch\n1\t1\n")
    with pytest.raises(InputError, match="logs no value"):
        figures.training_curves({"run": path}, [tmp_path / "x.png"])


def test_panels_show_every_tick_and_are_deterministic(metrics, tmp_path):
    entry = experiment("mak_gan_figure3")
    table = build_table(entry, metrics, (), {})
    first, second = draw_twice(lambda paths: figures.panels(entry, table, paths), tmp_path)
    assert first == second
    text = first[1].decode()
    for label in ("MKE block", "AKI block", "1:1:0", "2:1:1"):
        assert label in text  # matplotlib writes each text as a comment beside its outlines


def test_panels_refuse_a_method_that_is_no_row(metrics, tmp_path):
    entry = experiment("mak_gan_figure3")
    table = build_table(entry, metrics, (), {})
    panels = [{"title": "MKE", "ticks": [{"method": "m_unet", "label": "x"}]}]
    with pytest.raises(InputError, match="m_unet is not among the rows"):
        figures.panels({**entry, "panels": panels}, table, [tmp_path / "x.png"])


def test_other_suffixes_are_refused(metrics, tmp_path):
    entry = experiment("mak_gan_figure3")
    with pytest.raises(InputError, match=r"written as \.png or \.svg"):
        figures.panels(entry, build_table(entry, metrics, (), {}), [tmp_path / "figure.pdf"])


EDGES = (4.0, 4.0, 5.0)


def scene(
    volumes, planes=("coronal", "sagittal"), inputs=(), zoom_mm=None, unit=KBQ_ML, heading="25 % dose: through the middle of the head"
):
    reference = volumes["standard_dose"]
    centre = slices.middle_of_head(reference)
    restored = [title for title in volumes if title not in ("standard_dose", "low_dose", *inputs)]
    cuts = slices.cut(volumes, "standard_dose", planes, centre, EDGES, zoom_mm)
    return slices.Scene(heading, cuts, "standard_dose", inputs, restored, display_window(reference), unit)


def test_views_are_the_same_file_every_time_and_say_what_they_show(arrays, tmp_path):
    volumes, _, _ = arrays
    scenes = [scene(volumes, zoom_mm=40), scene(volumes, heading="4 % dose: through the middle of the head")]
    first, second = draw_twice(lambda paths: slices.views(scenes, paths), tmp_path)
    assert first == second
    text = first[1].decode()  # matplotlib writes each text as a comment beside its outlines
    for words in ("coronal", "sagittal", "25 % dose: through the middle of the head", "4 % dose: through the middle of the head", "kBq/ml"):
        assert f"<!-- {words} -->" in text, words
    assert text.count("<!-- enlarged -->") == 2


def test_planes_go_through_the_centre_and_keep_the_head_only(arrays):
    volume = arrays[0]["standard_dose"]
    x, y, z = slices.middle_of_head(volume)
    planes = {plane.name: plane for plane in slices.cut({"a": volume}, "a", list(VIEWS), (x, y, z), EDGES)}
    box = head_box(volume)
    np.testing.assert_array_equal(planes["sagittal"].images["a"], volume[x][box[1], box[2]].T)
    np.testing.assert_array_equal(planes["coronal"].images["a"], volume[:, y][box[0], box[2]].T)
    np.testing.assert_array_equal(planes["axial"].images["a"], volume[:, :, z][box[0], box[1]].T)
    assert (planes["axial"].aspect, planes["coronal"].aspect) == (1.0, 1.25)
    corner = (0, 0, 0)  # a place outside the head is shown with it
    (far,) = slices.cut({"a": volume}, "a", ["axial"], corner, EDGES)
    np.testing.assert_array_equal(far.images["a"], volume[: box[0].stop, : box[1].stop, 0].T)


def test_the_enlarged_box_has_its_size_in_mm_and_lies_around_the_place_or_the_strongest_edge():
    volume = np.zeros((40, 40, 20))
    volume[4:36, 4:36, 2:18] = 10.0
    volume[28:32, 10:14, 10] = 60.0
    for place, around, middle in (((12, 20, 10), True, (12, 20)), ((20, 20, 10), False, (29.5, 11.5)), ((4, 35, 10), True, None)):
        (plane,) = slices.cut({"a": volume}, "a", ["axial"], place, (2.0, 4.0, 2.0), 24.0, around)
        left, bottom, width, height = plane.box
        assert (width, height) == (12, 6)
        rows, columns = plane.images["a"].shape
        assert left >= 0 and bottom >= 0 and left + width <= columns and bottom + height <= rows  # noqa: PT018
        if middle is not None:
            low = [bounds.start for bounds in head_box(volume)[:2]]
            assert abs(low[0] + left + (width - 1) / 2 - middle[0]) <= 4
            assert abs(low[1] + bottom + (height - 1) / 2 - middle[1]) <= 2


def test_views_of_equal_volumes_have_white_errors_and_what_no_plane_shows_changes_nothing(arrays, tmp_path):
    reference = arrays[0]["standard_dose"]
    slices.views([scene({"standard_dose": reference, "same": reference.copy()}, ["axial"])], [tmp_path / "same.png"])
    hot = reference.copy()
    hot[0, 0, 0] = 1e9
    slices.views([scene({"standard_dose": reference, "same": hot}, ["axial"])], [tmp_path / "hot.png"])
    same, other = (image.imread(tmp_path / f"{name}.png") for name in ("same", "hot"))
    np.testing.assert_array_equal(same, other)  # outside the plane, so neither drawn nor in the scale of errors


def test_restored_images_set_the_scale_of_errors_and_the_low_dose_does_not(arrays, tmp_path):
    volumes, reference = arrays[0], arrays[0]["standard_dose"]
    given = {"standard_dose": reference, "low_dose": volumes["low_dose"], "m_unet": volumes["m_unet"]}
    noisier = given | {"low_dose": reference + 30 * (volumes["low_dose"] - reference)}
    texts = []
    for name, shown in (("given", given), ("noisier", noisier)):
        slices.views([scene(shown, ["axial"])], [tmp_path / f"{name}.svg"])
        texts.append(comments(tmp_path / f"{name}.svg"))
    assert texts[0] == texts[1]  # all ticks of both colour bars
    slices.views([scene(given | {"m_unet": reference + 30 * (volumes["m_unet"] - reference)}, ["axial"])], [tmp_path / "worse.svg"])
    assert comments(tmp_path / "worse.svg") != texts[0]


def comments(path):
    """All texts of a figure: matplotlib writes each as a comment beside its outlines."""
    return re.findall("<!-- (.*?) -->", path.read_text())


def test_an_input_has_a_window_of_its_own_and_no_error(arrays, tmp_path):
    volumes = arrays[0]
    for scale in (1.0, 1000.0):
        shown = {"MR": scale * volumes["true_activity"], "standard_dose": volumes["standard_dose"], "m_unet": volumes["m_unet"]}
        slices.views([scene(shown, ["axial"], inputs=("MR",))], [tmp_path / f"{scale}.png"])
    one, other = (image.imread(tmp_path / f"{scale}.png") for scale in (1.0, 1000.0))
    np.testing.assert_allclose(one, other, atol=2 / 255)


def similarity_table(path, encoder, decoder):
    rows = [
        ("encoder" if part == 0 else "decoder", "pet", row + 1, "mr", column + 1, value, 32, 500)
        for part, matrix in enumerate((encoder, decoder))
        for (row, column), value in np.ndenumerate(matrix)
    ]
    columns = ["part", "row_branch", "row_layer", "column_branch", "column_layer", "cka", "samples", "time_step"]
    pd.DataFrame(rows, columns=columns).to_csv(path, sep="\t", index=False, na_rep="nan")
    return path


def test_heat_maps_show_every_pair_of_layers_in_its_place(tmp_path):
    encoder, decoder = np.arange(6).reshape(2, 3) / 6, np.full((14, 14), 0.5)
    encoder[1, 1] = np.nan  # a layer that does not vary
    table = similarity_table(tmp_path / "table.tsv", encoder, decoder)
    first, second = draw_twice(lambda paths: figures.heat_maps(table, paths), tmp_path)
    assert first == second
    for words in (b"Encoder", b"Decoder", b"PET branch, layer", b"MR branch, layer", b"32 held-out windows at step 500"):
        assert words in first[1], words
    (drawn, _) = figures.similarity_matrices(pd.read_csv(table, sep="\t")).values()
    np.testing.assert_allclose(drawn.to_numpy(), encoder)

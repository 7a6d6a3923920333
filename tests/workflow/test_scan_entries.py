"""Which data sets have scans for methods that reconstruct: refused in one line, or n/a in a table that says so."""

import copy
from types import SimpleNamespace

import pytest

from petbench.errors import InputError
from petbench.workflow.scan_entries import left_out

LIBRARY = SimpleNamespace(resolve_whole=lambda kind, name: {"image": {"shape": [32, 32, 24]}}, files={"methods": {"fbsem": "fbsem.yaml"}})
SCANNED = {
    "source": "phantom",
    "scanner": "tiny",
    "simulation": {"counts": 1e6},
    "doses": {"low": {"drf": 4}},
    "preprocess": {"grid": {"shape": [24, 28, 24]}, "scaling": {"mode": "low_dose"}},
    "domains": {"axial": {"window": [24, 28, 1]}},
}
IMAGES = {"source": "bids", "doses": {"low": {"rec": "low"}}, "preprocess": SCANNED["preprocess"], "domains": {}}
METHODS = {
    "m_unet": {"train": {"domain": "axial"}, "restore": {"inputs": ["low_dose", "mr"]}},
    "fbsem": {"train": {"domain": "axial"}, "restore": {"inputs": ["low_dose", "mr", "acquisition"]}},
}


def checked(rows=("low_dose", "m_unet", "fbsem"), methods=METHODS, scanned=SCANNED, columns=("scanned",), **keys):
    shown = [{"dataset": name, "dose": "low"} for name in columns]
    experiment = {"rows": list(rows), "columns": shown} | keys
    return left_out(LIBRARY, experiment, methods, {"scanned": scanned, "images": IMAGES}, "table.yaml")


def changed(*place, to):
    found = copy.deepcopy(SCANNED)
    block = found
    for key in place[:-1]:
        block = block.setdefault(key, {})
    block[place[-1]] = to
    return found


def test_simulated_scans_of_direct_planes_are_enough():
    assert checked() == []


def test_whole_volumes_will_do_and_may_be_longer_than_the_scanner():
    longer = changed("preprocess", "grid", "shape", to=[24, 28, 30])
    longer["domains"] = {"axial": {"window": [24, 28, 30]}}
    assert checked(scanned=longer) == []


def test_a_data_set_of_images_only_is_refused_in_one_line():
    with pytest.raises(
        InputError, match=r"table\.yaml: rows: fbsem reconstructs scans, and data set 'images' comes as images only"
    ) as refused:
        checked(columns=("scanned", "images"))
    assert "\n" not in str(refused.value)


def test_it_reads_na_there_where_the_table_says_so():
    assert checked(columns=("scanned", "images"), where_possible=["fbsem"]) == [["images", "low", "fbsem"]]


@pytest.mark.parametrize("row", ["m_unet", "cncl"])
def test_only_rows_that_reconstruct_scans_can_lack_them(row):
    with pytest.raises(InputError, match=f"where_possible: '{row}' is no row that reconstructs scans"):
        checked(where_possible=[row])


@pytest.mark.parametrize(
    ("scanned", "words"),
    [
        (changed("simulation", "geometry", to="oblique"), "no sinograms of direct planes"),
        (changed("doses", "low", "simulation", to={"format": "list_mode"}), "no sinograms of direct planes"),
        (changed("preprocess", "grid", "voxel_mm", to=2.0), "seen on other voxels than its scanner's"),
        (changed("preprocess", "grid", "shape", to=[23, 28, 24]), "of another axis than its scanner's image"),
        (changed("preprocess", "scaling", "mode", to="own_range"), "scales the standard dose by itself"),
        (changed("domains", "axial", "window", to=[16, 16, 1]), "no domain 'axial' of whole axial slices"),
        (changed("preprocess", "structural", to={}), "comes as images only"),
    ],
)
def test_what_scans_must_be_is_named(scanned, words):
    with pytest.raises(InputError, match=words):
        checked(scanned=scanned)


@pytest.mark.parametrize(
    "reference", [{"init_from": {"dataset": "images", "dose": "low"}}, {"also_train_on": [{"dataset": "images", "dose": "low"}]}]
)
def test_what_it_is_trained_on_has_scans_too(reference):
    with pytest.raises(InputError, match=r"fbsem\.yaml: is trained on scans, and data set 'images' comes as images only"):
        checked(methods=METHODS | {"fbsem": METHODS["fbsem"] | reference})

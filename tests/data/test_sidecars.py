"""What sidecars say of an acquisition, and where a scan's contradicts those that weights were trained on."""

import json

import pytest

from petbench.data.acquired import acquired, unlike
from petbench.data.bids import read_sidecar
from petbench.errors import InputError


def test_nearer_sidecars_win(tmp_path):
    image = tmp_path / "sub-01/ses-1/pet/sub-01_ses-1_trc-FDG_pet.nii.gz"
    files = {
        "pet.json": {"Units": "Bq/mL", "A": 0, "B": 0, "C": 0},
        "trc-FDG_pet.json": {"A": 1},
        "trc-PIB_pet.json": {"A": 2, "B": 2},
        "T1w.json": {"B": 3},
        "sub-01/sub-01_pet.json": {"B": 4},
        "sub-01/ses-1/sub-01_ses-1_pet.json": {"B": 5, "C": 5},
        "sub-01/ses-1/pet/sub-01_ses-1_trc-FDG_pet.json": {"C": 6},
        "sub-02/sub-02_pet.json": {"A": 7},
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    assert read_sidecar(image) == {"Units": "Bq/mL", "A": 1, "B": 5, "C": 6}
    assert read_sidecar(tmp_path / "elsewhere/sub-01_pet.nii.gz") == {}
    (tmp_path / "pet.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"pet\.json: not valid JSON"):
        read_sidecar(image)


def test_what_a_sidecar_says_is_told_and_what_it_does_not_is_left_out(tmp_path):
    image = tmp_path / "sub-01_trc-PIB_pet.nii.gz"
    assert acquired(image) == {"tracer": "PIB"}
    sidecar = {
        "TracerName": "FDG",
        "TracerRadionuclide": "n/a",
        "ManufacturersModelName": "Biograph mMR",
        "DoseFraction": 0.25,
        "InjectedRadioactivity": 0.2,
        "InjectedRadioactivityUnits": "GBq",
        "FrameDuration": [60, 120],
        "PatientName": "DOE",
    }
    image.with_name("sub-01_trc-PIB_pet.json").write_text(json.dumps(sidecar))
    assert acquired(image) == {"tracer": "FDG", "scanner": "Biograph mMR", "dose_fraction": 0.25, "mbq_seconds": pytest.approx(36000)}
    for change in ({"InjectedRadioactivity": 0}, {"FrameDuration": ["n/a"]}, {"InjectedRadioactivityUnits": 3}, {"DoseFraction": "low"}):
        image.with_name("sub-01_trc-PIB_pet.json").write_text(json.dumps(sidecar | change))
        assert len(acquired(image)) == 3


TRAINED = [
    {"tracer": "FDG", "radionuclide": "F18", "scanner": "Biograph mMR", "dose_fraction": 0.04, "mbq_seconds": 4000.0},
    {"tracer": "FDG", "mbq_seconds": 6000.0},
]


@pytest.mark.parametrize(
    "scan",
    [
        {},
        {"tracer": "[18F]FDG", "radionuclide": "18F", "scanner": "biograph_mMR", "dose_fraction": 0.05, "mbq_seconds": 9000.0},
        {"tracer": "18F-FDG", "radionuclide": "F-18"},
        {"tracer": "Fluorodeoxyglucose F18"},
    ],
)
def test_one_thing_in_other_words_is_no_contradiction(scan):
    assert list(unlike(scan, TRAINED)) == []
    assert list(unlike(scan, [])) == []


@pytest.mark.parametrize(
    ("scan", "words"),
    [
        ({"tracer": "PIB"}, "tracer PIB for FDG"),
        ({"tracer": "[18F]AV45"}, "tracer [18F]AV45 for FDG"),
        ({"radionuclide": "C11"}, "radionuclide C11 for F18"),
        ({"scanner": "Vision 600"}, "scanner Vision 600 for Biograph mMR"),
        ({"dose_fraction": 1.0}, "dose fraction 1 for 0.04"),
        ({"mbq_seconds": 50000.0}, "mbq seconds 5e+04 for 4e+03, 6e+03"),
    ],
)
def test_another_tracer_scanner_or_dose_is_told(scan, words):
    assert list(unlike(scan, TRAINED)) == [words]

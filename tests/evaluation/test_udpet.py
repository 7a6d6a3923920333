"""The Ultra-Low Dose PET challenge on small files in its layout: read, bad cases left out, scored as by hand."""

import importlib.util
import math
from pathlib import Path

import nibabel
import numpy as np
import pytest

from petbench.data.nifti import volume
from petbench.errors import InputError
from petbench.evaluation.suv import suv_factor
from petbench.evaluation.udpet import LEFT_OUT, left_out, read_cases

ROOT = Path(__file__).parents[2]
BAD = "Anonymous_ANO_20220224_1711567_102845"
HEADER = "name,weight_kg,dose_bq,delay_s,half_life_s\n"
RNG = np.random.default_rng(0)
FULL = RNG.uniform(1000, 9000, (8, 9, 10)).astype(np.float32)
AFFINE = np.diag([2.0, 2.0, 5.0, 1.0])


def write(path, data):
    path.parent.mkdir(exist_ok=True)
    nibabel.save(volume(data.astype(np.float32), AFFINE), path)


@pytest.fixture
def lab(tmp_path):
    liver = np.zeros(FULL.shape)
    liver[2:5, 2:5, 2:5] = 1
    for case in ("Anonymous-01", "Anonymous-06", BAD):
        for drf in (4, 50, 100):
            write(tmp_path / f"low/{case}_DRF-{drf}.nii.gz", FULL * (1 + 0.1 * (drf == 100)))
        write(tmp_path / f"full/{case}.nii.gz", FULL)
        write(tmp_path / f"regions/{case}_liver.nii.gz", liver)
    (tmp_path / "low/notes.txt").write_text("x")
    (tmp_path / "meta.csv").write_text(HEADER + "Anonymous-01,70,2.5e8,3600,6586.2\nAnonymous-06,80,3e8,0,6586.2\n")
    return tmp_path


def run(lab, *extra):
    spec = importlib.util.spec_from_file_location("score_udpet", ROOT / "benchmarks/score_udpet.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main([str(lab / "low"), str(lab / "full"), str(lab / "low"), str(lab / "meta.csv"), str(lab / "out.tsv"), *extra])


def test_known_bad_cases_are_left_out_and_doses_decay_to_the_start_of_the_scan(lab):
    cases = read_cases(lab / "low", lab / "meta.csv")
    assert [(case.case, case.drf) for case in cases] == [
        ("Anonymous-01", 100), ("Anonymous-01", 4), ("Anonymous-01", 50), ("Anonymous-06", 100), ("Anonymous-06", 4),
    ]  # fmt: skip
    decayed = 2.5e8 * math.exp(-math.log(2) * 3600 / 6586.2)
    assert cases[0].factor == pytest.approx(70_000 / decayed)
    assert len(left_out()) == len(LEFT_OUT.read_text().splitlines()) - 1 == 9


def test_scores_are_those_made_by_hand(lab):
    assert run(lab, "--regions", str(lab / "regions")) == 0
    rows = [line.split("\t") for line in (lab / "out.tsv").read_text().splitlines()[1:]]
    values = {tuple(row[:4]): float(row[4]) for row in rows}
    worse = {key[2:]: value for key, value in values.items() if key[:2] == ("Anonymous-01", "100")}
    error = 0.1 * FULL.astype(np.float64)
    assert worse["whole", "PSNR"] == pytest.approx(10 * np.log10(FULL.max() ** 2 / np.mean(error**2)), abs=1e-4)
    assert worse["whole", "NRMSE"] == pytest.approx(0.1, abs=1e-5)
    for metric in ("SUVmean", "SUVmax", "TLM"):
        assert worse["liver", f"{metric} error"] == pytest.approx(10, abs=1e-3)
    assert values["Anonymous-01", "4", "liver", "SUVmax error"] == 0


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("", "no column"),
        (HEADER.replace("weight_kg", "PatientWeight") + "Anonymous-01,70,2e8,0,6586\n", "no column 'weight_kg'"),
        (HEADER + "Anonymous-01,70,2e8,0,6586\n", "no row of Anonymous-06"),
        (HEADER + "Anonymous-01,n/a,2e8,0,6586\nAnonymous-06,1,1,1,1\n", "weight_kg is 'n/a'"),
        (HEADER + "Anonymous-01,70,-2,0,6586\nAnonymous-06,1,1,1,1\n", "dose_bq"),
        (HEADER + "Anonymous-01,70,2e8,0,0\nAnonymous-06,1,1,1,1\n", "half_life_s"),
        (HEADER + "Anonymous-01,70,2e8,0,6586\n" * 2, "twice"),
    ],
)
def test_a_table_that_lacks_something_is_one_line_and_nothing_is_written(lab, capsys, table, words):
    (lab / "meta.csv").write_text(table)
    assert run(lab) == 1
    line = capsys.readouterr().err
    assert words in line
    assert line.count("\n") == 1
    assert not (lab / "out.tsv").exists()


def test_an_empty_region_or_another_grid_is_one_line(lab, capsys):
    write(lab / "regions/Anonymous-01_liver.nii.gz", np.zeros(FULL.shape))
    assert run(lab, "--regions", str(lab / "regions")) == 1
    assert "liver.nii.gz: region" in capsys.readouterr().err
    write(lab / "full/Anonymous-01.nii.gz", FULL[:-1])
    assert run(lab) == 1
    assert "its grid" in capsys.readouterr().err
    assert not (lab / "out.tsv").exists()


def test_columns_may_be_called_otherwise(lab):
    text = (lab / "meta.csv").read_text().replace("weight_kg", "PatientWeight")
    (lab / "meta.csv").write_text(text)
    assert run(lab, "--column", "weight_kg=PatientWeight") == 0


def test_suv_is_activity_times_weight_over_dose():
    assert suv_factor(70, 7e7) == pytest.approx(1e-3)
    with pytest.raises(InputError):
        suv_factor(70, 0)

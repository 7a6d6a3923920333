"""ADNI in its BIDS form: which images the shipped entries take, and the low dose that is made of them."""

import json

import numpy as np
import pytest
from repo import ROOT
from scipy.ndimage import gaussian_filter

from petbench.data.nifti import read_volume, volume
from petbench.data.preflight import check_images
from petbench.errors import InputError
from petbench.physics.from_image import from_image
from petbench.physics.scanner import Scanner
from petbench.workflow.entries import load
from petbench.workflow.schema import read_yaml
from petbench.workflow.subjects import image_of_lab

TYPES = ("coregavg", "coregiso")


@pytest.fixture
def adni(tmp_path):
    """Seven people as clinica's converter names them, FDG of both types at baseline, two of them with MR alone."""
    rng = np.random.default_rng(0)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, size) for size in (32, 32, 24)), indexing="ij")
    head = ((x / 0.5) ** 2 + (y / 0.6) ** 2 + (z / 0.7) ** 2 < 1) * (1 + (x > 0.1)) * 5000.0
    rows = ["participant_id\tdiagnosis"]
    for number in range(7):
        subject = f"sub-ADNI00{number}S041{number}"
        rows.append(f"{subject}\t{'AD' if number % 2 else 'CN'}")
        folder = tmp_path / "adni" / subject / "ses-M000"
        names = [f"anat/{subject}_ses-M000_T1w", *(f"pet/{subject}_ses-M000_trc-18FFDG_rec-{kind}_pet" for kind in TYPES)]
        for name in names[: 1 if number > 4 else None]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            image = volume(gaussian_filter(head * rng.uniform(0.9, 1.1, head.shape), 1.0).astype(np.float32), np.diag([8.0, 8.0, 8.0, 1.0]))
            (folder / f"{name}.nii").write_bytes(image.to_bytes())
            (folder / f"{name}.json").write_text(json.dumps({"Units": "Bq/mL"} if "pet" in name else {}))
    (tmp_path / "adni/participants.tsv").write_text("\n".join(rows) + "\n")
    return tmp_path / "adni"


def entry(experiment, dataset, folder):
    scale = {"scale": "adni", "run": [experiment], "override": {"datasets": {dataset: {"bids": str(folder)}}}}
    return load(scale, ROOT)["datasets"][dataset]


def test_m2diffs_entry_takes_unsmoothed_averages_and_makes_the_low_dose_of_them(adni, tmp_path):
    dataset = entry("m2diff_table3_adni", "adni_m2diff", adni)
    assert dataset["subjects"] == [f"ADNI00{number}S041{number}sesM000" for number in range(5)]
    assert len(dataset["left_out"]) == 2
    whom = dataset["subjects"][0]
    pet, mr = image_of_lab(dataset, whom, "standard"), image_of_lab(dataset, whom, None)
    assert "_rec-coregavg_" in pet.name
    check_images({whom: [str(mr), str(pet)]}, str(tmp_path / "preflight.json"))
    scanner = Scanner.from_entry(read_yaml(ROOT / "config/scanners/tiny.yaml"))
    low, said = tmp_path / "low.nii.gz", tmp_path / "low.json"
    few = dataset["reconstruction"] | {"iterations": 20}
    from_image(read_volume(pet), scanner, dataset["simulation"], dataset["doses"]["drf100"], "drf100", few, 1, low, said, threads=1)
    assert abs(json.loads(said.read_text())["PSNR"] - 21.5) < 0.1
    assert read_volume(low).shape == read_volume(pet).shape


def test_pcsa_gans_entry_takes_images_of_8_mm_and_labels(adni):
    dataset = entry("pcsa_gan_table1_adni", "adni_pcsa", adni)
    assert len(dataset["subjects"]) == 5
    assert len(dataset["mr_only"]) == 2
    assert all("_rec-coregiso_" in str(dataset["images"][name]["pet"]) for name in dataset["subjects"])


def test_without_the_folder_it_is_one_line(tmp_path):
    for experiment, dataset in (("m2diff_table3_adni", "adni_m2diff"), ("pcsa_gan_table1_adni", "adni_pcsa")):
        with pytest.raises(InputError, match="no such folder") as error:
            entry(experiment, dataset, tmp_path / "none")
        assert "\n" not in str(error.value)

"""Tables say what they were made from, and stored ones are held against the images they came from."""

import subprocess

import pytest

from petbench.files import checksum
from petbench.report.provenance import provenance, revision, sentence
from petbench.report.verify import differences

CONFIGURATION = {
    "datasets": {"mni": {"seed": 7, "split": {"seed": 0, "scheme": "k_fold"}}},
    "methods": {"m_unet": {"train": {"seed": 3, "steps": 2}}},
}


@pytest.fixture
def image(tmp_path):
    (tmp_path / "Jane_Doe.nii.gz").write_bytes(b"voxels")
    return tmp_path / "Jane_Doe.nii.gz"


def test_a_record_has_code_configuration_seeds_and_data_and_no_path(image):
    record = provenance(CONFIGURATION, {"train": "abc"}, ["mni/01/T1w"], [str(image)])
    assert record["seeds"] == {"datasets/mni/seed": 7, "datasets/mni/split/seed": 0, "methods/m_unet/train/seed": 3}
    assert record["data"] == {"mni/01/T1w": checksum(image)}
    assert record["code"] == {"train": "abc"}
    assert "Jane" not in str(record)


def test_what_changes_the_numbers_changes_the_sentence(image):
    def said(configuration=CONFIGURATION, code="abc"):
        return sentence(provenance(configuration, {"train": code}, ["mni/01/T1w"], [str(image)]), "table.json")

    first = said()
    assert first == said()
    assert first != said(code="abd")
    assert first != said(configuration={"methods": {}})
    image.write_bytes(b"other voxels")
    assert first != said()


def test_revision_is_what_git_says(tmp_path):
    assert revision(tmp_path) is None
    for command in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-q", "--allow-empty", "-m", "one"],
        ["tag", "v1"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    assert revision(tmp_path) == "v1"


HEAD = "dataset\tdose\tmethod\tfold\tsubject\treference\tregion\tmetric\tvalue\n"
ROW = "mni\tdrf4\tm_unet\t0\t01\tstandard_dose\twhole\tpsnr\t{}\n"


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (HEAD + ROW.format("30.000000000000004"), None),
        (HEAD + ROW.format("30.1"), "value is stored as 30.1, recomputed as 30.0"),
        (HEAD + ROW.format("n/a"), "value is stored as n/a"),
        (HEAD, "lacks the row mni drf4 m_unet 0 01 standard_dose whole psnr"),
        (HEAD + ROW.format(30.0) + ROW.format(1.0).replace("psnr", "ssim"), "has a row"),
        (HEAD + ROW.format("30.0") + ROW.format("31.0"), "more than once"),
        (HEAD.strip() + "\tnote\n" + ROW.format("30.0").strip() + "\tgood\n", "has a column note"),
        (HEAD.replace("metric", "measure") + ROW.format("30.0"), "lacks the columns that name its rows"),
        ("", "cannot be read as a table"),
        ("<html>no</html>", "cannot be read as a table"),
        (None, "no such file"),
    ],
)
def test_each_difference_is_one_line(tmp_path, stored, words):
    (tmp_path / "anew.tsv").write_text(HEAD + ROW.format("30.0"))
    if stored is not None:
        (tmp_path / "metrics.tsv").write_text(stored)
    lines = differences(tmp_path / "metrics.tsv", tmp_path / "anew.tsv")
    assert len(lines) == (words is not None)
    assert all(words in line and "metrics.tsv" in line for line in lines)

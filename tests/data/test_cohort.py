import nibabel
import numpy as np
import pytest

from petbench.data.cohort import Member, read_cohort
from petbench.errors import InputError
from petbench.workflow.subjects import with_subjects

DIAGNOSIS = {"positive": "AD", "negative": "CN", "column": "group"}
SPLIT = {"scheme": "k_fold", "folds": 2, "seed": 0}
GROUPS = {"01": "AD", "02": "CN", "03": "AD", "04": "CN", "05": "AD", "06": "CN"}
ALONE = ("05", "06")


def image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.ones((2, 2, 2), np.float32), np.eye(4)), path)
    return path


@pytest.fixture
def bids(tmp_path):
    root = tmp_path / "adni"
    for name in GROUPS:
        image(root / f"sub-{name}/anat/sub-{name}_T1w.nii.gz")
        if name not in ALONE:
            image(root / f"sub-{name}/ses-m00/pet/sub-{name}_ses-m00_trc-FDG_pet.nii.gz")
    rows = "".join(f"sub-{name}\t{group}\t70\n" for name, group in GROUPS.items())
    (root / "participants.tsv").write_text(f"participant_id\tgroup\tage\n{rows}")
    return {"source": "bids", "bids": str(root), "diagnosis": DIAGNOSIS, "split": SPLIT}


@pytest.fixture
def table(tmp_path):
    for name in GROUPS:
        image(tmp_path / f"scans/{name}_mr.nii.gz")
        image(tmp_path / f"scans/{name}_pet.nii.gz")
    rows = "".join(f"{n},{g},scans/{n}_mr.nii.gz,{'' if n in ALONE else f'scans/{n}_pet.nii.gz'}\n" for n, g in GROUPS.items())
    (tmp_path / "adni.csv").write_text(f"subject,group,t1w,pet\n{rows}")
    return {"source": "table", "table": str(tmp_path / "adni.csv"), "diagnosis": DIAGNOSIS, "split": SPLIT}


@pytest.mark.parametrize("source", ["bids", "table"])
def test_a_cohort_is_read_with_its_labels_and_those_without_pet_are_known(source, request):
    entry = request.getfixturevalue(source)
    members = read_cohort(entry)
    assert {name: member.label for name, member in members.items()} == GROUPS
    assert all(nibabel.load(member.t1w).shape == (2, 2, 2) for member in members.values())
    resolved = with_subjects(entry)
    assert (resolved["subjects"], resolved["mr_only"]) == (["01", "02", "03", "04"], list(ALONE))
    assert resolved["labels"] == GROUPS
    assert resolved["images"]["05"]["pet"] is None
    assert resolved["split"]["strata"] == {name: GROUPS[name] for name in resolved["subjects"]}


def change(entry, old, new):
    from pathlib import Path

    path = Path(entry["table"]) if entry["source"] == "table" else Path(entry["bids"]) / "participants.tsv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("source", "old", "new", "message"),
    [
        ("bids", "sub-02\tCN\t70\n", "", "participants.tsv: sub-02 has images and no row; add its diagnosis"),
        ("bids", "sub-06\t", "sub-07\tCN\t70\nsub-06\t", "participants.tsv: sub-07 has a diagnosis and no folder"),
        ("bids", "sub-03\tAD", "sub-03\tMCI", "participants.tsv: sub-03: group 'MCI' is unknown; it is AD or CN"),
        ("bids", "sub-03\tAD", "sub-03\tn/a", "sub-03 has no group; add it"),
        ("bids", "group", "dx", "has no column 'group' .it has participant_id, dx, age.; add it"),
        ("bids", "sub-03\tAD", "sub-02\tAD", "sub-02 is listed twice"),
        ("table", "03,AD,scans/03_mr.nii.gz", "03,AD,scans/none.nii.gz", "subject 03: .*none.nii.gz does not exist; mend the path"),
        ("table", "03,AD,scans/03_mr.nii.gz", "03,AD,", "subject 03 has a diagnosis and no t1w"),
        ("table", "03,AD", "03,SMC", "03: group 'SMC' is unknown; it is AD or CN"),
        ("table", "\n03", "\n0 3", "subject '0 3': labels are letters a to z and digits"),
        ("table", "t1w", "mr", "has no column 't1w'"),
        ("table", "\n03", "\nMüller", "subject 'Müller': labels are letters a to z and digits"),
        ("table", "03,AD,scans/03_mr.nii.gz,scans/03_pet.nii.gz", "03,AD", "subject 03 has a diagnosis and no t1w"),
    ],
)
def test_what_is_wrong_is_one_line(source, old, new, message, request):
    entry = request.getfixturevalue(source)
    change(entry, old, new)
    with pytest.raises(InputError, match=message) as caught:
        with_subjects(entry)
    assert "\n" not in str(caught.value)


def test_a_row_may_end_before_a_pet_that_there_is_not(table):
    change(table, "05,AD,scans/05_mr.nii.gz,", "05,AD,scans/05_mr.nii.gz")
    assert read_cohort(table)["05"].pet is None


def test_one_group_alone_is_no_study(table):
    for name in ("02", "04"):
        change(table, f"{name},CN", f"{name},AD")
    with pytest.raises(InputError, match="diagnosis: all subjects with PET are AD; a study needs AD and CN"):
        with_subjects(table)


def test_a_missing_table_is_named(tmp_path):
    entry = {"source": "table", "table": str(tmp_path / "none.csv"), "diagnosis": DIAGNOSIS}
    with pytest.raises(InputError, match=r"none.csv: cannot be read .* a diagnosis study needs this table"):
        read_cohort(entry)


def test_phantoms_have_their_share_of_patients_in_either_part():
    entry = {"source": "phantom", "subjects": 9, "mr_only": 6, "diagnosis": {"positive": "AD", "negative": "CN", "share": 0.33}}
    resolved = with_subjects(entry | {"split": SPLIT})
    assert resolved["subjects"] == [f"{n:02d}" for n in range(1, 10)]
    assert resolved["mr_only"] == [f"{n:02d}" for n in range(10, 16)]
    ill = [name for name, label in resolved["labels"].items() if label == "AD"]
    assert [sum(name in part for name in ill) for part in (resolved["subjects"], resolved["mr_only"])] == [2, 1]


def test_a_member_has_a_label_an_mr_and_perhaps_pet(table):
    member = read_cohort(table)["01"]
    assert isinstance(member, Member)
    assert member.pet.endswith("01_pet.nii.gz")

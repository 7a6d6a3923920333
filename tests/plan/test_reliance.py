"""Reliance: a fold's subjects restored with their own images and with another person's; and what figures show of several places."""

import pytest

from .entries import dataset, job, method, plan, table

METHODS = {"plain": method(restore={"stride": [4, 4, 4]}), "denser": method(weights_of={"method": "plain"}, restore={"stride": [2, 2, 2]})}
EXPERIMENTS = {
    "swapped": table(["plain", "denser"], ("mni", "drf4"), kind="reliance", subjects=1),
    "shown": table(["low_dose", "plain"], ("mni", "drf4"), ("mni", "drf25"), kind="table", views={"mr": True, "through": ["lesion"]}),
}


@pytest.fixture
def own():
    copies = {f"{phantom}r{turn}": {"phantom": phantom, "rotation_deg": turn} for phantom in ("01", "02", "03") for turn in (1, 2)}
    mni = dataset(subjects=list(copies), phantoms=copies, evaluation={"lpips": {}, "slice_axis": 2})
    return plan(EXPERIMENTS, datasets={"mni": mni}, methods=METHODS, scanners={"tiny": {}})


def fold(name, row="plain"):
    return job(experiment="swapped", dataset="mni", dose="drf4", method=row, fold=name)


def test_the_table_is_built_from_every_fold_of_every_row(own):
    folder = "results/made_up/reliance/swapped/mni/drf4"
    wanted = [f"{folder}/{row}/fold-{name}.tsv" for row in METHODS for name in ("0", "1", "2")]
    assert own.report.values("swapped") == wanted == own.page.inputs(job())["reliance"]
    assert not own.evaluation.metrics(["swapped"])
    assert own.verification.tables(job())["results/made_up/tables/swapped.tsv"]["files"] == {"metrics": wanted}


def test_another_persons_images_stand_in_and_the_weights_are_those_of_the_row(own):
    inputs = own.reliance.inputs(fold("1", "denser"))
    assert own.reliance.subjects_of(fold("1")) == ["02r1"]
    assert own.reliance.people_of(fold("1")) == ["02"]
    assert inputs["weights"].endswith("mni/drf4/plain/fold-1/model.safetensors")
    (mine,), (theirs,) = inputs["prepared"], inputs["others"]
    assert "/sub-02r1/" in mine
    assert "/sub-02r" not in theirs
    assert own.reliance.settings(fold("1")) == {"slice_axis": 2}


def test_a_denser_stride_is_granted_more_time_and_each_swap_as_much_as_the_row(own):
    plain, denser = (own.trainings.minutes(job(dataset="mni", dose="drf4", method=row, subject="02r1")) for row in METHODS)
    assert denser >= plain
    assert own.reliance.minutes(fold("1")) == 4 * plain


def test_the_record_names_those_who_stand_in(own):
    names = own.records.names_behind("swapped")
    assert {name.split("/")[1] for name in names} == set(own.subjects.everybody(job(dataset="mni")))
    assert "reliance" in own.records.stages("swapped")
    assert not {"evaluate", "restore_subject"} & own.records.stages("swapped").keys()


def test_pictures_show_mr_the_reference_and_each_row_of_every_place(own):
    (subject, *_) = own.subjects.tested("mni")
    drawn = own.report.drawn(job(experiment="shown"))
    assert drawn["images"] == [
        path
        for dose in ("drf4", "drf25")
        for path in (
            f"results/made_up/mni/registered/sub-{subject}/sub-{subject}_space-pet_T1w.nii.gz",
            own.images.pet("mni", subject, "standard"),
            own.images.pet("mni", subject, dose),
            own.images.restored("mni", dose, "plain", subject),
        )
    ]
    assert len(drawn["labels"]) == len(drawn["truth"]) == 2
    assert own.report.pictured(job(experiment="shown"))["mni"]["evaluation"] == {"slice_axis": 2}
    assert "figures/shown.png" in " ".join(own.report.files(["shown"]))

"""Which weights restore whom, and what those are trained on, as paths."""

import pytest

from petbench.errors import InputError

from .entries import dataset, job, method, plan, table

METHODS = {
    "plain": method(),
    "after": method(init_from={"dataset": "external", "dose": "drf4", "method": "plain", "fold": "all"}),
    "mixed": method(also_train_on=[{"dataset": "external", "dose": "drf4"}]),
    "denser": method(weights_of={"method": "plain"}),
    "foreign": method(weights_of={"dataset": "external", "method": "plain", "fold": "all"}),
    "fused": method(ensemble=["plain", "mixed"]),
}
EXTERNAL = dataset(seed=2, subjects=["11", "12"])
CHAIN = plan({"chain": table(["low_dose", *METHODS], ("mni", "drf4"))}, datasets={"mni": dataset(), "external": EXTERNAL}, methods=METHODS)
TRAININGS = CHAIN.trainings


def to_restore(name, subject="03"):
    return TRAININGS.to_restore(job(dataset="mni", dose="drf4", method=name, subject=subject))


def training(name, fold="2"):
    return job(dataset="mni", dose="drf4", method=name, fold=fold)


def weights(name, fold="2", data="mni"):
    return f"results/made_up/{data}/drf4/{name}/fold-{fold}/model.safetensors"


@pytest.mark.parametrize(
    ("name", "restored_by"),
    [
        ("plain", weights("plain")),
        ("after", weights("after")),
        ("mixed", weights("mixed")),
        ("denser", weights("plain")),
        ("foreign", weights("plain", "all", "external")),
    ],
)
def test_a_subject_is_restored_by_the_weights_of_the_fold_that_tests_it(name, restored_by):
    assert to_restore(name) == {
        "prepared": "results/made_up/mni/drf4/prepared/patches/sub-03/prepared.json",
        "image": "results/made_up/mni/bids/sub-03/pet/sub-03_rec-drf4_pet.nii.gz",
        "weights": restored_by,
    }


def test_a_training_reads_its_folds_subjects_and_all_of_the_set_that_is_mixed_in():
    own = [f"results/made_up/mni/drf4/prepared/patches/sub-{subject}/prepared.json" for subject in ("01", "02")]
    others = [f"results/made_up/external/drf4/prepared/patches/sub-{subject}/prepared.json" for subject in ("11", "12")]
    assert TRAININGS.data(training("plain")) == own
    assert TRAININGS.data(training("mixed")) == own + others


def test_a_training_starts_from_none_or_from_the_weights_that_it_refers_to():
    assert TRAININGS.start(training("plain")) == []
    assert TRAININGS.start(training("after")) == [weights("plain", "all", "external")]


def test_an_ensemble_fuses_images_and_costs_what_its_parts_cost():
    wanted = job(dataset="mni", dose="drf4", method="fused", subject="03")
    parts = [f"results/made_up/mni/drf4/{part}/restored/sub-03/pet/sub-03_rec-drf4_desc-restored_pet" for part in ("plain", "mixed")]
    assert TRAININGS.to_fuse(wanted) == {
        "images": [f"{part}.nii.gz" for part in parts],
        "sidecars": [f"{part}.json" for part in parts],
    }
    assert [(one.method, one.fold) for one in TRAININGS.behind("mni", "drf4", "fused")] == [
        (part, fold) for part in ("plain", "mixed") for fold in ("0", "1", "2")
    ]


def test_a_subject_that_no_fold_tests_is_restored_by_nobody():
    held = dataset(split={"scheme": "holdout", "test": 1, "validation": 1, "seed": 0})
    of_holdout = plan({"one": table(["plain"], ("mni", "drf4"))}, datasets={"mni": held}, methods=METHODS)
    (tested,) = of_holdout.subjects.tested("mni")
    other = next(subject for subject in held["subjects"] if subject != tested)
    with pytest.raises(InputError, match=f"data set mni: subject '{other}' is in no fold"):
        of_holdout.trainings.to_restore(job(dataset="mni", dose="drf4", method="plain", subject=other))


def test_copies_of_a_person_are_tested_together_and_restored_by_one_training():
    copies = {f"{phantom}r{turn}": {"phantom": phantom, "rotation_deg": turn} for phantom in ("01", "02") for turn in (1, 2)}
    of_copies = plan(
        {"one": table(["plain"], ("mni", "drf4"))}, datasets={"mni": dataset(subjects=list(copies), phantoms=copies)}, methods=METHODS
    )
    of_copies.trainings.check()
    found = {subject: of_copies.trainings.weights_for("mni", "drf4", "plain", subject).fold for subject in copies}
    assert found == {"01r1": "0", "01r2": "0", "02r1": "1", "02r2": "1"}
    data = of_copies.trainings.data(job(dataset="mni", dose="drf4", method="plain", fold="0"))
    assert [path.split("/sub-")[1][:4] for path in data] == ["02r1", "02r2"]
    seeds = {subject: of_copies.subjects.head_seed(job(dataset="mni", subject=subject)) for subject in copies}
    assert seeds["01r1"] == seeds["01r2"] != seeds["02r1"]
    assert len({of_copies.subjects.scan_seed(job(dataset="mni", subject=subject)) for subject in copies}) == 4


def test_the_plan_refuses_weights_that_saw_the_subject_under_test():
    peeking = METHODS | {"peeking": method(weights_of={"method": "plain", "fold": "all"})}
    bad = plan({"one": table(["peeking"], ("mni", "drf4"))}, datasets={"mni": dataset()}, methods=peeking)
    with pytest.raises(InputError, match=r"config/methods/peeking.yaml: fold 0 of 'mni' tests subject '01'"):
        bad.trainings.check()

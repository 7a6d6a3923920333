"""Diagnosis and PET made of MR: whose volumes and weights a classifier takes."""

import pytest

from petbench.errors import InputError

from .entries import dataset, job, method, plan, table

LABELS = {"01": "AD", "02": "CN", "03": "AD", "04": "CN", "09": "AD"}


@pytest.fixture
def own():
    cohort = dataset(subjects=["01", "02", "03", "04"], mr_only=["09"], labels=LABELS, doses={}, diagnosis={"positive": "AD"})
    cohort["preprocess"]["structural"] = {}
    cohort["split"] = {"scheme": "k_fold", "folds": 4, "seed": 0}
    study = table(["mr", "real_pet", "made"], ("cohort", "none"), ("cohort", "none"), kind="diagnosis", classifier="net")
    study["columns"][0]["study"], study["columns"][1]["study"] = "paired", "mr_only"
    classifier = {"domain": "volumes", "train_pet": "generated", "bootstrap": 10, "title": "Net"}
    made = method(module="pcsa_gan", train={"domain": "volumes"})
    found = plan(
        {"study": study}, datasets={"cohort": cohort}, methods={"made": made}, classifiers={"net": classifier}, scanners={"tiny": {}}
    )
    found.diagnosis.check()
    return found


def fold(name):
    return job(dataset="cohort", dose="none", classifier="net", fold=name)


def test_scores_of_every_fold_and_of_those_without_pet_are_shown(own):
    folder = "results/made_up/cohort/none/diagnosis/net"
    assert own.diagnosis.scores(["study"]) == [f"{folder}/fold-{name}/scores.tsv" for name in ("0", "1", "2", "3", "all")]
    assert not own.evaluation.metrics(["study"])


def test_pet_to_train_on_is_made_by_weights_that_saw_neither_it_nor_the_tested(own):
    inputs, roles = own.diagnosis.to_classify(fold("1")), own.diagnosis.roles(fold("1"))
    names = [path.split("/fold-")[1].split("/")[0] for path in inputs["generators"]]
    assert sorted(names) == sorted(["1", "0-1", "1-2", "1-3"])
    (tested,) = roles["test"]
    assert names[roles["rows"]["made"][tested]] == "1"
    for subject in roles["train"]:
        own_fold = own.subjects.fold_of("cohort", subject)
        assert names[roles["rows"]["made"][subject]] == "-".join(sorted(["1", own_fold]))
    assert roles["rows"]["mr"] is None
    assert set(roles["rows"]["real_pet"].values()) == {None}
    assert roles["ill"] == {subject: int(LABELS[subject] == "AD") for subject in [*roles["train"], tested]}


def test_those_with_mr_only_are_tested_by_a_classifier_of_everybody_else(own):
    inputs, roles = own.diagnosis.to_classify(fold("all")), own.diagnosis.roles(fold("all"))
    assert (roles["study"], roles["test"]) == ("mr_only", ["09"])
    assert roles["train"] == ["01", "02", "03", "04"]
    assert inputs["test"] == ["results/made_up/cohort/none/prepared/volumes/mr_only/sub-09/prepared.json"]
    assert "real_pet" not in roles["rows"]


def test_the_record_of_a_diagnosis_names_everybody_and_the_classifier(own):
    names = own.records.names_behind("study")
    assert "cohort/09/T1w" in names
    assert "cohort/09/standard" not in names
    assert set(own.records.configuration("study")["classifiers"]) == {"net"}
    assert "classify" in own.records.stages("study")
    assert own.diagnosis.modules(fold("0")) == ["pcsa_gan"]


def test_labels_go_to_those_with_pet_as_the_cohort_has_them(own):
    told = {subject: own.subjects.diagnosis(job(dataset="cohort", subject=subject)) for subject in LABELS}
    assert told == {subject: int(label == "AD") for subject, label in LABELS.items()}


def test_a_generator_told_the_diagnosis_makes_no_pet_of_anybody_whose_label_it_was_told(own):
    """Neither for training a classifier nor for testing it: whose label shaped an image would be read off it again."""
    own.scale.methods["made"]["train"]["supervision"] = ["diagnosis"]
    assert own.trainings.kinds(job(dataset="cohort", dose="none", method="made", fold="0"))[-1] == "diagnosis"
    for name in ("0", "1", "2", "3", "all"):
        study = own.diagnosis.classified(fold(name))
        for subject, maker in study.pet["made"].items():
            read = own.trainings.data(job(dataset=maker.dataset, dose=maker.dose, method=maker.method, fold=maker.fold))
            told = {path.split("/sub-")[1].split("/")[0] for path in read}
            assert told
            assert not told & {subject, *study.test}


def test_a_generator_of_a_pair_of_folds_that_is_told_one_group_alone_is_refused(own):
    """Of four people the pair of folds that test both patients leaves two controls, which only a method that is told so minds."""
    own.diagnosis.check()
    own.scale.methods["made"]["train"]["supervision"] = ["diagnosis"]
    with pytest.raises(InputError, match=r"fold \d-\d trains 'made', which learns from the diagnosis, on \w+ alone; give fewer") as caught:
        own.diagnosis.check()
    assert "\n" not in str(caught.value)

"""Diagnosis studies: who trains, who tests, whose PET comes from where, and the proof that nobody tested was seen."""

import copy
from itertools import product
from pathlib import Path

import pytest

from petbench.errors import InputError
from petbench.plan.lineage import Training, check_study, check_unseen, seen, study_of
from petbench.preprocess.splits import ALL, folds, people_of
from petbench.workflow.entries import load
from petbench.workflow.library import merge
from petbench.workflow.schema import read_yaml

ROOT = Path(__file__).parents[2]
ROWS = ["mr", "real_pet", "pcsa_gan"]
SMALL = {"override": {"datasets": {"ad_mni": {"subjects": 12, "mr_only": 4, "split": {"folds": 3}}}}}


def resolved(**change):
    return load(merge(merge(read_yaml(ROOT / "config/paper.yaml") | {"run": ["pcsa_gan_table3", "pcsa_gan_figure6"]}, SMALL), change), ROOT)


@pytest.fixture
def entries():
    return copy.deepcopy(resolved())


def study(entries, fold, train_pet="generated"):
    return study_of(entries, "ad_mni", "none", ROWS, train_pet, fold)


@pytest.mark.parametrize("fold", ["0", "1", "2", ALL])
def test_nobody_tested_was_seen_by_the_classifier_or_by_any_generator_behind_it(entries, fold):
    found = study(entries, fold)
    assert not set(found.train) & set(found.test)
    check_study(entries, "ad_mni", "none", found)
    for subject, maker in found.pet["pcsa_gan"].items():
        known = {sample.subject for sample in seen(entries, maker)}
        assert known
        assert not known & {subject, *found.test}


def test_generators_are_those_of_pairs_of_folds_and_of_the_folds_themselves(entries):
    entry = entries["datasets"]["ad_mni"]
    tests = folds(people_of(entry), entry["split"])
    for fold, other in product(tests, tests):
        makers = {study(entries, fold).pet["pcsa_gan"][subject].fold for subject in tests[other]}
        assert makers == {fold if fold == other else "-".join(sorted((fold, other)))}
        assert {study(entries, ALL).pet["pcsa_gan"][subject].fold for subject in tests[other]} == {other}
    assert {study(entries, ALL).pet["pcsa_gan"][subject].fold for subject in entry["mr_only"]} == {ALL}


def test_real_pet_may_train_and_those_with_mr_only_have_none(entries):
    found = study(entries, "0", train_pet="real")
    assert all(found.pet["pcsa_gan"][subject] is None for subject in found.train)
    assert all(found.pet["pcsa_gan"][subject] == Training("ad_mni", "none", "pcsa_gan", "0") for subject in found.test)
    assert "real_pet" not in study(entries, ALL).pet
    assert set(found.pet) == {"real_pet", "pcsa_gan"}


@pytest.mark.parametrize("fold", [ALL, "1"])
def test_a_generator_that_saw_somebody_tested_is_refused(entries, fold):
    entries["methods"]["pcsa_gan"]["init_from"] = {"method": "cgan_unet", "fold": ALL}
    with pytest.raises(InputError, match=r"pcsa_gan.yaml: PET of subject '\d+' of 'ad_mni' is made by weights .* that were trained on"):
        check_study(entries, "ad_mni", "none", study(entries, "0"))
    del entries["methods"]["pcsa_gan"]["init_from"]
    entries["datasets"]["ad_mni"]["mr_only"] += entries["datasets"]["ad_mni"]["subjects"][:1]
    with pytest.raises(InputError, match="trains the classifier that it tests"):
        check_study(entries, "ad_mni", "none", study(entries, ALL))
    with pytest.raises(InputError, match="tests subject"):
        check_unseen(entries, "pcsa_gan", "ad_mni", "none")


def test_two_folds_leave_nobody_for_generators_out_of_fold():
    entries = resolved(override={"datasets": {"ad_mni": {"split": {"folds": 2}}}})
    with pytest.raises(InputError, match="fold 0-1 leaves nobody to train a generator on; give three folds or more"):
        check_study(entries, "ad_mni", "none", study(entries, "0"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"datasets": {"ad_mni": {"subjects": 4, "split": {"folds": 4}}}}, "trains on one group alone; give fewer folds or more subjects"),
        ({"datasets": {"ad_mni": {"split": {"folds": 13}}}}, "split/folds: 13 folds need as many subjects, and there are 12"),
        ({"datasets": {"ad_mni": {"diagnosis": {"share": 0.05}}}}, "diagnosis: all subjects with PET are CN; a study needs AD and CN"),
        ({"datasets": {"ad_mni": {"mr_only": 0}}}, "everybody in data set 'ad_mni' has PET; leave the study mr_only out"),
        ({"classifiers": {"resnet": {"inputs": {"pool": 3}}}}, "inputs/pool 3 of the classifier does not divide"),
        ({"datasets": {"ad_mni": {"preprocess": {"grid": {"shape": [80, 80, 80]}}}}}, "no domain 'volumes' with one window as large as"),
        ({"datasets": {"ad_mni": {"doses": {"low": {"fraction": 0.5}}}}}, "PET made of MR alone has no doses"),
        ({"experiments": {"pcsa_gan_table3": {"metrics": ["psnr"]}}}, "metrics: there is no 'psnr'"),
        ({"experiments": {"pcsa_gan_table3": {"rows": ["mr", "low_dose"]}}}, "'low_dose' is no row of a diagnosis"),
        ({"experiments": {"pcsa_gan_figure6": {"rows": ["mr", "m_unet"]}}}, "data set 'ad_mni' has no domain 'patches'"),
    ],
)
def test_studies_that_cannot_be_are_one_line(change, message):
    with pytest.raises(InputError, match=message) as caught:
        resolved(override=change)
    assert "\n" not in str(caught.value)

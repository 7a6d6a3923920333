import pytest
from hypothesis import given
from hypothesis import strategies as st

from petbench.errors import InputError
from petbench.preprocess.splits import ALL, fold_testing, folds, train_subjects

SUBJECTS = [f"{number:02d}" for number in range(1, 12)]


@st.composite
def entries(draw):
    count = draw(st.integers(2, 20))
    subjects = [f"{number:02d}" for number in range(count)]
    if draw(st.booleans()):
        return subjects, {"scheme": "leave_one_out"}
    return subjects, {"scheme": "k_fold", "folds": draw(st.integers(2, count)), "seed": draw(st.integers(0, 2**31))}


@given(entries())
def test_each_subject_is_tested_once_and_never_by_a_fold_that_saw_it(entry):
    subjects, split = entry
    tests = folds(subjects, split)
    assert sorted(subject for tested in tests.values() for subject in tested) == subjects
    for fold, tested in tests.items():
        trained = train_subjects(subjects, split, fold)
        assert tested
        assert trained
        assert sorted(tested + trained) == subjects
        assert all(fold_testing(subjects, split, subject) == fold for subject in tested)
    sizes = [len(tested) for tested in tests.values()]
    assert max(sizes) - min(sizes) <= 1
    assert folds(subjects, split) == tests


def test_leave_one_out_has_a_fold_a_subject():
    assert folds(SUBJECTS, {"scheme": "leave_one_out"}) == {str(n): [subject] for n, subject in enumerate(SUBJECTS)}


def test_k_fold_follows_from_its_seed():
    splits = [folds(SUBJECTS, {"scheme": "k_fold", "folds": 3, "seed": seed}) for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_the_fold_of_all_trains_on_everyone():
    assert train_subjects(SUBJECTS, {"scheme": "leave_one_out"}, ALL) == SUBJECTS


def test_errors():
    split = {"scheme": "k_fold", "folds": 3, "seed": 0}
    with pytest.raises(InputError, match="12 folds"):
        folds(SUBJECTS, split | {"folds": 12})
    with pytest.raises(InputError, match="fold '3' does not exist; the folds are 0, 1, 2 and all"):
        train_subjects(SUBJECTS, split, "3")
    with pytest.raises(InputError, match="'99' is in no fold"):
        fold_testing(SUBJECTS, split, "99")

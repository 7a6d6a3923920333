import pytest
from hypothesis import given
from hypothesis import strategies as st

from petbench.errors import InputError
from petbench.preprocess.splits import (
    ALL,
    another,
    fold_testing,
    folds,
    pair_of,
    people_of,
    subjects_tested,
    train_subjects,
    validation_subjects,
)

SUBJECTS = [f"{number:02d}" for number in range(1, 12)]
ALONE = {subject: subject for subject in SUBJECTS}


@st.composite
def entries(draw):
    """People, in up to three copies each, and a split of them."""
    count, copies = draw(st.integers(2, 20)), draw(st.integers(1, 3))
    people = {f"{number:02d}r{copy}": f"{number:02d}" for number in range(count) for copy in range(copies)}
    seed = {"seed": draw(st.integers(0, 2**31))}
    scheme = draw(st.sampled_from(["leave_one_out", "k_fold", "holdout"]))
    if scheme == "leave_one_out":
        return people, {"scheme": scheme}
    if scheme == "k_fold":
        return people, {"scheme": scheme, "folds": draw(st.integers(2, count)), **seed}
    test = draw(st.integers(1, count - 1))
    return people, {"scheme": scheme, "test": test, "validation": draw(st.integers(0, count - 1 - test)), **seed}


@given(entries())
def test_who_stands_in_is_another_person_of_the_fold_if_it_tests_any(entry):
    people, split = entry
    for fold, tests in folds(people, split).items():
        others = [another(people, split, subject) for subject in tests]
        assert all(people[other] != people[subject] for other, subject in zip(others, tests, strict=True))
        alone = len({people[subject] for subject in tests}) == 1
        assert set(others) <= set(train_subjects(people, split, fold) if alone else tests)
        if not alone and len(set(people.values())) == len(people):
            assert sorted(others) == sorted(tests)  # everybody stands in once


@given(entries())
def test_nobody_is_tested_by_a_fold_that_saw_them_or_a_copy_of_them(entry):
    people, split = entry
    tests = folds(people, split)
    validation = validation_subjects(people, split)
    every = [subject for tested in tests.values() for subject in tested]
    assert len(set(every)) == len(every)
    assert sorted(every) == sorted(subjects_tested(people, split))
    for fold, tested in tests.items():
        trained = train_subjects(people, split, fold)
        sides = [{people[subject] for subject in side} for side in (tested, trained, validation)]
        assert tested
        assert trained
        assert sorted(tested + trained + validation) == sorted(people)
        assert len(sides[0] | sides[1] | sides[2]) == sum(len(side) for side in sides)
        assert all(fold_testing(people, split, subject) == fold for subject in tested)
    assert folds(people, split) == tests


@given(entries())
def test_folds_test_each_person_once_in_equal_shares_but_for_a_holdout(entry):
    people, split = entry
    sizes = [len({people[subject] for subject in tested}) for tested in folds(people, split).values()]
    count = len(set(people.values()))
    if split["scheme"] == "holdout":
        assert sizes == [split["test"]]
        assert len({people[subject] for subject in validation_subjects(people, split)}) == split["validation"]
    else:
        assert sum(sizes) == count
        assert max(sizes) - min(sizes) <= 1
        assert validation_subjects(people, split) == []


def test_leave_one_out_has_a_fold_a_person():
    assert folds(ALONE, {"scheme": "leave_one_out"}) == {str(n): [subject] for n, subject in enumerate(SUBJECTS)}
    copies = {"01r1": "01", "01r2": "01", "02r1": "02", "02r2": "02"}
    assert folds(copies, {"scheme": "leave_one_out"}) == {"0": ["01r1", "01r2"], "1": ["02r1", "02r2"]}


@pytest.mark.parametrize("split", [{"scheme": "k_fold", "folds": 3}, {"scheme": "holdout", "test": 3, "validation": 3}])
def test_a_shuffle_follows_from_its_seed(split):
    splits = [folds(ALONE, split | {"seed": seed}) for seed in (0, 0, 1)]
    assert splits[0] == splits[1] != splits[2]


def test_the_holdout_of_mfdiff_is_sixteen_three_and_one():
    people = {f"{number:02d}r{copy}": f"{number:02d}" for number in range(20) for copy in range(1, 6)}
    split = {"scheme": "holdout", "test": 1, "validation": 3, "seed": 0}
    assert [len(train_subjects(people, split, "0")), len(validation_subjects(people, split)), len(folds(people, split)["0"])] == [80, 15, 5]


def test_the_fold_of_all_trains_on_everyone():
    assert train_subjects(ALONE, {"scheme": "leave_one_out"}, ALL) == SUBJECTS
    assert train_subjects(ALONE, {"scheme": "holdout", "test": 1, "validation": 3}, ALL) == SUBJECTS


def test_subjects_are_themselves_unless_they_are_copies():
    assert people_of({"subjects": ["a", "b"]}) == {"a": "a", "b": "b"}
    copies = {"01r1": {"phantom": "01", "rotation_deg": 3.0}, "01r2": {"phantom": "01", "rotation_deg": 9.0}}
    assert people_of({"subjects": list(copies), "phantoms": copies}) == {"01r1": "01", "01r2": "01"}


def test_errors():
    split = {"scheme": "k_fold", "folds": 3, "seed": 0}
    with pytest.raises(InputError, match="12 folds need as many subjects"):
        folds(ALONE, split | {"folds": 12})
    with pytest.raises(InputError, match="3 folds need as many phantoms, and there are 2"):
        folds({"01r1": "01", "01r2": "01", "02r1": "02"}, split)
    with pytest.raises(InputError, match="fold '3' does not exist; the folds are 0, 1, 2 and all"):
        train_subjects(ALONE, split, "3")
    with pytest.raises(InputError, match="'99' is in no fold"):
        fold_testing(ALONE, split, "99")
    holdout = {"scheme": "holdout", "test": 1, "validation": 1}
    with pytest.raises(InputError, match="'01' is in no fold; the subjects tested are 03"):
        fold_testing({"01": "01", "02": "02", "03": "03"}, holdout, "01")
    with pytest.raises(InputError, match="1 for test and 10 for validation leave none of 11"):
        folds(ALONE, holdout | {"validation": 10})


def test_a_pair_of_folds_trains_on_those_whom_neither_tests():
    people = {f"{n:02d}": f"{n:02d}" for n in range(9)}
    split = {"scheme": "k_fold", "folds": 3, "seed": 0}
    tests = folds(people, split)
    for one, other in (("0", "1"), ("2", "0")):
        trained = train_subjects(people, split, pair_of(one, other))
        assert sorted(trained) == sorted(set(people) - set(tests[one]) - set(tests[other]))
    assert pair_of("10", "2") == pair_of("2", "10") == "2-10"
    with pytest.raises(InputError, match="fold '0-7' does not exist"):
        train_subjects(people, split, "0-7")


def test_folds_share_out_each_group():
    people = {f"{n:02d}": f"{n:02d}" for n in range(12)}
    strata = {name: "AD" if int(name) < 4 else "CN" for name in people}
    for seed in range(5):
        found = folds(people, {"scheme": "k_fold", "folds": 4, "seed": seed, "strata": strata})
        assert all([strata[name] for name in tests].count("AD") == 1 for tests in found.values())
        assert sorted(name for tests in found.values() for name in tests) == sorted(people)

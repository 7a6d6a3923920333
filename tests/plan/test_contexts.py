"""Auto-context: who makes the volume that a second stage sees of each subject, and the proof that nobody tested was seen on the way."""

import copy
from itertools import combinations
from pathlib import Path

import pytest

from petbench.errors import InputError
from petbench.plan.lineage import Training, check_unseen, contexts, seen, weights_of
from petbench.preprocess.splits import ALL, folds, people_of, train_subjects
from petbench.workflow.entries import load
from petbench.workflow.schema import read_yaml

from .entries import dataset, entries, job, method, plan, table

ROOT = Path(__file__).parents[2]
METHODS = {"first": method(), "second": method(context={"method": "first"}), "third": method(context={"method": "second"})}
EIGHT = [f"{number:02d}" for number in range(1, 9)]
SPLITS = {
    "one by one": {"scheme": "leave_one_out"},
    "one by one, in groups": {"scheme": "leave_one_out", "inner": 3, "seed": 4},
    "folds": {"scheme": "k_fold", "folds": 4, "seed": 0},
    "folds, in groups": {"scheme": "k_fold", "folds": 4, "seed": 0, "inner": 2},
    "holdout, in groups": {"scheme": "holdout", "test": 2, "validation": 1, "seed": 0, "inner": 2},
}


def studied(split, subjects=EIGHT, **methods):
    found = {"mni": dataset(subjects=subjects, split=split)}
    return entries({"shown": table(["third"], ("mni", "drf4"))}, datasets=found, methods=copy.deepcopy(METHODS) | methods)


def people(samples):
    return {sample.subject for sample in samples}


@pytest.mark.parametrize("split", SPLITS.values(), ids=SPLITS)
@pytest.mark.parametrize("name", ["second", "third"])
def test_whoever_makes_a_context_saw_neither_the_subject_nor_anybody_tested(split, name):
    given = studied(split)
    known = people_of(given["datasets"]["mni"])
    for fold, tests in folds(known, split).items():
        training = Training("mni", "drf4", name, fold)
        makers = contexts(given, training)
        assert people(makers) == set(train_subjects(known, split, fold))
        for sample, maker in makers.items():
            shaped = people(seen(given, maker))
            assert shaped
            assert not shaped & {sample.subject, *tests}
        assert people(seen(given, training)) == set(train_subjects(known, split, fold))
    check_unseen(given, name, "mni", "drf4")


def test_copies_of_a_phantom_are_on_one_side_of_an_inner_split():
    given = studied({"scheme": "holdout", "test": 1, "validation": 0, "seed": 0, "inner": 2})
    entry = given["datasets"]["mni"]
    entry["phantoms"] = {f"{name}r{turn}": {"phantom": name, "rotation_deg": 3.0 * turn} for name in EIGHT for turn in (1, 2)}
    entry["subjects"] = list(entry["phantoms"])
    for sample, maker in contexts(given, Training("mni", "drf4", "second", "0")).items():
        assert sample.subject[:2] not in {subject[:2] for subject in people(seen(given, maker))}
    check_unseen(given, "second", "mni", "drf4")


@pytest.mark.parametrize(
    ("broken", "through"),
    [
        ({"first": method(init_from={"method": "other", "fold": ALL}), "other": method()}, "fold 0-1"),
        ({"first": method(weights_of={"method": "other", "fold": ALL}), "other": method()}, "fold all"),
        ({"first": method(weights_of={"method": "other", "dose": "drf25", "fold": "1"}), "other": method()}, "fold 1"),
    ],
)
@pytest.mark.parametrize("name", ["second", "third"])
def test_a_first_stage_that_saw_somebody_tested_is_refused(broken, through, name):
    check_unseen(studied(SPLITS["one by one"]), name, "mni", "drf4")
    with pytest.raises(InputError, match=r"context: that of subject '\d+', on which fold [\d-]+ of 'mni' trains, is made by") as caught:
        check_unseen(studied(SPLITS["one by one"], **broken), name, "mni", "drf4")
    assert through in str(caught.value)
    assert "\n" not in str(caught.value)


OTHERS = {"scheme": "leave_one_out"}


def test_the_context_of_a_tested_subject_is_proven_too():
    elsewhere = {"dataset": "ext", "method": "second", "fold": ALL}
    given = studied(SPLITS["one by one"], own=method(weights_of=elsewhere, context={"method": "first"}))
    given["datasets"]["ext"] = dataset(subjects=["21", "22", "23"], split=OTHERS, seed=3)
    check_unseen(given, "own", "mni", "drf4")
    given["methods"]["own"]["context"] = {"method": "everybody"}
    given["methods"]["everybody"] = method(weights_of={"method": "first", "fold": ALL})
    with pytest.raises(InputError, match=r"own.yaml: fold 0 of 'mni' tests subject '01', which its weights \(first on 'mni', fold all\)"):
        check_unseen(given, "own", "mni", "drf4")


def test_the_proof_goes_back_through_the_contexts_of_a_starting_point():
    given = studied(SPLITS["one by one"], after=method(init_from={"dataset": "ext", "method": "second", "fold": ALL}), other=method())
    given["datasets"]["ext"] = dataset(subjects=["21", "22", "23"], split=OTHERS, seed=3)
    check_unseen(given, "after", "mni", "drf4")
    given["methods"]["first"]["init_from"] = {"dataset": "mni", "method": "other", "fold": ALL}
    with pytest.raises(InputError, match="tests subject '01', which its weights"):
        check_unseen(given, "after", "mni", "drf4")


def test_a_holdout_is_told_how_contexts_can_be_had():
    with pytest.raises(InputError, match=r"split: no fold tests '\d+', .* split by k_fold, give split/inner \(2 or more\)\.$"):
        check_unseen(studied({"scheme": "holdout", "test": 2, "validation": 0, "seed": 0}), "second", "mni", "drf4")
    check_unseen(studied({"scheme": "holdout", "test": 2, "validation": 0, "seed": 0, "inner": 6}), "second", "mni", "drf4")
    with pytest.raises(InputError, match="split/inner: 7 groups need as many subjects, and fold 0 trains on 6; lower it"):
        check_unseen(studied({"scheme": "holdout", "test": 2, "validation": 0, "seed": 0, "inner": 7}), "second", "mni", "drf4")
    with pytest.raises(InputError, match="fold 0-1 leaves nobody to train 'first' on, which 'second' takes as context; give three folds"):
        check_unseen(studied({"scheme": "k_fold", "folds": 2, "seed": 0}), "second", "mni", "drf4")


@pytest.mark.parametrize(("split", "firsts"), [({"scheme": "leave_one_out"}, 16 + 120), ({"scheme": "leave_one_out", "inner": 3}, 16 + 48)])
def test_so_many_first_stages_are_trained_of_sixteen_people(split, firsts):
    subjects = [f"{number:02d}" for number in range(16)]
    found = plan(
        {"shown": table(["second"], ("mni", "drf4"))}, datasets={"mni": dataset(subjects=subjects, split=split)}, methods=METHODS
    ).trainings
    behind = found.with_starts(found.behind("mni", "drf4", "second"))
    assert sum(training.method == "first" for training in behind) == firsts
    assert sum(training.method == "second" for training in behind) == 16


FOUND = plan({"shown": table(["second"], ("mni", "drf4"))}, datasets={"mni": dataset()}, methods=METHODS).trainings


def context(fold, subject, suffix="npy"):
    return f"results/made_up/mni/drf4/first/context/fold-{fold}/sub-{subject}.{suffix}"


def test_a_training_reads_contexts_of_pairs_of_folds_and_a_tested_subject_that_of_its_fold():
    own = job(dataset="mni", dose="drf4", method="second", fold="2")
    assert FOUND.contexts(own) == [context("0-2", "01"), context("1-2", "02")]
    assert len(FOUND.contexts(own)) == len(FOUND.data(own))
    restored = FOUND.to_restore(job(dataset="mni", dose="drf4", method="second", subject="03"))
    assert (restored["context"], restored["context_sidecar"]) == (context("2", "03"), context("2", "03", "json"))
    assert FOUND.contexts(job(dataset="mni", dose="drf4", method="first", fold="0-2")) == []


def test_a_context_is_made_by_the_weights_that_its_path_names():
    for first, second in combinations("012", 2):
        made = FOUND.to_give_context(job(dataset="mni", dose="drf4", method="first", fold=f"{first}-{second}", subject="01"))
        assert made["weights"] == f"results/made_up/mni/drf4/first/fold-{first}-{second}/model.safetensors"
        assert made["prepared"] == "results/made_up/mni/drf4/prepared/patches/sub-01/prepared.json"


def test_a_foreign_first_stage_is_named_by_its_own_entry():
    given = studied(SPLITS["one by one"], first=method(weights_of={"dataset": "ext", "method": "plain", "fold": ALL}), plain=method())
    given["datasets"]["ext"] = dataset(subjects=["21", "22"], seed=3)
    check_unseen(given, "second", "mni", "drf4")
    (maker, *_) = contexts(given, Training("mni", "drf4", "second", "0")).values()
    assert weights_of(given, maker) == Training("ext", "drf4", "plain", ALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"methods": {"la_gan": {"context": None}}}, "la_gan.yaml: restore/inputs name context where the entry has a `context`"),
        ({"methods": {"la_gan": {"restore": {"inputs": ["low_dose", "mr"]}}}}, "la_gan.yaml: restore/inputs name context where"),
        ({"methods": {"la_gan": {"context": {"method": "la_gan"}}}}, r"in a circle \(la_gan -> la_gan\)"),
        ({"methods": {"la_gan": {"train": {"network": {"modalities": 2}}}}}, "Two modalities are low_dose and mr"),
        (
            {"methods": {"m_unet": {"context": {"method": "la_gan-first"}, "restore": {"inputs": ["low_dose", "mr", "context"]}}}},
            "m_unet.yaml: restore/inputs: the module m_unet takes no context",
        ),
        (
            {"methods": {"la_gan-first": {"train": {"domain": "cubes"}}, "la_gan": {"train": {"domain": "patches"}}}},
            "la_gan-first.yaml: train/domain: data set 'mni' has no domain 'cubes'",
        ),
        ({"experiments": {"mak_gan_reliance": {"rows": ["la_gan"]}}}, "rows: la_gan takes a context, .* name its first stage"),
    ],
)
def test_entries_that_do_not_fit_are_one_line(change, message):
    with pytest.raises(InputError, match=message) as caught:
        load({"scale": "made_up", "run": ["mak_gan_table1", "mak_gan_reliance"], "override": change}, ROOT)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "stages"), [("first", {"train", "restore_subject"}), ("second", {"train", "restore_subject", "restore_context"})]
)
def test_the_record_of_a_table_names_the_stage_that_makes_contexts_and_the_entry_of_the_first_stage(row, stages):
    shown = {"shown": table([row], ("mni", "drf4"))}
    records = plan(shown, datasets={"mni": dataset()}, methods=METHODS, scanners={"tiny": {}}).records
    assert {stage for stage in records.stages("shown") if "train" in stage or "restore" in stage} == stages
    assert set(records.configuration("shown")["methods"]) == {"first", row}


@pytest.mark.parametrize("scale", ["config/tiny.yaml", "config/small.yaml", "config/paper.yaml"])
def test_every_scale_that_shows_la_gan_can_prove_it(scale):
    given = load(read_yaml(ROOT / scale) | {"run": ["mak_gan_table1"]}, ROOT)
    assert "la_gan" in given["experiments"]["mak_gan_table1"]["rows"]
    check_unseen(given, "la_gan", "mni", "drf4")
